"""Chinese: numbers, tone rules and polyphones."""

import pytest

from metis_jax.text import hanzi, mandarin
from metis_jax.text.bopomofo import Syllable
from metis_jax.text.frontend import TextFrontEnd

pytestmark = pytest.mark.extra("text", "jieba", "pypinyin_dict", "cn2an")


def tones(word: str) -> list[int]:
    """Tones of one word after all rules."""
    spoken = mandarin.phonemes(word)[0]
    arrows = {"→": 1, "↑": 2, "↓↑": 3, "↓": 4}
    return [arrows[symbol.lstrip("".join(c for c in symbol if c not in "→↑↓"))]
            for symbol in spoken.split("|") if symbol[-1] in "→↑↓"]  # fmt: skip


@pytest.mark.parametrize(
    ("zhuyin", "symbols"),
    [
        ("ㄓㄨㄥ", "ts`⁼|ʊŋ→"),
        ("ㄅㄛˊ", "p⁼wo↑"),
        ("ㄕˋ", "s`ɹ↓"),
        ("ㄗ˙", "ts⁼"),
        ("ㄦˊ", "əɹ↑"),
        ("ㄩㄝˋ", "ɥɛ↓"),
        ("ㄌㄜ˙", "l|ə"),
        ("ㄧㄛ", "i|o→"),
    ],
)
def test_syllables(zhuyin, symbols):
    assert Syllable.from_zhuyin(zhuyin).symbols() == symbols


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024年3月15日", "二零二四年三月十五日"),
        ("1/3，20%", "三分之一,百分之二十"),
        ("25℃", "二十五摄氏度"),
        ("12345678901234567890", "一二三四五六七八九零一二三四五六七八九零"),
        ("你好 ！ · a", "你好!"),
    ],
)
def test_normalise(text, read):
    assert mandarin.normalise(text)[0] == read


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["看", "一", "看"], ["看一看"]),
        (["一", "个"], ["一个"]),
        (["不", "知道"], ["不知道"]),
        (["去", "不"], ["去"]),
        (["花", "儿"], ["花儿"]),
    ],
)
def test_words_join(words, joined):
    assert mandarin._join_er(mandarin._join_bu(mandarin._join_yi(words))) == joined


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("你好", [2, 3]),
        ("不是", [2, 4]),
        ("不来", [4, 2]),
        ("一样", [2, 4]),
        ("一起", [4, 3]),
        ("第一", [4, 1]),
        ("一月", [1, 4]),
        ("一百", [4, 3]),
    ],
)
def test_tone_rules(word, expected):
    assert tones(word) == expected


# Of two syllables, the second without a tone: nouns, verbs, adjectives, kin and what is doubled.
LIGHT = (
    "晚上 早上 头发 东西 地方 告诉 朋友 喜欢 明白 清楚 舒服 漂亮 便宜 意思 衣服 学生 "
    "先生 认识 休息 关系 玻璃 豆腐 行李 师父 丈夫 打听 打扮 商量 收拾 应付 糊涂 困难 "
    "部分 胳膊 规矩 亲戚 别人 和尚 皇上 委屈 答应 称呼 模糊 凉快 别扭 少爷 刺猬 粮食 "
    "扫帚 地上 身上 路上 娘家 女婿 力量 相声 核桃 知识 耽搁 打发 提防 眼睛 耳朵 鼻子 "
    "尾巴 葡萄 萝卜 包子 窗户 护士 师傅 麻烦 聪明 老实 热闹 厉害 觉得 记得 什么 怎么 "
    "我们 月亮 太阳 消息 客气 脾气 名字 妈妈 爸爸 奶奶 爷爷 孩子 桌子 石头 骨头 时候 "
    "事情 道理 福气 姑娘 暖和 棉花 庄稼 逻辑 态度 价钱 岁数 娃娃"
).split()
FULL = (
    "天气 学校 学习 希望 现在 国家 大家 老家 愿意 注意 数量 重量 安静 准备 自然 虽然 "
    "接受 选手 常识 失望 方便 分析 计算 享受 公园 会议 银行 工人 主人 苹果 重要 下午 "
    "明天 电话 老师 中国 经济 时间"
).split()


def test_neutral_tones_of_common_words():
    light = [word for word, found in zip(LIGHT, hanzi.readings(LIGHT), strict=True) if not found[1].endswith("˙")]
    full = [word for word, found in zip(FULL, hanzi.readings(FULL), strict=True) if found[1].endswith("˙")]
    assert not light and not full


def test_three_third_tones_keep_their_sound():
    assert mandarin.phonemes("展览馆")[0].count("|↑") == 2
    assert TextFrontEnd().read("展览馆", "zh").without_id == ()


@pytest.mark.parametrize(
    ("words", "index", "zhuyin"),
    [
        (["我", "得", "走"], 1, "ㄉㄟˇ"),
        (["跑", "得", "快"], 1, "ㄉㄜ˙"),
        (["还", "钱"], 0, "ㄏㄨㄢˊ"),
        (["两", "只", "鸡"], 1, "ㄓ"),
        (["只", "有"], 0, "ㄓˇ"),
        (["银行", "行长"], 1, "ㄏㄤˊ"),
        (["姓", "单"], 1, "ㄕㄢˋ"),
    ],
)
def test_polyphones(words, index, zhuyin):
    assert hanzi.readings(words)[index][0] == zhuyin


def test_a_polyphone_model_decides_first():
    hanzi.set_polyphone_model(lambda units, index: "hang2" if units[index] == "行" else None)
    try:
        assert hanzi.readings(["行", "不"])[0] == ("ㄏㄤˊ",)
    finally:
        hanzi.set_polyphone_model(None)
    assert hanzi.readings(["行", "不"])[0] == ("ㄒㄧㄥˊ",)


def test_english_inside_chinese():
    phonemes = TextFrontEnd().read("我用Python写code。", "zh").phonemes
    assert "p|aɪ|θ|ə|n|_|ʃ|iɛ↓↑" in phonemes and phonemes.endswith("k|oʊ|d|.|")
