"""`python -m metis_jax.hub push BUNDLE OWNER/NAME`; see `metis_jax/cli/hub.py`."""

import sys

from metis_jax.cli.hub import main

if __name__ == "__main__":
    sys.exit(main())
