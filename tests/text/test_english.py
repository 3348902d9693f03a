"""English readings, one line for each habit of the reference."""

import pytest

from metis_jax.text import english
from metis_jax.text.frontend import TextFrontEnd

pytestmark = pytest.mark.extra("text", "phonemizer", "inflect")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. Drs. ST co", "mister. doctors. saint company"),
        ("1,250,000", " one million, two hundred fifty thousand "),
        ("£45", " forty-five  pounds"),
        ("$1", "  one  dollar "),
        ("$1.01", "  one  dollar,  one  cent "),
        ("$0.05", "  five  cents "),
        ("$12.50", "  twelve  dollars,  fifty  cents "),
        ("$0", " zero dollars "),
        ("1/2", " one half "),
        ("1/4", " one quarter "),
        ("3/4", " three quarters "),
        ("5/8", " five eighth "),
        ("3.14", " three  point  fourteen "),
        ("50%", " fifty  percent "),
        ("21st", " twenty-first "),
        ("1000", " one thousand "),
        ("1066", " ten sixty-six "),
        ("1905", " nineteen oh five "),
        ("1900", " nineteen hundred "),
        ("2000", " two thousand "),
        ("2007", " two thousand seven "),
        ("2024", " twenty twenty-four "),
        ("3000", " three thousand "),
        ("007", " seven "),
    ],
)
def test_normalise(text, words):
    assert english.normalise(text) == words


def test_endless_digits_are_spelled():
    assert english.normalise("9" * 40).split() == ["nine"] * 40


def test_a_word_at_the_end_closes_without_a_boundary():
    assert TextFrontEnd().read("hello", "en").phonemes == "h|ə|l|oʊ|"


def test_apostrophes_are_marks():
    assert "|'|" in TextFrontEnd().read("don't stop", "en").phonemes
