"""Texts to passes: the rules of length, splitting, phones given directly, and everything that is refused."""

import numpy as np
import pytest

from metis_jax.inference.script import PART_FRAMES, Reader, Script
from metis_jax.text.lexicon import Lexicon
from metis_jax.text.vocabulary import encode_strictly

PHONES = "h|ə|l|oʊ|_|w|ɜː|l|d|."  # eight sounds
PROMPT = {"prompt_phones": "|".join(["a|n"] * 10), "prompt_language": "en"}  # twenty sounds
TEXTLESS = {"phones": PHONES, **PROMPT}
FRAMES = 100  # of the prompt: two seconds

needs_text = pytest.mark.extra("text", "phonemizer", "inflect", "jieba", "py3langid")


def plan(reader=None, *, room=1400, frames=FRAMES, **script):
    return (reader or Reader(1024)).plan(Script(**script), frames, room)


def test_phones_of_prompt_and_text_are_one_sequence():
    [part] = plan(**TEXTLESS).parts
    expected = encode_strictly(PROMPT["prompt_phones"]) + encode_strictly(PHONES)
    np.testing.assert_array_equal(part.phones, expected)


@pytest.mark.parametrize(
    ("extra", "frames", "rule"),
    [
        ({}, 40, "phones"),
        ({"speed": 2.0}, 20, "phones"),
        ({"speed": 0.5}, 80, "phones"),
        ({"seconds": 1.27}, 63, "seconds"),
        ({"length": "seconds", "seconds": 3.0}, 150, "seconds"),
    ],
)
def test_lengths_without_words(extra, frames, rule):
    found = plan(**TEXTLESS, **extra)
    assert found.rule == rule and [part.frames for part in found.parts] == [frames]


def test_a_predictor_measures_the_tempo_of_the_prompt():
    reader = Reader(1024, durations=lambda phones: np.float32(0.5) + (phones == encode_strictly("a")[0]))
    # The prompt is 10 + 10, the text 0 + 5.
    found = plan(reader, **TEXTLESS, speed=0.5)
    assert found.rule == "predictor" and found.parts[0].frames == 50
    assert plan(reader, **TEXTLESS, length="phones").rule == "phones"
    assert plan(reader, **TEXTLESS, seconds=1.0).rule == "seconds"


def test_ids_may_be_given():
    ids = " ".join(map(str, encode_strictly(PHONES)))
    assert np.array_equal(plan(**PROMPT, phones=ids).parts[0].phones, plan(**TEXTLESS).parts[0].phones)


@needs_text
def test_released_length_is_by_bytes():
    words = {"text": "Ein schöner Tag!", "prompt_text": "Guten Morgen, ihr.", "language": "de"}
    found = plan(**words, frames=77)
    assert found.rule == "bytes" and found.parts[0].frames == 77 * 17 // 18
    assert plan(**words, frames=77, speed=1.5).parts[0].frames == int(77 * 17 // 18 / 1.5)


ENGLISH = {"language": "en", "prompt_text": "I never saw the city in such a light before."}


@needs_text
@pytest.mark.parametrize(
    ("text", "as_if"),
    [
        ("Hello world, how are you?" + 200 * " ", "Hello world, how are you?"),
        ("\n\n    Hello world,\n    how are you?\t", "Hello world, how are you?"),
        ("Great, really great! " + 8 * "🎉", "Great, really great!"),
        ("Great,\u200b really" + 10 * "\u200b" + " great!\ufeff", "Great, really great!"),
        ("Yes, I do" + 60 * ".", "Yes, I do..."),
        ("Oh, is it so" + 20 * "!" + 20 * "?", "Oh, is it so!!!???"),
        ("Never－１２ times", "Never－12 times"),
    ],
)
def test_what_is_not_said_takes_no_time(text, as_if):
    found, expected = plan(text=text, **ENGLISH), plan(text=as_if, **ENGLISH)
    assert found.rule == expected.rule == "bytes"
    assert [part.frames for part in found.parts] == [part.frames for part in expected.parts]
    spaced = ENGLISH | {"prompt_text": ENGLISH["prompt_text"].replace(" ", "  \n ") + 50 * " "}
    assert plan(text=as_if, **spaced).parts[0].frames == expected.parts[0].frames


@needs_text
@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [
        ("$12.50", "en", 1.4),
        ("100%", "en", 0.8),
        ("1234567890", "en", 4.0),
        ("In 1999 we paid $1,234,567.89.", "en", 6.0),
        ("WWW", "en", 1.0),
        ("Wir sahen 3.456.789 Leute.", "de", 3.0),
        ("13800138000", "zh", 1.5),
        ("It was so. " * 30 + "Call 1234567890 or 9876543210 now. " + "It was so. " * 30, "en", 30.0),
    ],
)
def test_what_takes_longer_to_say_than_to_write_is_measured_by_its_phones(text, language, seconds):
    found = plan(text=text, **ENGLISH | {"language": language, "prompt_language": "en"})
    assert found.rule == "phones" and sum(part.frames for part in found.parts) >= seconds * 50


@needs_text
def test_the_shortest_texts_have_the_time_of_a_word():
    for text in ("Hi.", "A.", "So?"):
        assert plan(text=text, **ENGLISH).parts[0].frames == 12
        assert plan(text=text, speed=2.0, **ENGLISH).parts[0].frames == 6
    assert plan(phones="h|aɪ", seconds=0.1, **PROMPT).parts[0].frames == 5


@needs_text
def test_long_text_is_cut_at_sentence_ends():
    sentence = "This is a sentence of some length, and here it ends."
    script = {"text": " ".join([sentence] * 30), "language": "en", "prompt_phones": PROMPT["prompt_phones"]}
    found = plan(**script)
    assert len(found.parts) > 2
    assert max(part.frames for part in found.parts) <= PART_FRAMES
    assert max(len(part.phones) for part in found.parts) <= 1024
    stops = [int((part.phones == encode_strictly(".")[0]).sum()) for part in found.parts]
    assert sum(stops) == 30 and min(stops) > 0
    assert all(part.phones[-1] == encode_strictly(".")[0] for part in found.parts)
    given = plan(**script, seconds=100.0)
    assert sum(part.frames for part in given.parts) == 5000 and len(given.parts) >= 5
    little_room = plan(**script, room=200)
    assert max(part.frames for part in little_room.parts) <= 200
    with pytest.raises(ValueError, match="too long for one pass, in which 28.0 s fit behind the prompt"):
        plan(**script, split=False)


@needs_text
def test_a_lexicon_wins():
    reader = Reader(1024, lexicon=Lexicon({"hello": "a|a|a"}))
    [part] = plan(reader, text="Hello", language="en", **PROMPT).parts
    assert part.phones[20:].tolist()[:3] == encode_strictly("a|a|a")


def test_a_script_must_hold_together():
    for message, fields in {
        "text and phones of it": {"text": "a", "phones": "a"},
        "prompt_text and phones of it": {"prompt_text": "a", "prompt_phones": "a"},
        "seconds is 0": {"seconds": 0.0},
        "seconds is nan": {"seconds": float("nan")},
        "speed is -1": {"speed": -1.0},
        "seconds and speed": {"seconds": 1.0, "speed": 2.0},
        "length is 'feet'": {"length": "feet"},
        "say how many": {"length": "seconds"},
        "give one": {"length": "bytes", "seconds": 1.0},
    }.items():
        with pytest.raises(ValueError, match=message):
            Script(**fields)


BAD = {
    "no prompt text": ({"phones": PHONES}, "prompt_text is missing"),
    "empty": ({"text": " ", **PROMPT}, "text: it is empty"),
    "unknown language": ({"text": "a", "language": "xx", **PROMPT}, "language: 'xx' is not known; use one of en"),
    "unknown prompt language": (
        {"phones": PHONES, "prompt_text": "a", "prompt_language": "xx"},
        "prompt language: 'xx' is not known",
    ),
    "marks": ({"phones": ",|.", **PROMPT}, "nothing in it can be said"),
    "unknown phone": ({"phones": "h|qq", **PROMPT}, "phonemes: 'qq' not in the table"),
    "id too large": ({"phones": "1 2 1024", **PROMPT}, "1024 is out of range; ids go from 0 to 1023"),
    "negative id": ({"phones": "5,-1", **PROMPT}, "-1 is out of range"),
    "prompt text too long": (
        {"phones": PHONES, "prompt_phones": "|".join(["a"] * 90)},
        r"does not fit the prompt: 90 sounds in 2\.0 s",
    ),
    "prompt text too short": ({"phones": PHONES, "prompt_phones": "a"}, "does not fit the prompt: 1 sounds"),
    "too many phones": ({"phones": "|".join(["a"] * 1100), **PROMPT}, "1100 phones and 110.0 s is too long"),
    "too few seconds": ({**TEXTLESS, "seconds": 0.05}, r"8 sounds in 0\.04 s are too many"),
    "no predictor": ({**TEXTLESS, "length": "predictor"}, "has no duration predictor"),
    "bytes of phones": ({**TEXTLESS, "length": "bytes"}, "needs text and prompt_text"),
}


@pytest.mark.parametrize(("script", "message"), BAD.values(), ids=BAD)
def test_bad_scripts_are_refused_in_one_line(script, message):
    with pytest.raises(ValueError, match=message) as caught:
        plan(**script)
    assert "\n" not in str(caught.value)


def test_a_generator_without_phones_is_refused():
    with pytest.raises(ValueError, match="knows no phones"):
        Reader(0)
