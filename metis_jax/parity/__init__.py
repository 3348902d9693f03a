"""Equality with the release: every golden of its models and pipelines, computed here."""
