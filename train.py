"""Train any stage: see `metis_jax/cli/train.py`."""

import sys

from metis_jax.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
