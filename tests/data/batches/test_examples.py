"""Excerpts of records: the same place of the same recording, without decoding all of it."""

import dataclasses

import numpy as np
import pytest
from synthetic_voice import voice

from metis_jax.audio.waves import write_flac
from metis_jax.data.batches.examples import UnusableRecord, Waves
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record
from metis_jax.data.corpus.shards import shard_name, write_shard

RATE, OWN_RATE, SECONDS = 16_000, 24_000, 6.0


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """A whole record, and one whose audio ends half-way."""
    whole = voice(0, SECONDS, OWN_RATE)
    record = Record(id="whole", audio=write_flac(whole, OWN_RATE), sample_rate=OWN_RATE, samples=len(whole))
    half = write_flac(whole[: len(whole) // 2], OWN_RATE)
    path = tmp_path_factory.mktemp("excerpts") / shard_name(0, 1)
    write_shard(path, [record, dataclasses.replace(record, id="half", audio=half)])
    return Waves(Corpus([path]))


@pytest.mark.parametrize("start", [0, 30_000, 75_000])
def test_an_excerpt_is_a_slice_of_the_decoded_record(waves, start):
    whole = waves.whole(0, RATE)
    part = waves.excerpt(waves.record(0), 0, RATE, start, 20_000)
    assert len(part) == len(whole[start : start + 20_000])
    np.testing.assert_allclose(part, whole[start : start + 20_000], atol=2e-4)


def test_an_excerpt_past_the_end_of_cut_off_audio_is_a_bad_record(waves):
    assert len(waves.excerpt(waves.record(1), 1, RATE, 1_000, RATE)) == RATE
    with pytest.raises(UnusableRecord, match="the record says"):
        waves.excerpt(waves.record(1), 1, RATE, 4 * RATE, RATE)
