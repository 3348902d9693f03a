"""The nano model: every stage small enough for two CPU cores; `chain.py` runs them all."""
