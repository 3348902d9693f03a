"""python data/extract_tokens.py --bundle=BUNDLE --input=SHARDS --output=TOKEN_SHARDS"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # from a clone that is not installed

from metis_jax.cli.doors import extract_tokens as main

if __name__ == "__main__":
    sys.exit(main())
