"""Losses as functions of predictions."""
