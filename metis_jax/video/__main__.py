"""`python -m metis_jax.video V --output=crops.npz`; see `metis_jax/cli/mouths.py`."""

import sys

from metis_jax.cli.mouths import main

if __name__ == "__main__":
    sys.exit(main())
