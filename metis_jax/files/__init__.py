"""Files: read without believing them, written whole or not at all, cached where nobody else can write."""
