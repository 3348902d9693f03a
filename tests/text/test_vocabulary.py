"""The phoneme table and what it refuses."""

import pytest

from metis_jax.text import vocabulary
from metis_jax.text.errors import TextError


def test_table():
    assert vocabulary.table_size() == 1024
    assert len(vocabulary.symbols()) == len(set(vocabulary.symbols())) == 363


def test_ids_and_symbols_are_inverse():
    ids = list(range(363))
    assert vocabulary.encode_strictly(vocabulary.decode(ids)) == ids


def test_unknown_symbols_are_dropped_and_named_once():
    assert vocabulary.encode("h|ɔø|t|ə|ɔø|") == ([41, 29, 57], ["ɔø"])


def test_a_stray_tone_arrow_is_silent():
    assert vocabulary.encode("i↓↑|↑") == ([272], [])


@pytest.mark.parametrize("phonemes", ["h|zz|oʊ", "", "|||", "hello world"])
def test_direct_phonemes_must_be_in_the_table(phonemes):
    with pytest.raises(TextError, match="^phonemes: [^\n]+$"):
        vocabulary.encode_strictly(phonemes)


@pytest.mark.parametrize("ids", [[-1], [1024], [3, 10**9]])
def test_ids_out_of_range(ids):
    with pytest.raises(TextError, match="out of range; ids go from 0 to 1023"):
        vocabulary.check_ids(ids)


def test_ids_without_a_symbol():
    with pytest.raises(TextError, match="700 has no symbol"):
        vocabulary.decode([5, 700])
