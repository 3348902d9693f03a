"""TFDS builders, one for each corpus layout."""

from metis_jax.data.corpus.tfds_schema import RecordBuilder


class Emilia(RecordBuilder, skip_registration=True):
    """An Emilia-style folder: every recording with a JSON file of its text, speaker and language."""

    LAYOUT = "emilia"


class LibriTts(RecordBuilder, skip_registration=True):
    """LibriTTS or LibriTTS-R as published; the dev and test subsets are marked held out."""

    LAYOUT = "libritts"


class NoiseAndRooms(RecordBuilder, skip_registration=True):
    """Noise clips, and room responses in folders whose names start with rir, room or impulse."""

    LAYOUT = "noise"


class Vctk(RecordBuilder, skip_registration=True):
    """VCTK 0.92 (first microphone) or 0.80 as published."""

    LAYOUT = "vctk"


BUILDERS: dict[str, type[RecordBuilder]] = {one.LAYOUT: one for one in (Emilia, LibriTts, NoiseAndRooms, Vctk)}
