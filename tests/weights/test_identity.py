"""Whose tokens are whose: identities, and every place where two of them meet."""

import dataclasses
import json

import numpy as np
import pytest
from mini_chain import COMPONENTS, variables_of, write_mini_bundle

from metis_jax.cli import assemble
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record, RecordError, decode_record, encode_record
from metis_jax.models.components import abstract_variables
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.identity import OtherEncoder, identity, joined


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle(write_mini_bundle(tmp_path_factory.mktemp("bundles") / "mini"))


def test_the_same_encoder_in_half_precision_or_with_another_decoder_is_the_same(bundle, tmp_path):
    names = ("ssl_encoder", "semantic_codec", "acoustic_codec")
    parts = [f"--component={name}={bundle.path}" for name in names]
    assert assemble.main([f"--output={tmp_path / 'half'}", "--dtype=float16", *parts]) == 0
    half = Bundle(tmp_path / "half")
    assert half.file("semantic_codec").specs["params/quantizer/codebook"].dtype == np.float16
    assert [half.identity(name) for name in names] == [bundle.identity(name) for name in names]
    assert len({bundle.identity(name) for name in names}) == 3

    flat = dict.fromkeys(abstract_variables(COMPONENTS["acoustic_codec"]), np.ones(3))
    decoder = next(path for path in flat if path.startswith("params/decoder/"))
    codebook = next(path for path in flat if "codebook" in path)
    whole = identity(flat.items())
    assert identity((flat | {decoder: np.zeros(3)}).items()) == whole
    assert identity((flat | {codebook: np.zeros(3)}).items()) != whole
    assert identity(reversed(flat.items())) == whole


def test_identities_are_joined_unless_they_differ():
    known = {"ssl_encoder": "a", "semantic_codec": ""}
    assert joined(known, {"semantic_codec": "b"}, "x", "y") == {"ssl_encoder": "a", "semantic_codec": "b"}
    with pytest.raises(OtherEncoder, match="y and x are of two ssl_encoders, a and c"):
        joined(known, {"ssl_encoder": "c"}, "x", "y")


def record(name: str, **encoders: str) -> Record:
    tokens = {"ssl_tokens": np.arange(5)}
    return Record(id=name, audio=b"", sample_rate=8000, samples=800, arrays=tokens, encoders=encoders)


def test_a_record_keeps_whose_tokens_it_has():
    one = record("a", ssl_encoder="1", semantic_codec="2")
    assert decode_record(encode_record(one)).encoders == {"ssl_encoder": "1", "semantic_codec": "2"}
    with pytest.raises(RecordError, match="encoders has 'vocoder'"):
        record("a", vocoder="1")


def test_a_corpus_of_two_codecs_is_refused_by_name(tmp_path):
    def folder(name: str, *records: Record) -> str:
        (tmp_path / name).mkdir()
        shards.write_shard(tmp_path / name / "x.array_record", records)
        return str(tmp_path / name)

    one, other = folder("one", record("a", semantic_codec="1")), folder("other", record("b", semantic_codec="2"))
    unknown = folder("unknown", record("c"))
    with pytest.raises(OtherEncoder, match="records a and b have arrays of different semantic_codecs, 1 and 2"):
        Corpus([one, other])
    assert Corpus([one, unknown]).encoders == {"semantic_codec": "1"} and Corpus([unknown]).encoders == {}
    # The same records with tokens of another codec are other data.
    same = folder("same", dataclasses.replace(record("b", semantic_codec="1")))
    assert Corpus([same]).fingerprint() != Corpus([other]).fingerprint()
    # An index from before lip features had an identity is read.
    index = shards.index_path(tmp_path / "one" / "x.array_record")
    known = json.loads(index.read_text())
    known["columns"].pop("identity_visual_encoder")
    index.write_text(json.dumps(known))
    assert Corpus([one]).encoders == {"semantic_codec": "1"}
    # An index that is rebuilt from the records knows it too.
    index.unlink()
    assert Corpus([one]).encoders == {"semantic_codec": "1"}


def test_a_bundle_whose_generator_speaks_other_tokens_is_not_written(bundle, tmp_path):
    def write(path, **encoders: str) -> str:
        with write_bundle(path, license="MIT", provenance="a test") as writer:
            config = COMPONENTS["semantic_generator"]
            writer.add("semantic_generator", config, variables_of(config), encoders=encoders)
        return str(path)

    own = write(tmp_path / "own", semantic_codec=bundle.identity("semantic_codec"))
    other = write(tmp_path / "other", semantic_codec="0123")
    codec = f"--component=semantic_codec={bundle.path}"
    parts = [f"--output={tmp_path / 'all'}", codec, f"--component=semantic_generator={own}", "--task=se"]
    assert assemble.main(parts) == 0
    assert Bundle(tmp_path / "all").encoders == {"semantic_generator": Bundle(own).encoders["semantic_generator"]}
    assert assemble.main([f"--output={tmp_path / 'no'}", codec, f"--component=semantic_generator={other}"]) == 2
    assert not (tmp_path / "no").exists()
