"""python data/tfds_builders/noise.py --input=FOLDER --output=DATASETS"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # from a clone that is not installed

from metis_jax.cli.build_tfds import main
from metis_jax.data.corpus.tfds_schema import RecordBuilder


class NoiseAndRooms(RecordBuilder, skip_registration=True):
    """Noise clips, and room responses in folders whose names start with rir, room or impulse."""

    LAYOUT = "noise"


if __name__ == "__main__":
    sys.exit(main(NoiseAndRooms))
