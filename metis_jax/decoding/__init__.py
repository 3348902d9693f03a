"""Masked decoding, pure JAX: the loop, guidance, both generators under them."""
