"""Train any stage: see `metis_jax/cli/train.py`."""

import sys

from metis_jax.cli.doors import train as main

if __name__ == "__main__":
    sys.exit(main())
