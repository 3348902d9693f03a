"""Metis: foundation models for speech generation in JAX (arXiv 2502.03128)."""
