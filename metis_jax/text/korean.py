"""Korean text to the reference's symbols (models/tts/maskgct/g2p/g2p/korean.py): no Hanja, capitals spelled, espeak-ng.

Only words written in capitals are spelled in Hangul, and only those of the table; espeak-ng reads the rest as English.
"""

import re

from metis_jax.text import espeak
from metis_jax.text.punctuation import dropped_by

_CAPITALS = {
    "KOREA": "코리아",
    "IDOL": "아이돌",
    "IT": "아이티",
    "IQ": "아이큐",
    "UP": "업",
    "DOWN": "다운",
    "PC": "피씨",
    "CCTV": "씨씨티비",
    "SNS": "에스엔에스",
    "AI": "에이아이",
    "CEO": "씨이오",
}
_LETTER_NAMES = (
    "에이 비 씨 디 이 에프 지 에이치 아이 제이 케이 엘 엠 "
    "엔 오 피 큐 알 에스 티 유 브이 더블유 엑스 와이 제트"
)  # fmt: skip
_LETTERS = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _LETTER_NAMES.split(), strict=True))
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_HANJA = re.compile(
    "[\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4db5\u4e00-\u9fc3]"
)


def normalise(text: str) -> str:
    """Hangul, lower-case Latin letters and digits."""
    text = _HANJA.sub("", text.strip())
    known = _CAPITALS | _LETTERS
    return _LATIN_WORD.sub(lambda match: known.get(match.group(), match.group()), text).lower()


def phonemes(text: str) -> tuple[str, list[str]]:
    """Symbols of a Korean text, and the characters that could not be spoken."""
    hanja = dropped_by(_HANJA, text)
    spoken, dropped = espeak.phonemes(normalise(text), "ko")
    return spoken, hanja + dropped
