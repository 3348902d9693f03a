"""Bundles to the Hugging Face hub; they are read from there by `weights/hub.py`."""
