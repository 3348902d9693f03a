"""Text to phoneme ids in six languages; nothing here is imported until text is used."""
