"""What is said and how long it takes: a text to parts of phones and frames, before any speech is decoded.

The release (`Metis.text2semantic` in the reference, `models/tts/metis/metis.py`) puts the phones of the prompt's text
in front of those of the text and takes the length from the user or from the bytes of the two texts.  Here a duration
predictor comes before the bytes where the bundle has one, and what is too long for one pass is said in several.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from metis_jax.clock import FRAME_RATE
from metis_jax.inference.buckets import PHONE_BUCKETS
from metis_jax.text import vocabulary
from metis_jax.text.errors import TextError
from metis_jax.text.forms import one_form
from metis_jax.text.frontend import TextFrontEnd
from metis_jax.text.languages import AUTO
from metis_jax.text.lexicon import Lexicon
from metis_jax.text.sentences import split_text, weight
from metis_jax.types import Float, Int

Phones = Int[np.ndarray, " p"]

# How a length can be chosen, and how the result names it.
LENGTH_RULES = {
    "seconds": "as given",
    "predictor": "by the duration predictor",
    "bytes": "by the bytes of both texts, as released",
    "phones": "by the number of phones in the prompt",
}

# Sounds in a second of any speech; people say 8 to 20.
SLOWEST, FASTEST = 2.0, 35.0
# How many times as fast as the prompt a text may be by its bytes; beyond, it is longer to say than to write ("$12.50").
HURRIED = 1.5
LEAST_FRAMES = 12  # of a text, at the tempo of the prompt: about the shortest of words
MOST_SECONDS = 86_400.0
# Longer parts would still fit, but training has few utterances of that length.
PART_FRAMES = 20 * FRAME_RATE

_REPEATED = re.compile(r"([^\w\s])\1{3,}")
_SILENT = vocabulary.marks() | {vocabulary.word_boundary()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script:
    """Something to be said, in the voice of a prompt of which the words are known.

    Attributes:
      text, prompt_text: words.
      phones, prompt_phones: in place of the words: symbols joined by `|`, or ids with spaces or commas between them.
      language, prompt_language: as in `metis_jax.text.languages`; the prompt's is that of the text unless given.
      seconds: how long it takes.
      speed: how many times as fast as the prompt it is said, in place of `seconds`.
      length: one of `LENGTH_RULES`; by default the first that is possible.
      split: whether a text too long for one pass may be cut at sentence ends.
    """

    text: str = ""
    phones: str = ""
    prompt_text: str = ""
    prompt_phones: str = ""
    language: str = AUTO
    prompt_language: str = ""
    seconds: float | None = None
    speed: float = 1.0
    length: str = ""
    split: bool = True

    def __post_init__(self):
        for what, words, phones in (
            ("text", self.text, self.phones),
            ("prompt_text", self.prompt_text, self.prompt_phones),
        ):
            if words and phones:
                raise ValueError(f"{what} and phones of it were both given; give one")
        if self.seconds is not None and not 0 < self.seconds <= MOST_SECONDS:
            raise ValueError(f"seconds is {self.seconds}; it must be positive, and at most {MOST_SECONDS:g}")
        if not 0.1 <= self.speed <= 10:
            raise ValueError(f"speed is {self.speed}; it must lie between 0.1 and 10")
        if self.seconds is not None and self.speed != 1:
            raise ValueError("seconds and speed were both given; give one")
        if self.length and self.length not in LENGTH_RULES:
            raise ValueError(f"length is {self.length!r}; use one of {', '.join(LENGTH_RULES)}")
        if (self.length == "seconds") > (self.seconds is not None):
            raise ValueError("length is 'seconds'; say how many in seconds")
        if self.seconds is not None and self.length not in ("", "seconds"):
            raise ValueError(f"length is {self.length!r} and seconds is {self.seconds}; give one")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What one pass says: the phones of prompt and text, and the frames of the text.

    `positions` are the frames at which the phones are said, prompt first, where a duration predictor knows.
    """

    phones: Phones
    frames: int
    positions: Float[np.ndarray, " p"] | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """A script in passes; `rule` of `LENGTH_RULES` chose the lengths."""

    parts: tuple[Utterance, ...]
    rule: str


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """Words with their phones, and the bytes of what is said of them; without words where the phones were given."""

    text: str
    phones: Phones
    bytes: int

    @property
    def sounds(self) -> int:
        return sum(int(phone) not in _SILENT for phone in self.phones)


class Reader:
    """Makes plans.

    Args:
      phone_vocabulary: of the generator.
      durations: frames of each phone at an average tempo, by the duration predictor; None where there is none.
      lexicon: the user's own words.
    """

    def __init__(
        self,
        phone_vocabulary: int,
        durations: Callable[[Phones], Float[np.ndarray, " p"]] | None = None,
        lexicon: Lexicon | None = None,
    ):
        if not phone_vocabulary:
            raise ValueError("the generator knows no phones; use one that was trained with text")
        self._vocabulary, self._durations = phone_vocabulary, durations
        self._front_end = TextFrontEnd(lexicon)

    def plan(self, script: Script, prompt_frames: int, room: int) -> Plan:
        """Passes of at most `room` frames behind a prompt of `prompt_frames`; ValueError for what makes no sense."""
        prompt = self._prompt(script, prompt_frames)
        whole = self._read(script.text, script.phones, script.language)
        rule = script.length or self._first_rule(script, whole, prompt)
        if rule == "predictor" and self._durations is None:
            raise ValueError("length is 'predictor'; the bundle has no duration predictor")
        if rule == "bytes" and not (whole.text and prompt.text):
            raise ValueError("length is 'bytes', which needs text and prompt_text; use phones or predictor")
        pieces, frames = self._cut(script, rule, whole, prompt, prompt_frames, room)
        if rule == "bytes" and not script.length and any(_is_hurried(piece, prompt) for piece in pieces):
            rule = "phones"
            pieces, frames = self._cut(script, rule, whole, prompt, prompt_frames, room)
        for piece, count in zip(pieces, frames, strict=True):
            if piece.sounds > FASTEST * max(count, 1) / FRAME_RATE:
                raise ValueError(
                    f"{piece.sounds} sounds in {count / FRAME_RATE:.2f} s are too many; "
                    "give more seconds, or a lower speed"
                )
        parts = [
            Utterance(
                np.concatenate([prompt.phones, piece.phones]),
                count,
                self._positions([(prompt, prompt_frames), (piece, count)]),
            )
            for piece, count in zip(pieces, frames, strict=True)
        ]
        return Plan(tuple(parts), rule)

    def _cut(
        self, script: Script, rule: str, whole: _Stretch, prompt: _Stretch, prompt_frames: int, room: int
    ) -> tuple[list[_Stretch], list[int]]:
        """The passes that a text takes, and the frames of each by one of the rules."""

        def frames_of(pieces: Sequence[_Stretch]) -> list[int]:
            if rule == "seconds":
                return _shares(pieces, int(script.seconds * FRAME_RATE))
            own = [max(LEAST_FRAMES, self._frames(rule, piece, prompt, prompt_frames)) for piece in pieces]
            return [int(count / script.speed) for count in own]

        def passes(pieces: Sequence[_Stretch], frames: Sequence[int], most: int) -> float:
            """How many passes the longest piece would need; at most 1 where all fit."""
            longest = max(len(piece.phones) for piece in pieces)
            return max(max(frames) / most, longest / (PHONE_BUCKETS[-1] - len(prompt.phones)))

        pieces, frames = [whole], frames_of([whole])
        if script.split and whole.text:
            longest = weight(whole.text)
            while (excess := passes(pieces, frames, min(room, PART_FRAMES))) > 1:
                longest = int(longest / max(1.05 * excess, 1.2))
                if longest < 1:
                    raise ValueError(f"a single letter takes {max(frames) / FRAME_RATE:.1f} s; raise speed")
                pieces = self._pieces(whole.text, longest, script.language) or [whole]
                frames = frames_of(pieces)
        elif passes(pieces, frames, room) > 1:
            raise ValueError(
                f"text of {len(whole.phones)} phones and {frames[0] / FRAME_RATE:.1f} s is too long for one pass, in "
                f"which {room / FRAME_RATE:.1f} s fit behind the prompt; let it be split, or give it in parts"
            )
        return pieces, frames

    def guide(self, script: Script, prompt_frames: int) -> Phones:
        """Phones of what a mixture says, behind those of a prompt of `prompt_frames` where the script tells them."""
        found = self._read(script.text, script.phones, script.language).phones
        if script.prompt_text.strip() or script.prompt_phones:
            found = np.concatenate([self._prompt(script, prompt_frames).phones, found])
        if len(found) > PHONE_BUCKETS[-1]:
            raise ValueError(f"text has {len(found)} phones; at most {PHONE_BUCKETS[-1]} fit")
        return found

    def _positions(self, spoken: Sequence[tuple[_Stretch, int]]) -> Float[np.ndarray, " p"] | None:
        """The middle frame of every phone of pieces that are said one after the other, each in so many frames."""
        if self._durations is None:
            return None
        found, start = [], 0
        for piece, frames in spoken:
            durations = self._durations(piece.phones)
            ends = np.cumsum(durations) * frames / np.sum(durations)
            found.append(start + ends - durations * frames / np.sum(durations) / 2 - 0.5)
            start += frames
        return np.maximum(np.concatenate(found), 0).astype(np.float32)

    def _prompt(self, script: Script, frames: int) -> _Stretch:
        if not script.prompt_text.strip() and not script.prompt_phones:
            raise ValueError("prompt_text is missing; give the words that the prompt says")
        try:
            prompt = self._read(script.prompt_text, script.prompt_phones, script.prompt_language or script.language)
        except TextError as error:
            raise ValueError(f"prompt {error}") from None
        seconds = frames / FRAME_RATE
        if not SLOWEST * seconds <= prompt.sounds <= FASTEST * seconds:
            raise ValueError(
                f"prompt_text does not fit the prompt: {prompt.sounds} sounds in {seconds:.1f} s, where speech has "
                f"{SLOWEST:g} to {FASTEST:g} a second; give exactly the words that the prompt says"
            )
        if len(prompt.phones) >= PHONE_BUCKETS[-1]:
            raise ValueError(f"prompt_text has {len(prompt.phones)} phones; at most {PHONE_BUCKETS[-1] - 1} fit")
        return prompt

    def _read(self, text: str, phones: str, language: str) -> _Stretch:
        if phones:
            ids, said = _given_ids(phones), 0
        else:
            reading = self._front_end.read(text, language)
            ids, said = reading.ids, _bytes_said(text, reading.unsupported)
        for one in ids:
            if not 0 <= one < self._vocabulary:
                raise TextError(f"phone ids: {one} is out of range; ids go from 0 to {self._vocabulary - 1}")
        piece = _Stretch(text, np.array(ids, np.int32), said)
        if not piece.sounds:
            raise TextError("text: nothing in it can be said; give at least one word")
        return piece

    def _pieces(self, text: str, longest: int, language: str) -> list[_Stretch]:
        """The text cut; what holds nothing but marks is left out."""
        pieces = []
        for one in split_text(text, longest):
            try:
                pieces.append(self._read(one, "", language))
            except TextError:
                continue
        return pieces

    def _first_rule(self, script: Script, piece: _Stretch, prompt: _Stretch) -> str:
        if script.seconds is not None:
            return "seconds"
        if self._durations is not None:
            return "predictor"
        return "bytes" if piece.text and prompt.text else "phones"

    def _frames(self, rule: str, piece: _Stretch, prompt: _Stretch, prompt_frames: int) -> int:
        if rule == "bytes":
            return prompt_frames * piece.bytes // prompt.bytes
        if rule == "phones":
            return prompt_frames * piece.sounds // prompt.sounds
        return round(prompt_frames * np.sum(self._durations(piece.phones)) / np.sum(self._durations(prompt.phones)))


def _is_hurried(piece: _Stretch, prompt: _Stretch) -> bool:
    """Whether a text would be said much faster than the prompt if it took the time of its bytes."""
    return piece.sounds * prompt.bytes > HURRIED * prompt.sounds * piece.bytes


def _bytes_said(text: str, left_out: Sequence[str]) -> int:
    """UTF-8 bytes of what is said of a text: those of the text, but for layout and what can not be read.

    Of white space one space counts, and of a mark that is repeated three.
    """
    text = one_form(text)
    for what in left_out:
        text = text.replace(what, "")
    text = "".join(char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf"))
    return len(_REPEATED.sub(r"\1\1\1", " ".join(text.split())).encode())


def _shares(pieces: Sequence[_Stretch], total: int) -> list[int]:
    """`total` frames over pieces by their sounds."""
    sounds = np.cumsum([piece.sounds for piece in pieces])
    ends = sounds * total // sounds[-1]
    return np.diff(ends, prepend=0).tolist()


def _given_ids(phones: str) -> Sequence[int]:
    """Ids of phones as a user wrote them; no symbol of the table is a number."""
    if re.fullmatch(r"[\s,]*-?\d+(?:[\s,]+-?\d+)*[\s,]*", phones):
        return [int(one) for one in re.split(r"[\s,]+", phones) if one]
    return vocabulary.encode_strictly(phones)
