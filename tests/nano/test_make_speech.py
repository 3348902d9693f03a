"""The parts of nano/make_speech.py that need no package: sentences, phones, what utterance n is, and going on."""

import json
import random

import numpy as np
import pytest

from nano import make_speech, phones, sentences, voices

DATA = """\
  1 This is the licence.
00001740 29 v 01 rise 0 000 | get up; "they rose at dawn"; "a bird-like rise, so to speak"; "12 rose"; "rose"
00001741 29 v 01 cuss 0 000 | an offensive word; "they say it at dawn"
""".splitlines()
INDEX = """\
  1 This is the licence.
boat n 2 3 @ ~ + 2 1 02858304 02859443
skiff n 1 1 @ 1 0 04224842
Old_Norse n 1 1 @ 1 1 06952100
""".splitlines()


def test_examples_are_what_can_be_read_and_is_kind():
    assert list(sentences.examples(DATA)) == ["They rose at dawn.", "A bird-like rise, so to speak."]


def test_frequent_words_are_those_met_in_tagged_texts():
    assert sentences.frequent_words(INDEX) == ["boat"]


def test_short_sentences_are_read_in_pairs():
    found = list(sentences.joined(["A b.", "One two three four five.", "C d.", "E f."]))
    assert found == ["One two three four five.", "A b. C d."]


def test_made_sentences_have_no_holes_and_mind_the_article():
    made = sentences.made(["otter", "boat"], ["odd", "plain"], random.Random(3))
    texts = [next(made) for _ in range(500)]
    assert not any("%" in text for text in texts)
    assert not any(f" a {vowel}" in text.lower() for text in texts for vowel in "aeiou")
    assert len(set(texts)) > 300


def test_held_out_is_a_property_of_the_words():
    texts = [f"Sentence {'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}{'uvwxyz'[i // 100]}." for i in range(600)]
    held_out = [text for text in texts if sentences.is_held_out(text)]
    assert 10 < len(held_out) < 60
    assert all(sentences.is_held_out(text.upper().replace(".", "?!")) for text in held_out)


def test_letters_add_up_to_phones():
    spoken = ["ð", "ə", "_", "tʃ", "ˈɜː", "tʃ", ",", "b", "ˈɑː", "ɾ", "əl", "."]
    assert "".join(phones.letters(spoken)) == "ðə ʧˈɜɹʧ, bˈɑTᵊl."


def test_joined_phones_last_as_long_as_their_parts():
    symbols, durations = phones.in_table(["t", "ɹ", "ˈiː", "_", "k", "ˈæ", "t", "s", "."], [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert symbols == ["tɹ", "iː", "_", "k", "æ", "ts", "."]
    assert durations == [3, 3, 4, 5, 6, 15, 9]


def test_a_phone_before_a_pause_ends_with_its_sound():
    rate = 1000
    wave = np.zeros(2000, np.float32)
    wave[100:400] = wave[700:900] = np.sin(np.arange(500))[:300].max()
    edges = phones.bounds(wave, np.array([100, 200, 650, 700, 950]), ["a", "t", ",", "o", "."], rate, tail=0.5)
    assert edges.tolist() == [100, 200, 400, 700, 900, 1400]


@pytest.mark.parametrize("phone, end", [("ˈoʊ", 300), ("n̩", 300), ("iː", 300), ("f", 500), ("tʃ", 500)])
def test_breath_is_no_vowel(phone, end):
    rate = 1000
    wave = np.zeros(1000, np.float32)
    wave[100:300], wave[300:500] = 1.0, 0.03
    assert phones.bounds(wave, np.array([100, 700]), [phone, "."], rate).tolist() == [100, end, end + 300]


def test_starts_are_those_of_the_groups_and_frames_fit_the_wave():
    frames = [3, 1, 2, 4, 5]
    starts = voices.starts(frames, ["a", "bc"], 15 * voices.FRAME)
    assert (starts + voices.LAG).tolist() == [3 * voices.FRAME, 4 * voices.FRAME]
    with pytest.raises(ValueError, match="add up to 9000 samples"):
        voices.starts(frames, ["a", "bc"], 14 * voices.FRAME)
    with pytest.raises(ValueError, match="expected 6 letters"):
        voices.starts(frames, ["ad", "bc"], 15 * voices.FRAME)


NAMES = [f"{group}_{name}" for group in ("af", "am", "bf", "bm") for name in "pqrstu"]


def test_voices_held_out_are_in_no_mix_for_training():
    training, held_out = voices.speakers([*NAMES, *voices.HELD_OUT_VOICES, voices.LEFT_OUT, "jf_alpha"])
    assert len(training) == 24 + voices.MIXES and len({speaker.name for speaker in training}) == len(training)
    kept = set(voices.HELD_OUT_VOICES)
    assert all(kept.isdisjoint(speaker.voices) for speaker in training)
    assert all(kept.issuperset(speaker.voices) for speaker in held_out)
    assert {voice for speaker in training for voice in speaker.voices} == set(NAMES)


def test_every_beginning_is_a_fair_mixture():
    training, held_out = voices.speakers([*NAMES, *voices.HELD_OUT_VOICES])
    texts = [f"Sentence {i:b}".replace("0", "o").replace("1", "i") + "." for i in range(400)]
    texts = list(dict.fromkeys(texts))
    planned = [make_speech.plan(number, texts, training, held_out) for number in range(2 * len(texts))]
    assert planned == [make_speech.plan(number, texts, training, held_out) for number in range(2 * len(texts))]
    assert sum(utterance.speaker is None for utterance in planned[:250]) == 50
    named = [utterance.speaker.name for utterance in planned[:250] if utterance.speaker and not utterance.held_out]
    assert len(set(named)) == len(named) > 180
    for utterance in planned:
        assert utterance.held_out == sentences.is_held_out(utterance.text)
        assert utterance.held_out or utterance.speaker not in held_out
    assert any(utterance.speaker in held_out for utterance in planned)
    again = planned[len(texts) :]
    assert sorted(utterance.text for utterance in again) == sorted(texts)
    assert [utterance.text for utterance in again] != texts
    first = make_speech.ONE_VOICE
    alone = [make_speech.plan(number, texts, training, held_out) for number in range(first, first + 10)]
    assert all(utterance.speaker is None for utterance in alone) and alone[0].id == "1000000"


def test_a_killed_run_goes_on_behind_its_last_whole_line(tmp_path):
    manifest = tmp_path / "manifest.jsonl"
    assert make_speech.resume(manifest) == (0, 0.0)
    assert make_speech.resume(manifest, make_speech.ONE_VOICE) == (make_speech.ONE_VOICE, 0.0)
    lines = [json.dumps({"id": f"{number:06d}", "seconds": 1800.0}) + "\n" for number in (0, 1, 3)]
    manifest.write_text("".join(lines) + '{"id": "000004", "sec')
    assert make_speech.resume(manifest) == (4, 1.5)
    assert manifest.read_text() == "".join(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_the_line_of_the_manifest_adds_up():
    spoken = ["h", "ˈaɪ", "_", "t", "ɹ", "ˈiː", "."]
    utterance = make_speech.Utterance(1234, "Hi tree.", None, 1.0, False)
    wave = np.concatenate([np.zeros(6000), np.ones(24000) * 0.1, np.zeros(18000)]).astype(np.float32)
    starts = np.array([6000, 9000, 12000, 14400, 18000, 24000, 36000])
    wave, row = make_speech.row_of(utterance, voices.Hibari, wave, starts, spoken)
    assert row["phonemes"] == "h|aɪ|_|tɹ|iː|."
    assert row["path"] == "audio/001/001234.flac" and len(row["phones"]) == len(row["durations"]) == 6
    assert row["silence"] + sum(row["durations"]) == pytest.approx(row["seconds"]) == pytest.approx(len(wave) / 24000)
    assert row["durations"][-2:] == [0.25, 0.3]


def test_speech_to_test_with_is_of_held_out_voices_and_sentences_alone():
    training, held_out = voices.speakers([*NAMES, *voices.HELD_OUT_VOICES])
    texts = [f"Sentence {i:b}".replace("0", "o").replace("1", "i") + "." for i in range(400)]
    found = [make_speech.plan(make_speech.HELD_OUT + n, texts, training, held_out) for n in range(30)]
    assert all(utterance.held_out and sentences.is_held_out(utterance.text) for utterance in found)
    assert {utterance.speaker.name for utterance in found} == {speaker.name for speaker in held_out}
