"""python data/tfds_builders/noise.py --input=FOLDER --output=DATASETS"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # from a clone that is not installed

from metis_jax.cli.build_tfds import main

if __name__ == "__main__":
    sys.exit(main(["noise", *sys.argv[1:]]))
