"""A folder of voices by name: recordings that serve as prompts, and what they say."""

import os
import re
from pathlib import Path

from metis_jax.audio.files import check_wave, read_wave, write_wave
from metis_jax.files.outputs import write_text
from metis_jax.files.text_files import read_text
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS

_NAME = re.compile(r"\w[\w '-]{0,59}")


def default_folder() -> Path:
    """Where a user's own data lie.  RuntimeError for a user without a home."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "metis_jax" / "voices"


class Voices:
    """NAME.flac for each voice, and NAME.txt where its words are known; the folder is made when it is first written."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.flac") if _NAME.fullmatch(path.stem))

    def path(self, name: str) -> Path:
        """The recording of a voice; ValueError for one that is not there."""
        if name not in (known := self.names()):
            raise ValueError(f"there is no voice {name!r:.80}; there is: {', '.join(known) or 'none'}")
        return self.folder / f"{name}.flac"

    def words(self, name: str) -> str:
        """What a voice says; empty where that is not known."""
        place = self.path(name).with_suffix(".txt")
        return read_text(place).strip() if place.exists() else ""

    def add(self, name: str, recording: str | os.PathLike, words: str = "") -> None:
        """Keeps a recording of at most 20 s under a new name; ValueError where it, or the name, can not be."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a voice can not be called {name!r:.80}; use up to 60 letters, digits, spaces, ' and -")
        if name in self.names():
            raise ValueError(f"there is a voice {name!r} already; choose another name")
        wave = check_wave(read_wave(recording, maximum_seconds=MAXIMUM_PROMPT_SECONDS), str(recording))
        self.folder.mkdir(parents=True, exist_ok=True)
        if words.strip():
            write_text(self.folder / f"{name}.txt", words.strip() + "\n")
        with write_wave(self.folder / f"{name}.flac", wave.rate) as writer:
            writer.write(wave.samples)
