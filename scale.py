"""Plan, sweep and fit: see `metis_jax/cli/scale.py`."""

import sys

from metis_jax.cli.scale import main

if __name__ == "__main__":
    sys.exit(main())
