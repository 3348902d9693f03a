"""One public Linen module per file."""
