"""The authors' published weights to a bundle, and back: see `metis_jax/cli/convert.py`."""

import sys

from metis_jax.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
