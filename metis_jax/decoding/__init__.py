"""Masked decoding: the loop, guidance."""
