"""`python -m metis_jax.convert.parity` is `python -m metis_jax.parity`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("metis_jax.parity", run_name="__main__")
