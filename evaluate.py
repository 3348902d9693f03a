"""Outputs of one or more systems to one table of measures: see `metis_jax/cli/evaluate.py`."""

import sys

from metis_jax.cli.doors import evaluate as main

if __name__ == "__main__":
    sys.exit(main())
