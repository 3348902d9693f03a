"""Sound: files that are read to their ends and written, waves, and what a voice is moved by."""
