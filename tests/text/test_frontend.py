"""The front end as a whole: language, lexicon, reports, refusals, a missing extra, and no text that breaks it."""

import io
import json
import logging
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metis_jax.text import languages
from metis_jax.text.errors import TextError
from metis_jax.text.lexicon import Lexicon

FULL = pytest.mark.extra("text", "phonemizer", "inflect", "jieba", "cn2an", "pypinyin_dict", "pyopenjtalk", "py3langid")


@pytest.fixture
def front_end():
    from metis_jax.text.frontend import TextFrontEnd

    return TextFrontEnd()


@pytest.mark.extra("text", "py3langid")
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("こんにちは東京", "ja"),
        ("カタカナ", "ja"),
        ("안녕 world", "ko"),
        ("东京", "zh"),
        ("我喜欢music", "zh"),
        ("Where is the station?", "en"),
        ("Wo ist der Bahnhof, bitte?", "de"),
        ("Où est la gare, s'il vous plaît ?", "fr"),
        ("12345", "en"),
    ],
)
def test_detection(text, language):
    assert languages.detect(text) == language


def test_han_alone_is_what_the_user_says():
    assert languages.detect("東京", han="ja") == "ja"


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("我喜欢听music，你呢？", [("我喜欢听", "zh"), ("music，", "en"), ("你呢？", "zh")]),
        ("2024年 is now", [("2024年 ", "zh"), ("is now", "en")]),
        ("123", [("123", "zh")]),
        ("", [("", "zh")]),
    ],
)
def test_passages(text, passages):
    assert list(languages.chinese_and_english(text, otherwise="zh")) == passages


@FULL
@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text_is_refused(front_end, text):
    with pytest.raises(TextError, match="^text: it is empty"):
        front_end.read(text, "en")


@FULL
def test_an_unknown_language_is_refused(front_end):
    with pytest.raises(TextError, match="'xx' is not known; use one of en, zh, de, fr, ko, ja or auto"):
        front_end.read("hello", "xx")


@FULL
def test_unsupported_characters_are_reported_once(front_end, caplog):
    with caplog.at_level(logging.WARNING, "metis_jax"):
        assert front_end.read("I love 🍕, 🍕!", "en").unsupported == ("🍕",)
        front_end.read("more 🍕", "en")
    assert [record.getMessage() for record in caplog.records] == ["left out, not readable as 'en': 🍕"]


@FULL
def test_half_of_a_pair_is_reported(front_end):
    assert front_end.read("half a \ud83c pair", "en").unsupported == ("\ufffd",)


@FULL
def test_unsupported_everywhere(front_end):
    for language in languages.LANGUAGES:
        reading = front_end.read("🍕", language)
        assert reading.unsupported == ("🍕",) and reading.ids == ()


@FULL
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Bücher"),
        ("ko", "안녕하세요"),
        ("ja", "がっこうで"),
        ("en", "a résumé"),
        ("fr", "été à Noël, garçon"),
        ("zh", "我喜欢café"),
        ("auto", "Où est l'île ?"),
    ],
)
def test_accents_may_stand_apart_from_their_letters(front_end, language, text):
    reading = front_end.read(unicodedata.normalize("NFD", text), language)
    assert reading == front_end.read(text, language) and not reading.unsupported


@FULL
@pytest.mark.parametrize("language", languages.LANGUAGES)
@pytest.mark.parametrize("digits", ["２０", "٢٠", "२०", "๒๐", "𝟐𝟎"])
def test_digits_of_every_script_are_digits(front_end, language, digits):
    reading = front_end.read(f"ok {digits}", language)
    assert reading == front_end.read("ok 20", language) and not reading.unsupported


@FULL
@pytest.mark.parametrize("language", languages.LANGUAGES)
@pytest.mark.parametrize("text", ["ｏｋ ＡＢ", "𝐨𝐤 𝔸𝓑"])
def test_letters_of_every_width_and_face_are_letters(front_end, language, text):
    assert front_end.read(text, language) == front_end.read("ok AB", language)


@FULL
def test_a_ligature_is_its_letters(front_end):
    assert front_end.read("ﬁnd the ﬂoor", "en") == front_end.read("find the floor", "en")


@FULL
@pytest.mark.parametrize(
    ("language", "text", "as_if", "unsupported"),
    [
        ("en", "AT&T", "AT T", "&"),
        ("en", "a & b @ c # d % e", "a b c d e", "&@#%"),
        ("en", "me@example.com", "me example.com", "@"),
        ("en", "and/or", "and or", "/"),
        ("en", "hi🍕there", "hi there", "🍕"),
        ("en", "① one", "one", "①"),
        ("en", "-5 °C", "5 C", "°-"),
        ("de", "Paul & Marie, 50 %", "Paul Marie, 50", "&%"),
        ("de", "§ 5, {x}, *a*", "5, x, a", "§*"),
        ("de", "–5 Grad", "5 Grad", "-"),
        ("de", "2019–2024", "2019 2024", ""),
        ("fr", "Paul & Marie, 50 %", "Paul et Marie, 50", "%"),
        ("ko", "5-6", "5 6", ""),
        ("ko", "a@b", "a b", "@"),
        ("en", "well-known “words” (so)", "wellknown words so", ""),
        ("zh", "价格#五", "价格五", "#"),
        ("zh", "二〇二四年", "二零二四年", ""),
        ("auto", "〇", "零", ""),
    ],
)
def test_what_is_not_said_is_named_and_joins_no_words(front_end, language, text, as_if, unsupported):
    reading = front_end.read(text, language)
    assert reading.phonemes == front_end.read(as_if, language).phonemes
    assert reading.unsupported == tuple(unsupported)


@FULL
def test_the_lexicon_wins(front_end):
    from metis_jax.text.frontend import TextFrontEnd

    own = TextFrontEnd({"Metis": "m|ɛ|t|ɪ|s", "东京": "t⁼|ʊŋ→", "卡拉OK": "k|a", "서울": "s|ʌ|u|ɫ"})
    assert own.read("METIS is metisse", "en").phonemes.startswith("m|ɛ|t|ɪ|s|_|ɪ|z|_|m|")
    assert own.read("I know Metis.", "en").phonemes == "aɪ|_|n|oʊ|_|m|ɛ|t|ɪ|s|."
    assert own.read("去东京吧", "zh").phonemes == "tʃʰ|ɥ↓|t⁼|ʊŋ→|p⁼|a"
    assert own.read("我用Metis。", "zh").phonemes == "uo↓↑|jʊŋ↓|m|ɛ|t|ɪ|s|."
    assert own.read("唱卡拉OK！", "zh").phonemes.endswith("|k|a|!")
    assert own.read("서울에서", "ko").phonemes == "s|ʌ|u|ɫ|e|s|ʌ"
    assert own.read("hello", "en") == front_end.read("hello", "en")
    apart = TextFrontEnd({unicodedata.normalize("NFD", "Café"): "k|a", "ＮＡＳＡ": "n|a"})
    assert apart.read("CAFÉ", "fr").phonemes == "k|a" and apart.read("nasa", "en").phonemes == "n|a"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json: not valid JSON"),
        ("a.json", "[]", "should hold one object"),
        ("a.json", '{"a": "zz"}', "word 'a': phonemes: 'zz' not in the table"),
        ("a.txt", "hello h|ə", "line 1: expected a word, a tab"),
    ],
)
def test_bad_lexicon_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TextError, match=message):
        Lexicon.from_file(tmp_path / name)


def test_lexicon_file_of_lines(tmp_path):
    (tmp_path / "words.txt").write_text("# mine\n\nMetis\tm|ɛ|t|ɪ|s\n", encoding="utf-8")
    lexicon = Lexicon.from_file(tmp_path / "words.txt")
    assert lexicon.read_around("metis", lambda text: ("?", [])) == ("m|ɛ|t|ɪ|s", [])


ODD = st.sampled_from(
    list(
        "0123456789.,/%$£€'’‘“”!?;:…-—()[]{}<>&@#_|~ \n\t"
        "一二不儿々ー０１ヴッんゝ、。！？ａＺｚabcxyz第月日百千万½²①😀👩"
    )
    + ["👩‍👩‍👧", "שלום", "مرحبا", "ไทย", "안녕", "1/0", "$1.2.3", "\x00", "\x1b", "\u202e", "ſt", "İ"]
)


@FULL
@pytest.mark.parametrize("language", [*languages.LANGUAGES, languages.AUTO])
def test_no_text_breaks_it(front_end, language):
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(ODD, st.characters()), max_size=40).map("".join))
    def check(text):
        try:
            reading = front_end.read(text, language)
        except TextError:
            assert not text.encode("utf-8", "ignore").decode().strip()
        else:
            assert all(0 <= i < 363 for i in reading.ids)

    check()


@FULL
@pytest.mark.parametrize("language", languages.LANGUAGES)
@pytest.mark.parametrize("unit", ["1", "1,", "word. ", "不", "一", "ー", "あ", "안녕 ", "שלום ", "😀", "'"])
def test_very_long_text(front_end, language, unit):
    front_end.read(unit * 3000, language)


@FULL
def test_a_text_of_a_book_is_refused(front_end):
    with pytest.raises(TextError, match="has 100001 characters; at most 100000 are read at once, give it in parts"):
        front_end.read("a" * 100_001, "en")


@FULL
def test_long_runs_reach_the_libraries_in_short_pieces_or_once(front_end, monkeypatch):
    """`jieba` is quadratic in what it is given, and `inflect` takes most of a millisecond for a number."""
    from metis_jax.text import english, mandarin

    cut, given = mandarin._cut(), []
    monkeypatch.setattr(mandarin, "_cut", lambda: lambda text: given.append(len(text)) or cut(text))
    assert len(front_end.read("我" * 5000 + "，" + "们" * 10, "zh").ids) > 5000
    assert max(given) <= 500 and sum(given) == 5011
    english._named.cache_clear()
    front_end.read("7" * 5000 + " and 12 of 12", "en")
    assert english._named.cache_info().misses <= 4


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_the_command_prints_json_on_any_console(monkeypatch, encoding):
    from metis_jax.text.__main__ import main

    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert main(["--phonemes=h|ə|l|oʊ"]) == 0
    console.flush()
    assert json.loads(console.buffer.getvalue().decode(encoding))["phonemes"] == "h|ə|l|oʊ"


def test_standard_input_is_read_as_utf_8(monkeypatch, capsys):
    from metis_jax.text.__main__ import main

    given = io.TextIOWrapper(io.BytesIO("Grüße".encode("latin-1")), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", given)
    with pytest.raises(SystemExit) as ended:
        main(["--language=de", "-"])
    assert ended.value.code == 2 and "standard input is not UTF-8 (byte 2)" in capsys.readouterr().err


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    from metis_jax.text import __main__ as command

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_standard_input", interrupted)
    with pytest.raises(SystemExit) as ended:
        command.main(["-"])
    assert ended.value.code == 130 and capsys.readouterr().err == "metis-text: stopped by SIGINT\n"


BLOCKED = "import sys; sys.modules.update(dict.fromkeys({packages!r}));"
WITHOUT = (
    "phonemizer",
    "inflect",
    "jieba",
    "cn2an",
    "pypinyin",
    "pypinyin_dict",
    "pyopenjtalk",
    "py3langid",
    "sudachipy",
)


def test_without_the_extra_one_line_names_the_command():
    code = BLOCKED.format(packages=WITHOUT) + (
        "import metis_jax, metis_jax.text.frontend; from metis_jax.text.__main__ import main;"
        "main(['--language=' + sys.argv[1], '你好 hello 안녕 はい'])"
    )
    for language in ("en", "zh", "ja", "ko", "de", "fr"):
        ran = subprocess.run([sys.executable, "-c", code, language], capture_output=True, text=True)
        assert ran.returncode == 2 and ran.stdout == ""
        assert ran.stderr.count("\n") == 1 and ran.stderr.endswith(': pip install "metis_jax[text]"\n')


@pytest.mark.parametrize(
    ("arguments", "status", "stdout", "stderr"),
    [
        (["--phonemes=h|ə|l|oʊ"], 0, '{"phonemes": "h|ə|l|oʊ", "ids": [41, 57, 50, 23]}\n', ""),
        (["--language=xx", "hi"], 2, "", "language: 'xx' is not known"),
        ([""], 2, "", "text: it is empty"),
        ([], 2, "", "give a text or --phonemes"),
        (["--nonsense"], 2, "", "unrecognized arguments"),
    ],
)
def test_command(capsys, arguments, status, stdout, stderr):
    from metis_jax.text.__main__ import main

    try:
        returned = main(arguments)
    except SystemExit as exit:
        returned = exit.code
    captured = capsys.readouterr()
    assert (returned, captured.out) == (status, stdout)
    assert stderr in captured.err and captured.err.count("\n") <= 1
