"""Long text cut at sentence ends into parts short enough to be spoken in one go."""

import bisect
import itertools
import re
import unicodedata

from metis_jax.text.errors import TextError

# The end of a sentence, with the quotes and brackets that close behind it.
_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]+[\"'”’»」』）)\]]*(?=\s|$)|[。！？…]+[\"'”’»」』）)\]]*|\n\s*\n|\n")
_CLAUSE = re.compile(r"[,;:，；：、—–]+[\"'”’»」』）)\]]*\s*")
_SPACE = re.compile(r"\s+")
_WORD_FOLLOWS = re.compile(r"\s+\w")
_LONGEST_ABBREVIATION = 40

# A full stop behind one of these, behind a single letter or between digits ends nothing.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr rev gen col capt lt sgt maj hon vs etc e.g i.e a.m p.m u.s u.k no vol pp fig inc ltd "
    "co m mme mlle mm av boul env ex apr p.ex "
    "z.b d.h u.a bzw usw ca nr str hr fr evtl ggf abb bd s".split()
)


def weight(text: str) -> int:
    """Length in Latin letters: a Han, kana or Hangul character takes about as long to say as three of them."""
    return sum(_weights(text))


def _weights(text: str) -> list[int]:
    return [3 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text]


def _is_end(text: str, match: re.Match[str]) -> bool:
    if not match.group().startswith(".") or match.group().startswith(".."):
        return True
    near = text[max(0, match.start() - _LONGEST_ABBREVIATION) : match.start()]
    before = near.rpartition(" ")[2].casefold().lstrip("\"'(“‘«„[")
    if before in _ABBREVIATIONS or re.fullmatch(r"\w(\.\w)*", before) and not before.isdigit():
        return match.end() == len(text)
    # German dates and ordinals: "am 3. Mai".
    return not (re.fullmatch(r"[0-9]{1,2}", before) and _WORD_FOLLOWS.match(text, match.end()))


def split_sentences(text: str) -> list[str]:
    """The sentences of a text in any of the six languages, each with its marks, without empty ones."""
    parts, start, text = [], 0, text.rstrip()
    for match in _END.finditer(text):
        if match.group().isspace() or _is_end(text, match):
            parts.append(text[start : match.end()])
            start = match.end()
    parts.append(text[start:])
    return [part for part in (" ".join(part.split()) for part in parts) if part]


def _cut(sentence: str, longest: int) -> list[str]:
    """A sentence that is too long, cut behind a mark, else at a space, else anywhere."""
    totals = list(itertools.accumulate(_weights(sentence), initial=0))
    pieces, start = [], 0
    while totals[-1] - totals[start] > longest:
        fits = max(bisect.bisect_right(totals, totals[start] + longest) - 1, start + 1)
        clauses = [match.end() for match in _CLAUSE.finditer(sentence, start, fits)]
        spaces = [match.end() for match in _SPACE.finditer(sentence, start, fits)]
        late = [end for end in clauses if 3 * (end - start) > fits - start]
        cut = (late or spaces or clauses or [fits])[-1]
        pieces.append(sentence[start:cut].strip())
        start = cut
        while start < len(sentence) and sentence[start].isspace():
            start += 1
    return [piece for piece in (*pieces, sentence[start:].strip()) if piece]


def split_text(text: str, longest: int = 200) -> list[str]:
    """Parts of at most `longest` Latin letters' weight: whole sentences together while they fit, long ones cut.

    Nothing but white space is lost or changed, and no part is empty.
    """
    if longest < 1:
        raise TextError(f"longest: {longest} is too short for any text; use 1 or more, 200 is about 15 seconds")
    parts: list[str] = []
    total = 0  # of the last part
    for sentence in split_sentences(text):
        for piece in _cut(sentence, longest):
            # Chinese and Japanese run on without a space.
            gap = "" if parts and unicodedata.east_asian_width(parts[-1][-1]) in "WF" else " "
            own = weight(piece)
            if parts and total + len(gap) + own <= longest:
                parts[-1] += gap + piece
                total += len(gap) + own
            else:
                parts.append(piece)
                total = own
    return parts
