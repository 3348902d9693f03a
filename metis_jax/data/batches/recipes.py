"""What one example is made of, drawn from the index alone: target piece, prompt piece, their lengths.

Drawing needs no audio, so batches can be planned ahead by length.  All positions and lengths are frames at 50 Hz.
"""

import dataclasses

import numpy as np

from metis_jax.clock import FRAME_RATE
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.tasks import TASKS

HEARD = tuple(name for name, task in TASKS.items() if task.source == "speech")  # conditions are of the record's wave
PROMPTED = tuple(name for name in HEARD if TASKS[name].is_prompted)  # by a recording of its own before the target
GUIDED = ("se", "tse", "l2s")  # phones can be given beside what is heard or seen


class NoExamples(ValueError):
    """A selection from which no example of a task can be made."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """`frames` frames of a record from `start` on."""

    record: int
    start: int
    frames: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One example: a target, and the prompt in front of it.

    `task` is "" outside fine-tuning; a text can say all of a prompt that `is_whole_prompt`.
    """

    task: str
    target: Piece
    prompt: Piece | None = None
    is_whole_prompt: bool = False

    @property
    def frames(self) -> int:
        return self.target.frames + (self.prompt.frames if self.prompt else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """How pieces are cut.

    Attributes:
      min_frames: shorter targets are left out.
      prompt_frames: prompt length of tse and vc, from another utterance of the speaker.
      allow_split: a speaker's only utterance may be cut into prompt and target if both keep their least length.
      crop: a target longer than its bucket is cut at random; without it, it is left out.
    """

    min_frames: int = 50
    prompt_frames: tuple[int, int] = (100, 300)
    allow_split: bool = True
    crop: bool = True

    def __post_init__(self):
        low, high = self.prompt_frames
        if self.min_frames < 1 or not 1 <= low <= high:
            raise ValueError(
                f"min_frames is {self.min_frames}, prompt_frames {self.prompt_frames}; need 1 <= low <= high"
            )


class Part:
    """The examples of one task from one selection of the corpus, and how a recipe for one of them is drawn."""

    def __init__(
        self,
        corpus: Corpus,
        selected: np.ndarray,
        frames: np.ndarray,
        *,
        split: str,
        task: str,
        text: bool,
        lips: str,
        can_phonemize: bool,
        config: RecipeConfig,
        max_frames: int,
    ):
        self.task, self.config = task, config
        self.is_told = text
        self.whole = text or not config.crop  # a text says all of its utterance
        column = corpus.columns
        self._frames = frames
        keep = frames[selected] >= config.min_frames
        lacks = f"under {config.min_frames / FRAME_RATE:g} s"
        if self.whole:
            longest = max_frames - (config.prompt_frames[0] if task in PROMPTED else 0)
            keep &= frames[selected] <= longest
            lacks += f", over {longest / FRAME_RATE:g} s"
        self.lacks = f"{lacks}, or without text, arrays or second utterance"
        if text:
            phones = column["length_phones"][selected] > 0
            keep &= phones | column["has_text"][selected] if can_phonemize else phones
        if task == "l2s":
            keep &= column[f"length_{lips}"][selected] > 0
        self.speakers = corpus.speakers
        if task in PROMPTED:
            low = config.prompt_frames[0]
            pool = selected[frames[selected] >= low]
            own = self.speakers[pool]
            order = np.argsort(own, kind="stable")
            found, starts = np.unique(own[order], return_index=True)
            bounds = np.append(starts, len(order)).tolist()
            self._by_speaker = {
                speaker: pool[order[start:end]]
                for speaker, start, end in zip(found.tolist(), bounds[:-1], bounds[1:], strict=True)
            }
            splittable = (frames[selected] >= low + config.min_frames) & (config.allow_split and not self.whole)
            counts = [len(self._by_speaker.get(speaker, ())) for speaker in self.speakers[selected].tolist()]
            others = np.asarray(counts, np.int64) - (frames[selected] >= low)
            keep &= (others > 0) | splittable
        self.items = selected[keep]
        self.left_out = int((~keep).sum())
        what = {"train": "training records", "validation": "validation records"}.get(split, "records")
        if not len(self.items):
            raise NoExamples(
                f"no {what} for {f'task {task}' if task else 'this stage'}: of {len(selected)} selected none has the "
                f"length, text, arrays or second utterance it needs (min_frames {config.min_frames}, "
                f"max_frames {max_frames})"
            )
        if task == "tse" and len(set(self.speakers[self.items].tolist())) < 2:
            raise NoExamples(f"task tse needs two speakers, and its {len(self.items)} {what} are of one")

    def __len__(self) -> int:
        return len(self.items)

    def _others(self, record: int) -> np.ndarray:
        mine = self._by_speaker.get(int(self.speakers[record]), np.zeros(0, np.int64))
        return mine[mine != record]

    def draw(self, item: int, rng: np.random.Generator, limit: int) -> Recipe:
        """A recipe of at most `limit` frames for the item."""
        record = int(self.items[item])
        total = int(self._frames[record])
        if self.task not in PROMPTED:
            return Recipe(self.task, self._crop(rng, record, 0, total, limit))
        low, high = self.config.prompt_frames
        # A whole target keeps its length, so the prompt takes what is left; otherwise each may have half.
        high = min(high, limit - total if self.whole else limit // 2)
        others = self._others(record)
        if len(others):
            other = int(others[rng.integers(len(others))])
            most = int(self._frames[other])
            # A text may say the prompt too, as at inference: half of the prompts that can be whole are.
            is_whole = self.is_told and most <= high and rng.random() < 0.5
            length = most if is_whole else int(rng.integers(min(low, high), min(high, most) + 1))
            prompt = self._crop(rng, other, 0, most, length)
            return Recipe(self.task, self._crop(rng, record, 0, total, limit - length), prompt, is_whole)
        length = int(rng.integers(min(low, high), min(high, total - self.config.min_frames) + 1))
        if rng.random() < 0.5:
            prompt, start, end = Piece(record, 0, length), length, total
        else:
            prompt, start, end = Piece(record, total - length, length), 0, total - length
        return Recipe(self.task, self._crop(rng, record, start, end, limit - length), prompt)

    def _crop(self, rng: np.random.Generator, record: int, start: int, end: int, limit: int) -> Piece:
        length = min(end - start, limit)
        # A video frame lasts two frames: lips are in step with crops that start on even ones.
        grid = 2 if self.task == "l2s" else 1
        return Piece(record, start + grid * int(rng.integers((end - start - length) // grid + 1)), length)
