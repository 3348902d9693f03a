"""German, French and Korean normalisation."""

import pytest

from metis_jax.text import espeak, french, german, korean
from metis_jax.text.frontend import TextFrontEnd

pytestmark = pytest.mark.extra("text", "phonemizer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("„Ja“ – (nein) [doch] »gut«", "„Ja – nein doch gut"),
        ("E-Mail: z.B.; usw…", "E Mail, z.B., usw."),
        ("...Hallo  du\nda", "Hallo du.da"),
        ("geht’s 5$", "gehts 5."),
    ],
)
def test_german(text, words):
    assert german.normalise(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("M. Dupont et Mme Roy", "monsieur Dupont et Madame Roy"),
        ("Mlles Petit", "mademoiselles Petit"),
        ("12, av. Foch, no. 5, etc.", "12, avenue Foch, numéro 5, et cetera"),
        ("R&D", "R et D"),
        ("c’est", "cest"),
    ],
)
def test_french(text, words):
    assert french.normalise(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [("大韓 AI와 TV Up", " 에이아이와 tv up"), ("A/S B", "에이/에스 비")],
)
def test_korean(text, words):
    assert korean.normalise(text) == words


def test_hanja_is_reported():
    assert TextFrontEnd().read("김(金)", "ko").unsupported == ("金",)


def test_the_release_time_vowels():
    """espeak-ng 1.51 and the wheel that is used write these so; 1.52.0 writes other vowels."""
    if "piper" not in espeak.version():
        pytest.skip("another espeak-ng is in use: " + espeak.version())
    assert TextFrontEnd().read("müssen, fünf", "de").phonemes == "m|y|s|ə|n|,|f|y|n|f"
    assert TextFrontEnd().read("more story", "en").phonemes == "m|oːɹ|_|s|t|oːɹ|i|"


def test_long_lines_read_as_short_ones_do():
    sentence = "Guten Morgen, wie geht es Ihnen heute?"
    once = TextFrontEnd().read(sentence, "de").phonemes
    assert TextFrontEnd().read(" ".join([sentence] * 200), "de").phonemes == "|".join([once] * 200)
