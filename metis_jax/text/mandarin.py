"""Chinese text to the reference's symbols (models/tts/maskgct/g2p/g2p/mandarin.py): numbers, words, readings, tones.

Word boundaries are `jieba`'s, numbers `cn2an`'s, and the tone rules follow the reference step by step, those that are
plainly slips included (each has its comment), because the weights were trained on their output.  Readings come from
`metis_jax.text.hanzi`: the reference's own word list and polyphone network are not part of this package.
"""

import contextlib
import functools
import re
import tempfile
import warnings

from metis_jax.files.caches import private_cache
from metis_jax.text import hanzi
from metis_jax.text.bopomofo import Syllable
from metis_jax.text.errors import require
from metis_jax.text.punctuation import ascii_punctuation, dropped_by

_HAN = re.compile(r"[\u4e00-\u9fff]")
_NOT_SPOKEN = re.compile(r"[^\u4e00-\u9fff_,.?!;:'…]")
_MARK = re.compile(r"([,.?!;:'…])")
_DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")
# `jieba` takes quadratic time on what stands between two marks.
_PIECE = re.compile(r"[^,?!;:…]{1,500}|[,?!;:…]+")
_LONG_DIGITS = re.compile(r"\d{17,}")

# In these words 儿 is a child, not the retroflex ending.
_CHILD_WORDS = frozenset(("女儿", "老儿", "男儿", "少儿", "小儿"))
_COUNT_DIGITS = frozenset("零一二三四五六七八九十")
_YI_PAUSES = frozenset("：，；。？！“”‘’':,;.?!()（）{}【】[]-~`、 ")


@functools.cache
def _cut():
    jieba = require("jieba")
    jieba.setLogLevel("ERROR")
    # By default its dictionary is unpickled from where everybody can put a file.
    own = private_cache("jieba")
    with contextlib.nullcontext(own) if own else tempfile.TemporaryDirectory() as folder:
        jieba.dt.tmp_dir = str(folder)
        jieba.initialize()
    return jieba.lcut


def numbers(text: str) -> str:
    """Digits in Chinese; runs too long to have a name are read digit by digit (the reference loses them)."""
    transform = require("cn2an").transform
    text = text.replace("〇", "零")
    text = _LONG_DIGITS.sub(lambda match: "".join(str(int(digit)) for digit in match.group()).translate(_DIGITS), text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transform(text, "an2cn")


def normalise(text: str) -> tuple[str, list[str]]:
    """Han characters and marks only, and what had to go."""
    text = ascii_punctuation(numbers(text.strip()))
    return _NOT_SPOKEN.sub("", text), dropped_by(_NOT_SPOKEN, text)


def _join_yi(words: list[str]) -> list[str]:
    """一 between two equal words joins them (看一看), any other 一 joins the word after it."""
    joined: list[str] = []
    for i, word in enumerate(words):
        before = words[i - 1] if i else None
        if i and word == "一" and i + 1 < len(words) and before == words[i + 1]:
            # The index is that of the words given, not of those joined; the reference counts so.
            if i - 1 < len(joined):
                joined[i - 1] += "一" + joined[i - 1]
            else:
                joined += [word, words[i + 1]]
        elif not (i >= 2 and before == "一" and words[i - 2] == word):
            joined.append(word)
    result: list[str] = []
    for word in joined:
        if result and result[-1] == "一":
            result[-1] += word
        else:
            result.append(word)
    return result


def _join_bu(words: list[str]) -> list[str]:
    """不 joins the word after it.  At the very end it is lost, as it is in the reference."""
    joined, before = [], ""
    for word in words:
        if word != "不":
            word = "不" + word if before == "不" else word
            joined.append(word)
        before = word
    return joined


def _join_er(words: list[str]) -> list[str]:
    """儿 joins the word before it."""
    joined: list[str] = []
    for i, word in enumerate(words):
        if i and word == "儿" and joined:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def words_of(text: str) -> list[str]:
    """Words of normalised text, as the tone rules want them."""
    cut = _cut()
    return _join_er(_join_bu(_join_yi([word for piece in _PIECE.findall(text) for word in cut(piece)])))


def _third_tones(word: str, syllables: list[Syllable]) -> None:
    if len(word) not in (2, 3) or any(syllable.tone != 3 for syllable in (*syllables[:2], syllables[-1])):
        return
    if len(word) == 2:
        syllables[0].tone = 2
    else:
        # Three third tones keep their sound: the reference writes the second tone behind the third, not in its place.
        syllables[0].stray_rise = syllables[1].stray_rise = True


def _bu(word: str, syllables: list[Syllable]) -> None:
    if set(word) == {"不"} or word == "不字":
        return
    if len(word) == 3 and word[1] == "不" and syllables[1].letters == "ㄅㄨ":
        syllables[1].tone = 5
        return
    for char, syllable, following in zip(word, syllables, syllables[1:], strict=False):
        if char == "不" and following.tone == 4:
            syllable.tone = 2


def _yi(word: str, syllables: list[Syllable]) -> None:
    if "一" not in word:
        return
    if any(char.isnumeric() for char in word if char != "一"):
        for i, char in enumerate(word):
            if i == 0 and char == "一" and len(word) > 1 and word[1] not in _COUNT_DIGITS:
                syllables[0].tone = 2 if syllables[1].tone in (4, 5) else 4
            elif char == "一":
                syllables[i].tone = 1
    elif len(word) == 3 and word[1] == "一" and word[0] == word[-1]:
        syllables[1].tone = 5
    elif word.startswith("第一"):
        syllables[1].tone = 1
    elif word.startswith(("一月", "一日", "一号")):
        syllables[0].tone = 1
    else:
        for i, char in enumerate(word[:-1]):
            if char == "一" and syllables[i + 1].tone == 4:
                syllables[i].tone = 2
            elif char == "一" and word[i + 1] not in _YI_PAUSES:
                syllables[i].tone = 4


def _er(word: str, syllables: list[Syllable]) -> None:
    if len(word) > 1 and word[-1] == "儿" and word not in _CHILD_WORDS:
        syllables[-1].tone = 5


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of a Chinese text, and the characters that could not be spoken."""
    text, dropped = normalise(text)
    words = words_of(text)
    spoken = []
    for word, readings in zip(words, hanzi.readings(words), strict=True):
        if not _HAN.search(word):
            spoken.append(word)
            continue
        syllables = [Syllable.from_zhuyin(zhuyin) if zhuyin else Syllable(char, 0)
                     for char, zhuyin in zip(word, readings, strict=True)]  # fmt: skip
        dropped += [char for char, zhuyin in zip(word, readings, strict=True) if not zhuyin and _HAN.match(char)]
        for rule in (_third_tones, _bu, _yi, _er):
            rule(word, syllables)
        spoken += [syllable.symbols() for syllable in syllables]
    joined = _MARK.sub(r"|\1|", "|".join(spoken))
    return re.sub(r"\|+", "|", joined).strip("|"), dropped
