"""Strict JAX for every test: eight fake CPU devices, no silent rank or dtype promotion, checked shape annotations."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

from jaxtyping import install_import_hook

install_import_hook("metis_jax", "beartype.beartype")
