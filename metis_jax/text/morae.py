"""Katakana readings to the symbols of the phoneme table."""

import re

MARKS = (",", ".", "!", "?", ":", ";", "'", "…")

# Rows of the kana chart: consonant, then the kana with a, i, u, e, o; a dash where there is none.
_ROWS = """
    -   ア イ ウ エ オ
    k   カ キ ク ケ コ
    s   サ - ス セ ソ
    t   タ - - テ ト
    n   ナ ニ ヌ ネ ノ
    h   ハ ヒ - ヘ ホ
    m   マ ミ ム メ モ
    y   ヤ - ユ イェ ヨ
    r   ラ リ ル レ ロ
    w   ワ ウィ - ウェ ウォ
    g   ガ ギ グ ゲ ゴ
    z   ザ ズィ ズ ゼ ゾ
    d   ダ ディ ドゥ デ ド
    b   バ ビ ブ ベ ボ
    p   パ ピ プ ペ ポ
    v   ヴァ ヴィ ヴ ヴェ ヴォ
    f   ファ フィ フ フェ フォ
    sh  シャ シ シュ シェ ショ
    j   ジャ ジ ジュ ジェ ジョ
    ch  チャ チ チュ チェ チョ
    ts  ツァ ツィ ツ ツェ ツォ
    ty  テャ - テュ - テョ
    dy  デャ - デュ - デョ
    ky  キャ - キュ キェ キョ
    gy  ギャ - ギュ ギェ ギョ
    ny  ニャ - ニュ ニェ ニョ
    hy  ヒャ - ヒュ ヒェ ヒョ
    by  ビャ - ビュ ビェ ビョ
    py  ピャ - ピュ ピェ ピョ
    my  ミャ - ミュ ミェ ミョ
    ry  リャ - リュ リェ リョ
    kw  クヮ - - - -
    gw  グヮ - - - -
    -   ァ ィ ゥ ェ ォ
    -   - ヰ - ヱ ヲ
    y   ャ - ュ - ョ
    by  ヴャ - ヴュ - ヴョ
    s   - スィ - - -
    t   - ティ トゥ - -
    j   - ヂ - - -
    z   - - ヅ - -
    k   - - - ヶ -
    w   ヮ - - - -
"""
# The cedilla is a combining one here; the composed letter is another symbol, the German one.
_SYMBOLS = {
    **dict(zip("aiueo", ("a", "i", "ɯ", "e", "o"), strict=True)),
    "k": "k",
    "s": "s",
    "t": "t",
    "n": "n",
    "h": "c\u0327",
    "f": "ɸ",
    "m": "m",
    "y": "j",
    "r": "ɾ",
    "w": "ɰᵝ",
    "N": "ɴ",
    "g": "g",
    "j": "dʑ",
    "z": "z",
    "d": "d",
    "b": "b",
    "p": "p",
    "q": "q",
    "v": "v",
    "by": "bj",
    "ch": "tɕ",
    "dy": "dej",
    "ty": "tej",
    "gy": "gj",
    "gw": "gɯ",
    "hy": "c\u0327j",
    "ky": "kj",
    "kw": "kɯ",
    "my": "mj",
    "ny": "nj",
    "py": "pj",
    "ry": "ɾj",
    "sh": "ɕ",
    "ts": "tsɯ",
}


def _morae() -> dict[str, str]:
    table = {"ン": "N", "ッ": "q"}
    for row in _ROWS.strip().splitlines():
        consonant, *kana = row.split()
        for vowel, mora in zip("aiueo", kana, strict=True):
            if mora != "-":
                table[mora] = vowel if consonant == "-" else f"{consonant} {vowel}"
    return table


_MORAE = _morae()
_MORA = re.compile("|".join(sorted(map(re.escape, _MORAE), key=len, reverse=True)))
# A long-vowel bar repeats the vowel before it; at the start of a word it waits for the word before.
_BARS = re.compile(r"(\w)(ー*)")


def _word(kana: str) -> list[str]:
    """Phones of one reading; bars that have no vowel before them stay bars."""
    if kana in MARKS:
        return [kana]
    spaced = _MORA.sub(lambda match: " " + _MORAE[match.group()], kana)
    spaced = _BARS.sub(lambda match: match.group(1) + (" " + match.group(1)) * len(match.group(2)), spaced)
    return spaced.split()


def phones(readings: list[str]) -> str:
    """Symbols of readings in katakana or marks, joined by `|`; signs without a sound are left out."""
    words = [_word(kana) for kana in readings]
    for i, word in enumerate(words):
        for j, phone in enumerate(word):
            if phone == "ー":
                before = word[j - 1] if j else words[i - 1][-1]
                word[j] = before if before in MARKS or not j else before[-1]
    spoken = (phone for word in words for phone in word)
    return "|".join(_SYMBOLS.get(phone, phone) for phone in spoken if phone in _SYMBOLS or phone in MARKS)
