"""One file per model that is trained: how it is built, and its loss."""
