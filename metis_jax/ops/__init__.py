"""Pure functions over arrays; no Flax."""
