"""Readings of Chinese words in Zhuyin, and of polyphones that stand alone, by their neighbours.

The reference looks a word up in a list of its own and asks a small BERT about some two hundred polyphones.  Neither is
part of this package.  Words come from the 412 000 phrases of `pypinyin-dict`, neutral tones also from its CC-CEDICT and
from `pypinyin`, characters from `pypinyin`, and a polyphone that is a word by itself from the table below.
`set_polyphone_model` puts a better judge in its place.
"""

import dataclasses
import functools
import pkgutil
import re
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence

from metis_jax.text.errors import require

_LONGEST_PHRASE = 16
_HAN = re.compile(r"[\u4e00-\u9fff]")
_CHANGING = frozenset("不一")
_PRONOUNS = "我 你 您 他 她 它 咱 谁 们 人 家"
_COUNTS = "一 二 两 三 四 五 六 七 八 九 十 百 千 万 几 半 每 这 那 哪 数 多"


@dataclasses.dataclass(frozen=True)
class _Rule:
    """A reading that holds when the word before ends, or the word after begins, in one of the listed ways.

    `start` and `end` stand for the edge of the text or a mark.  Both lists must agree where both are given.
    """

    reading: str
    before: str = ""
    after: str = ""

    def holds(self, before: str, after: str) -> bool:
        """Whether the neighbours fit."""
        ends = not self.before or any(
            before.endswith(end) if end != "start" else not before for end in self.before.split()
        )
        begins = not self.after or any(
            after.startswith(begin) if begin != "end" else not after for begin in self.after.split()
        )
        return ends and begins


_SURNAME = "姓"
# Pinyin without its tone marks.
_TONE_MARKS = str.maketrans("āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜ", "aaaaeeeeiiiioooouuuuüüüü")

# The first rule that holds decides; a rule without conditions is the usual reading.
_ALONE: dict[str, tuple[_Rule, ...]] = {
    "得": (
        _Rule("de2", before=_PRONOUNS, after="了 到 过 出 奖 病 分 的"),
        _Rule("dei3", before=_PRONOUNS + " 还 就 都 总 又 也 必 非 只 可"),
        _Rule("de2", before="start"),
        _Rule("de5"),
    ),
    "地": (
        _Rule("di4", before="start 这 那 在 种 下 扫 拖 此 两 各 的"),
        _Rule("di4", after="end 里 上 的"),
        _Rule("de5"),
    ),
    "还": (_Rule("huan2", after="钱 书 债 给 款 清 我 你 他 她 了 回去"), _Rule("hai2")),
    "长": (_Rule("zhang3", after="大 高 得 出 满 成 胖 在 了 着 个"), _Rule("chang2")),
    "教": (_Rule("jiao1"),),
    "数": (_Rule("shu3", after="数 着 了 到 钱 不 一 得"), _Rule("shu4")),
    "行": (_Rule("hang2", before=_COUNTS), _Rule("xing2")),
    "只": (_Rule("zhi1", before=_COUNTS), _Rule("zhi3")),
    "切": (_Rule("qie1"),),
    "冲": (_Rule("chong4", after="着"), _Rule("chong1")),
    "种": (_Rule("zhong4", after="树 花 草 菜 地 田 瓜 下 在 了 着 上 出 水稻 小麦"), _Rule("zhong3")),
    "为": (
        _Rule("wei4", before="start 要 能 会 可以 允许 将 也 都 就 想 愿 来 去 并 而 才 再 " + _PRONOUNS),
        _Rule("wei4", after=_PRONOUNS + " 此 何"),
        _Rule("wei2"),
    ),
    "中": (_Rule("zhong4", after="了 过 头奖 大奖 招 计"), _Rule("zhong1")),
    "着": (_Rule("zhao2", after="火 了 凉 迷"), _Rule("zhe5")),
    "空": (_Rule("kong4", before="有 没 没有"), _Rule("kong4", after="着 出 了"), _Rule("kong1")),
    "背": (_Rule("bei1", after="着 起 上 包 孩子"), _Rule("bei4")),
    "倒": (_Rule("dao3", after="了 下 塌 闭"), _Rule("dao4")),
    "处": (_Rule("chu3", after="在 于 了"), _Rule("chu4")),
    "量": (_Rule("liang2", after="了 一 体温 血压 身高 尺寸 着 体重"), _Rule("liang4")),
    "转": (_Rule("zhuan4", after="圈 着 个 起来"), _Rule("zhuan3")),
    "系": (_Rule("ji4", after="上 好 鞋带 领带 安全带 着 了 紧"), _Rule("xi4")),
    "盛": (_Rule("cheng2", after="饭 汤 了 着 满"), _Rule("sheng4")),
    "吐": (_Rule("tu4", after="血 了"), _Rule("tu3")),
    "弹": (_Rule("dan4", before="炸 导 炮 子"), _Rule("tan2")),
    "划": (_Rule("hua2", after="船 桨 水 破 火柴"), _Rule("hua4")),
    "乐": (_Rule("yue4", before=_SURNAME), _Rule("le4")),
    "单": (_Rule("shan4", before=_SURNAME), _Rule("dan1")),
    "朴": (_Rule("piao2", before=_SURNAME), _Rule("pu3")),
    "任": (_Rule("ren2", before=_SURNAME), _Rule("ren4")),
    "曾": (_Rule("zeng1", before=_SURNAME), _Rule("ceng2")),
    "解": (_Rule("xie4", before=_SURNAME), _Rule("jie3")),
    "查": (_Rule("zha1", before=_SURNAME), _Rule("cha2")),
    "仇": (_Rule("qiu2", before=_SURNAME), _Rule("chou2")),
    "区": (_Rule("ou1", before=_SURNAME), _Rule("qu1")),
    "华": (_Rule("hua4", before=_SURNAME), _Rule("hua2")),
    "燕": (_Rule("yan1", before=_SURNAME), _Rule("yan4")),
    "盖": (_Rule("ge3", before=_SURNAME), _Rule("gai4")),
}
# Words that the phrase list reads in a way few speakers do.
_WORDS = {
    "大夫": "dai4 fu5",
    "落下": "luo4 xia4",
    "处处": "chu4 chu4",
    "空格": "kong4 ge2",
    "东西": "dong1 xi5",
    "地方": "di4 fang5",
    "告诉": "gao4 su5",
    "数一数": "shu3 yi1 shu3",
    "教一教": "jiao1 yi1 jiao1",
    "长一长": "zhang3 yi1 zhang3",
}

# (phrases and single characters of the text, index of the character) -> pinyin such as `hang2`; nothing leaves the
# choice to the table.
PolyphoneModel = Callable[[Sequence[str], int], str | None]
_model: PolyphoneModel | None = None


def set_polyphone_model(model: PolyphoneModel | None) -> None:
    """A judge for characters that are words by themselves, asked before the table; nothing takes it away."""
    global _model
    _model = model


@functools.cache
def _phrases() -> dict[str, str]:
    """Pinyin with tone marks of every phrase.

    The package spreads them over modules of nested lists.  Each is run, condensed and forgotten: imported for good they
    would hold 200 MB more.
    """
    phrases = _phrase_list("large_pinyin")
    small = _flat(require("pypinyin.phrases_dict").phrases_dict)
    # CC-CEDICT writes words with 不 and 一 as they are said; here the tone rules do that.
    dictionary = {word: pinyin for word, pinyin in _phrase_list("cc_cedict").items() if not _CHANGING & set(word)}
    for others in (small, dictionary):
        for word in others.keys() & phrases.keys():
            one, other = phrases[word].split(), others[word].split()
            if len(one) == len(other) == len(word):
                phrases[word] = _lighter(one, other)
    return phrases


def _phrase_list(name: str) -> dict[str, str]:
    package = require("pypinyin_dict.phrase_pinyin_data")
    phrases: dict[str, str] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if re.search(rf"\.{name}_\d+$", module.name):
            phrases |= _flat(runpy.run_module(module.name)["phrases_dict"])
    return phrases


def _flat(phrases: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, str]:
    """The first reading of every syllable."""
    return {word: " ".join(syllable[0] for syllable in syllables) for word, syllables in phrases.items()}


def _lighter(one: list[str], other: list[str]) -> str:
    """Two pinyin readings as one: a neutral tone where either has it, which no list marks reliably."""
    return " ".join(b if a != b and b == a.translate(_TONE_MARKS) else a for a, b in zip(one, other, strict=True))


@functools.cache
def _zhuyin(syllable: str) -> str:
    """Zhuyin of a pinyin syllable with its tone as a mark or a digit."""
    convert = require("pypinyin.contrib.tone_convert")
    style = require("pypinyin.style")
    if syllable[-1].isdigit():
        syllable = convert.tone3_to_tone(syllable.rstrip("5").replace("v", "ü"))
    return style.convert(syllable, require("pypinyin").Style.BOPOMOFO, False)


@functools.cache
def _char(char: str) -> str:
    """The usual reading of one character; empty without one."""
    pypinyin = require("pypinyin")
    found = pypinyin.pinyin(char, style=pypinyin.Style.BOPOMOFO, errors="ignore")
    return found[0][0] if found and _HAN.match(char) else ""


def _phrases_of(word: str) -> Iterator[tuple[str, str]]:
    """(text, pinyin) of the longest phrases that make up a word; characters between them come without pinyin."""
    phrases, start = _phrases(), 0
    while start < len(word):
        for end in range(min(len(word), start + _LONGEST_PHRASE), start + 1, -1):
            pinyin = _WORDS.get(word[start:end]) or phrases.get(word[start:end], "")
            if len(pinyin.split()) == end - start:
                yield word[start:end], pinyin
                break
        else:
            end = start + 1
            yield word[start], ""
        start = end


def _alone(units: Sequence[str], index: int) -> str:
    """Zhuyin of a character that is no part of a phrase."""
    chosen = _model(units, index) if _model else None
    if chosen is None and units[index] in _ALONE:
        before, after = (
            units[i] if 0 <= i < len(units) and _HAN.match(units[i]) else "" for i in (index - 1, index + 1)
        )
        chosen = next((rule.reading for rule in _ALONE[units[index]] if rule.holds(before, after)), None)
    return _zhuyin(chosen) if chosen else _char(units[index])


def readings(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Zhuyin of each character of each word, in the context of the others; empty for one without a reading."""
    found = [list(_phrases_of(word)) for word in words]
    units = [text for phrases in found for text, _ in phrases]
    result, index = [], 0
    for phrases in found:
        zhuyin: list[str] = []
        for _, pinyin in phrases:
            zhuyin += [_zhuyin(syllable) for syllable in pinyin.split()] or [_alone(units, index)]
            index += 1
        result.append(tuple(zhuyin))
    return result
