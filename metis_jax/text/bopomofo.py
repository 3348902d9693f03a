"""Mandarin syllables in Zhuyin letters to the symbols of the phoneme table, tone arrows included."""

import dataclasses

_INITIALS = {
    "ㄅ": "p⁼",
    "ㄆ": "pʰ",
    "ㄇ": "m",
    "ㄈ": "f",
    "ㄉ": "t⁼",
    "ㄊ": "tʰ",
    "ㄋ": "n",
    "ㄌ": "l",
    "ㄍ": "k⁼",
    "ㄎ": "kʰ",
    "ㄏ": "x",
    "ㄐ": "tʃ⁼",
    "ㄑ": "tʃʰ",
    "ㄒ": "ʃ",
    "ㄓ": "ts`⁼",
    "ㄔ": "ts`ʰ",
    "ㄕ": "s`",
    "ㄖ": "ɹ`",
    "ㄗ": "ts⁼",
    "ㄘ": "tsʰ",
    "ㄙ": "s",
}
_FINALS = {
    "ㄚ": "a",
    "ㄛ": "o",
    "ㄜ": "ə",
    "ㄝ": "ɛ",
    "ㄞ": "aɪ",
    "ㄟ": "eɪ",
    "ㄠ": "ɑʊ",
    "ㄡ": "oʊ",
    "ㄢ": "an",
    "ㄣ": "ən",
    "ㄤ": "ɑŋ",
    "ㄥ": "əŋ",
    "ㄦ": "əɹ",
    "ㄧ": "i",
    "ㄨ": "u",
    "ㄩ": "ɥ",
    "ㄧㄚ": "ia",
    "ㄧㄛ": "i|o",
    "ㄧㄝ": "iɛ",
    "ㄧㄞ": "i|aɪ",
    "ㄧㄠ": "iɑʊ",
    "ㄧㄡ": "ioʊ",
    "ㄧㄢ": "jɛn",
    "ㄧㄣ": "in",
    "ㄧㄤ": "iɑŋ",
    "ㄧㄥ": "iŋ",
    "ㄨㄚ": "ua",
    "ㄨㄛ": "uo",
    "ㄨㄞ": "uaɪ",
    "ㄨㄟ": "ueɪ",
    "ㄨㄢ": "uan",
    "ㄨㄣ": "uən",
    "ㄨㄤ": "uɑŋ",
    "ㄨㄥ": "ʊŋ",
    "ㄩㄝ": "ɥɛ",
    "ㄩㄢ": "ɥæn",
    "ㄩㄣ": "ɥn",
    "ㄩㄥ": "jʊŋ",
}
# One symbol for the whole syllable.
_LABIAL_O = {"ㄅㄛ": "p⁼wo", "ㄆㄛ": "pʰwo", "ㄇㄛ": "mwo", "ㄈㄛ": "fwo"}
# These carry an r-coloured vowel when nothing follows, but only under a tone.
_APICAL = frozenset("ㄓㄔㄕㄖㄗㄘㄙ")

_ARROWS = {1: "→", 2: "↑", 3: "↓↑", 4: "↓", 5: ""}
_TONE_MARKS = {"ˉ": 1, "ˊ": 2, "ˇ": 3, "ˋ": 4, "˙": 5}


@dataclasses.dataclass
class Syllable:
    """A syllable as it is spoken; the sandhi rules change `tone` in place.

    Attributes:
      letters: Zhuyin without a tone mark, or any other character, which stands for itself.
      tone: 1 to 4, 5 for neutral, 0 for what is no syllable.
      stray_rise: the reference leaves a rising arrow of its own behind some third tones; it has no id.
    """

    letters: str
    tone: int
    stray_rise: bool = False

    @classmethod
    def from_zhuyin(cls, zhuyin: str) -> "Syllable":
        """From letters and a tone mark; no mark is the first tone."""
        mark = _TONE_MARKS.get(zhuyin[-1])
        return cls(zhuyin[:-1], mark) if mark else cls(zhuyin, 1)

    def symbols(self) -> str:
        """The symbols of the phoneme table, joined by `|`."""
        if not self.tone:
            return self.letters
        arrow = _ARROWS[self.tone]
        if self.letters in _LABIAL_O:
            spoken = _LABIAL_O[self.letters] + arrow
        elif self.letters in _APICAL:
            spoken = _INITIALS[self.letters] + ("ɹ" + arrow if arrow else "")
        else:
            initial, final = self.letters[:1], self.letters[1:]
            if initial not in _INITIALS:
                initial, final = "", self.letters
            spoken = "|".join(filter(None, (_INITIALS.get(initial), _FINALS.get(final, final)))) + arrow
        return spoken + ("|↑" if self.stray_rise else "")
