"""Plan, sweep and fit: see `metis_jax/cli/scale.py`."""

import sys

from metis_jax.cli.doors import scale as main

if __name__ == "__main__":
    sys.exit(main())
