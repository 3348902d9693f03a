"""Metis: foundation models for speech generation in JAX (arXiv 2502.03128).

`from metis_jax import Metis` is the door for programs; it is opened late, so that importing the package stays cheap.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name != "Metis":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from metis_jax.inference.metis import Metis

    return Metis
