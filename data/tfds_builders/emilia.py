"""python data/tfds_builders/emilia.py --input=FOLDER --output=DATASETS"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # from a clone that is not installed

from metis_jax.cli.build_tfds import main
from metis_jax.data.corpus.tfds_schema import RecordBuilder


class Emilia(RecordBuilder, skip_registration=True):
    """An Emilia-style folder: every recording with a JSON file of its text, speaker and language."""

    LAYOUT = "emilia"


if __name__ == "__main__":
    sys.exit(main(Emilia))
