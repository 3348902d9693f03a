"""Measures of speech, and the table that `evaluate.py` prints and writes."""
