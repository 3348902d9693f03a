"""Speech to speech, from files to files: see `metis_jax/cli/infer.py`."""

import sys

from metis_jax.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())
