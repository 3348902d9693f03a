"""Token extraction: kept fields, windows, processes, bad records, kill -9, and one run through real (tiny) encoders."""

import concurrent.futures
import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_encoder import FakeEncoder
from mini_chain import write_mini_bundle

from metis_jax.audio.waves import write_flac
from metis_jax.cli import extract_tokens as command
from metis_jax.clock import ssl_frames, ssl_samples
from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import BadRecordLimit, Corpus, TooManyBadRecords
from metis_jax.data.corpus.records import Record
from metis_jax.data.effects.degrade import DegradeConfig, NoiseConfig
from metis_jax.data.extract import ExtractConfig, extract
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.identity import OtherEncoder

ROOT = pathlib.Path(__file__).resolve().parents[2]


def by_id(folder) -> dict[str, Record]:
    records = [record for path in shards.find_shards([folder]) for record in shards.read_shard(path)]
    assert len(records) == len({record.id for record in records})
    return {record.id: record for record in records}


def test_every_record_once_with_its_fields_and_tokens(audio_shards, tmp_path):
    report = extract(audio_shards, tmp_path, FakeEncoder(), ExtractConfig(chunk=5))
    before, after = by_id(audio_shards), by_id(tmp_path)
    assert before.keys() == after.keys() and report["records"] == len(after) and not report["skipped"]
    for name, record in after.items():
        assert dataclasses.replace(record, arrays={}) == before[name]
        if record.kind == "speech":
            assert len(record.arrays["ssl_tokens"]) == ssl_frames(record.samples)
            assert record.arrays["acoustic_tokens"].shape[1] == 12
            assert record.arrays["acoustic_tokens"].dtype == np.uint16
        else:
            assert not record.arrays
    hours = sum(record.seconds for record in after.values() if record.kind == "speech") / 3600
    assert abs(report["audio_hours"] - hours) < 1e-3 and report["audio_hours_per_hour"] > 0
    batch = Pipeline(PipelineConfig(stage="stage2", shards=(str(tmp_path),), rows=2, buckets=(100,)))[0]
    assert batch["acoustic_tokens"].shape == (2, 100, 12)


def test_lip_features_take_the_place_of_the_mouths(tmp_path):
    rng = np.random.default_rng(0)
    audio, samples = write_flac(0.1 * rng.standard_normal(40 * 16_000).astype(np.float32), 16_000), 40 * 16_000
    mouths = rng.integers(0, 256, (1000, 96, 96)).astype(np.uint8)
    both = [
        Record(id=name, audio=audio, sample_rate=16_000, samples=samples, kind="video", arrays=arrays)
        for name, arrays in (("seen", {"mouth_crops": mouths}), ("unseen", {}))
    ]
    (tmp_path / "in").mkdir()
    shards.write_shard(tmp_path / "in" / "a.array_record", both)
    encoder = FakeEncoder()
    own = {"visual_encoder": "9"}
    extract(tmp_path / "in", tmp_path / "out", encoder, ExtractConfig(arrays=("visual_features",)), encoders=own)
    assert Corpus([tmp_path / "out"]).encoders == own
    found = by_id(tmp_path / "out")
    assert not found["unseen"].arrays and found["seen"].arrays.keys() == {"visual_features"}
    # Without the margin of training, and in windows of 30 s.
    np.testing.assert_array_equal(found["seen"].arrays["visual_features"], mouths[:, 4, 4:7])
    assert encoder.longest == 750


def test_features_without_audio(audio_shards, tmp_path):
    config = ExtractConfig(arrays=("ssl_features",), keep_audio=False)
    extract(audio_shards, tmp_path, FakeEncoder(), config)
    speech = [record for record in by_id(tmp_path).values() if record.kind == "speech"]
    assert speech and all(not record.audio for record in speech)
    assert all(record.arrays.keys() == {"ssl_features"} for record in speech)


def test_ssl_arrays_of_degraded_speech_beside_acoustic_tokens_of_clean(audio_shards, tmp_path):
    config = ExtractConfig(
        arrays=("ssl_tokens", "acoustic_tokens", "degraded_acoustic_tokens"),
        degrade=DegradeConfig(noise=NoiseConfig(probability=1.0, snr_db=(0.0, 0.0), synthetic=0.0)),
    )
    extract(audio_shards, tmp_path / "clean", FakeEncoder())
    extract(audio_shards, tmp_path / "noisy", FakeEncoder(), config)
    for index in range(2):
        extract(audio_shards, tmp_path / "again", FakeEncoder(), config, process_index=index, process_count=2)
    clean, noisy, again = (by_id(tmp_path / name) for name in ("clean", "noisy", "again"))
    assert clean.keys() == noisy.keys() == again.keys()
    for name, record in clean.items():
        assert noisy[name].audio == record.audio
        if record.kind == "speech":
            one, other = (records[name].arrays for records in (clean, noisy))
            assert np.mean(one["ssl_tokens"] != other["ssl_tokens"]) > 0.5
            np.testing.assert_array_equal(one["acoustic_tokens"], other["acoustic_tokens"])
            assert np.mean(other["acoustic_tokens"] != other["degraded_acoustic_tokens"]) > 0.5
            assert other["acoustic_tokens"].shape == other["degraded_acoustic_tokens"].shape
            np.testing.assert_array_equal(other["ssl_tokens"], again[name].arrays["ssl_tokens"])
    with pytest.raises(shards.ShardError, match="holds tokens of other config"):
        extract(audio_shards, tmp_path / "noisy", FakeEncoder())


def test_processes_that_start_alike_may_write_one_file(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: shards.write_json(tmp_path / "a.json", [1] * 1000), range(200)))
    assert json.loads((tmp_path / "a.json").read_text()) == [1] * 1000
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--degrade={"], "--degrade: not valid JSON"),
        (['--noise={"split": "train"}'], "--noise says what --degrade takes; give --degrade too"),
        (['--degrade={"snr": 1}'], "--degrade and --noise.degrade has no field 'snr'"),
        (
            ["--arrays=acoustic_tokens", '--degrade={"gain_db": [0, 0]}'],
            "degrade changes degraded_acoustic_tokens,",
        ),
        (["--arrays=degraded_acoustic_tokens"], "say how they are degraded by degrade"),
        (['--degrade={"gain_db": [0, 1e300]}'], "gain_db is (0.0, 1e+300); expected (low, high) with -120.0"),
        (['--degrade={"noise": {"probability": 2}}'], "noise.probability is 2.0; it must lie in [0, 1]"),
        (['--degrade={"room": {"simulated": -1}}'], "room.simulated is -1.0; it must lie in [0, 1]"),
        (['--degrade={"room": {"rt60": [0.1, 1e9]}}'], "room.rt60 is (0.1, 1000000000.0); expected"),
        (['--degrade={"clip": []}'], "--degrade and --noise.degrade.clip is []; expected fields by name"),
        (['--degrade={"codec": {"kinds": "opus"}}'], "codec.kinds is 'opus'; expected a list"),
        (['--degrade={"band": {"order": [2.5, 8]}}'], "band.order[0] is 2.5; expected an integer"),
        (["--degrade={}", '--noise={"split": 3}'], "noise.split is 3; expected a text"),
        (["--degrade={}", "--noise=[]"], "--noise: a list; expected an object"),
        (["--degrade=" + "[" * 10_000], "nested too deeply"),
        (["--arrays=ssl_tokens,ssl_tokens"], "name each once"),
        (["--arrays="], "arrays is"),
        (["--rows=-1"], "--rows is -1; expected 0 to 4096"),
        (["--threads=0"], "--threads is 0; expected 1 to 1024"),
        (["--process_count=0"], "--process_count is 0; expected 1"),
        (["--process_index=2", "--process_count=2"], "--process_index is 2; expected 0 to 1"),
    ],
)
def test_bad_flags_are_named(tmp_path, capsys, flags, message):
    arguments = ["--bundle=b", "--input=i", f"--output={tmp_path}", "--compilation_cache=off"]
    assert command.main([*arguments, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("extract_tokens: ") and message in line


def test_the_input_is_not_overwritten(audio_shards, tmp_path):
    shutil.copytree(audio_shards, tmp_path / "in")
    before = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    (tmp_path / "link").symlink_to("in")
    for place in (tmp_path / "in", tmp_path / "link"):
        with pytest.raises(shards.ShardError, match="holds the shards that are read; use a new folder"):
            extract(tmp_path / "in", place, FakeEncoder())
    assert {path: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


@pytest.mark.parametrize("text", ["", "[1]", "{", "5", "[" * 10_000])
def test_damaged_settings_say_what_to_do(audio_shards, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "extract.json").write_text(text)
    with pytest.raises(shards.ShardError, match=f"^{tmp_path}/out/extract.json: .*; remove {tmp_path}/out and start"):
        extract(audio_shards, tmp_path / "out", FakeEncoder())


def test_long_recordings_are_encoded_in_windows(tmp_path):
    wave = (0.9 * np.random.default_rng(0).random(16_000 * 70)).astype(np.float32)
    record = Record(id="long", audio=write_flac(wave, 16_000), sample_rate=16_000, samples=len(wave))
    shards.write_shard(tmp_path / "in.array_record", [record])
    encoder = FakeEncoder()
    extract(tmp_path / "in.array_record", tmp_path / "out", encoder, ExtractConfig())
    tokens = by_id(tmp_path / "out")["long"].arrays
    assert encoder.longest == 1500
    assert len(tokens["ssl_tokens"]) == ssl_frames(len(wave)) and len(tokens["acoustic_tokens"]) == 70 * 50
    # Each token still stands at its place in the recording.
    expected = np.round(np.abs(wave[: 320 * len(tokens["ssl_tokens"]) : 320]) * 8000)
    assert np.abs(tokens["ssl_tokens"] - expected).max() <= 1


def test_shares_of_processes_make_the_whole(audio_shards, tmp_path):
    extract(audio_shards, tmp_path / "one", FakeEncoder())
    for index in (1, 0):
        share = {"process_index": index, "process_count": 2}
        report = extract(audio_shards, tmp_path / "two", FakeEncoder(), **share)
        assert report["shards"] < len(shards.find_shards([audio_shards]))
    assert Corpus([tmp_path / "one"]).fingerprint() == Corpus([tmp_path / "two"]).fingerprint()
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()
    }
    with pytest.raises(ValueError, match="process_index is 2 of 2"):
        extract(audio_shards, tmp_path / "two", FakeEncoder(), process_index=2, process_count=2)


def test_bad_records_are_left_out_and_listed(audio_shards, tmp_path):
    (tmp_path / "in").mkdir()
    for path in shards.find_shards([audio_shards]):
        records = [
            dataclasses.replace(record, audio=b"noise") if record.id in ("s1_0", "s2_0") else record
            for record in shards.read_shard(path)
        ]
        shards.write_shard(tmp_path / "in" / path.name, records)
    report = extract(tmp_path / "in", tmp_path / "out", FakeEncoder())
    assert set(report["skipped"]) == {"s1_0", "s2_0"}
    listed = {}
    for path in (tmp_path / "out").glob("*.skipped.json"):
        listed |= json.loads(path.read_text())
    assert listed == report["skipped"]
    assert by_id(audio_shards).keys() - by_id(tmp_path / "out").keys() == {"s1_0", "s2_0"}
    with pytest.raises(TooManyBadRecords):
        strict = BadRecordLimit(count=1, share=0.0)
        extract(tmp_path / "in", tmp_path / "strict", FakeEncoder(), limit=strict)
    assert not list((tmp_path / "strict").glob(".*.partial"))


def test_other_weights_or_settings_may_not_share_a_folder(audio_shards, tmp_path):
    extract(audio_shards, tmp_path, FakeEncoder())
    again = extract(audio_shards, tmp_path, FakeEncoder(), ExtractConfig(chunk=3))
    assert again["done_before"] == again["shards"] and again["records"] == 0
    with pytest.raises(shards.ShardError, match="tokens of other encoders"):
        extract(audio_shards, tmp_path, FakeEncoder(), encoders={"semantic_codec": "c"})
    with pytest.raises(shards.ShardError, match="tokens of other config"):
        extract(audio_shards, tmp_path, FakeEncoder(), ExtractConfig(keep_audio=False))
    with pytest.raises(ValueError, match="arrays is"):
        ExtractConfig(arrays=("tokens",))


RUN = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from fake_encoder import FakeEncoder
from metis_jax.data.extract import ExtractConfig, extract
extract(sys.argv[1], sys.argv[2], FakeEncoder(pause=0.02), ExtractConfig(chunk=4))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_shards(audio_shards, tmp_path):
    many = tmp_path / "in"
    many.mkdir()
    records = list(by_id(audio_shards).values())
    for index in range(11):
        shards.write_shard(many / shards.shard_name(index, 11), records[4 * index : 4 * index + 4])
    extract(many, tmp_path / "whole", FakeEncoder(), ExtractConfig(chunk=4))
    script = RUN.format(here=str(ROOT / "tests/data"), root=str(ROOT))
    output = tmp_path / "out"
    for done in (1, 5):
        process = subprocess.Popen([sys.executable, "-c", script, str(many), str(output)], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(output.glob("*.array_record"))) < done:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"
    extract(many, output, FakeEncoder(), ExtractConfig(chunk=4))
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()} == {
        path.name: path.read_bytes() for path in output.iterdir()
    }
    assert by_id(output).keys() == by_id(audio_shards).keys()


@pytest.mark.slow
def test_the_command_through_tiny_encoders(audio_shards, tmp_path, capsys):
    bundle = write_mini_bundle(tmp_path / "bundle", tasks=())
    few = [record for record in by_id(audio_shards).values() if record.kind == "speech"][:2]
    # As many frames as the smallest bucket holds, and samples to spare after the last of them.
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, ssl_samples(128) + 159).astype(np.float32)
    few.append(Record(id="full", audio=write_flac(wave, 16_000), sample_rate=16_000, samples=len(wave)))
    shards.write_shard(tmp_path / "in.array_record", few)
    arguments = [f"--bundle={bundle}", f"--input={tmp_path / 'in.array_record'}", f"--output={tmp_path / 'out'}"]
    assert command.main([*arguments, "--rows=1"]) == 0
    assert "audio hours per hour" in capsys.readouterr().out
    for record in by_id(tmp_path / "out").values():
        assert len(record.arrays["ssl_tokens"]) == ssl_frames(record.samples)
        assert 0 <= len(record.arrays["acoustic_tokens"]) - len(record.arrays["ssl_tokens"]) <= 2
        made = ("ssl_encoder", "semantic_codec", "acoustic_codec")
        assert record.encoders == {name: Bundle(bundle).identity(name) for name in made}
    assert json.loads((tmp_path / "out" / "extract.json").read_text())["dtype"] == "float32"
    assert command.main([f"--bundle={tmp_path / 'none'}", *arguments[1:]]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (bundle / "acoustic_codec.safetensors").unlink()
    assert command.main([*arguments[:2], f"--output={tmp_path / 'other'}"]) == 2
    assert "acoustic_codec.safetensors: file is missing" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_arrays_that_stay_are_not_joined_by_those_of_another_encoder(audio_shards, tmp_path):
    features, own = ExtractConfig(arrays=("ssl_features",)), {"ssl_encoder": "1"}
    extract(audio_shards, tmp_path / "features", FakeEncoder(), features, encoders=own)
    ssl_tokens = ExtractConfig(arrays=("ssl_tokens",))
    with pytest.raises(OtherEncoder, match="its ssl_features are of ssl_encoder 1, the bundle has 2"):
        extract(tmp_path / "features", tmp_path / "a", FakeEncoder(), ssl_tokens, encoders={"ssl_encoder": "2"})
    made_by = own | {"semantic_codec": "3"}
    extract(tmp_path / "features", tmp_path / "b", FakeEncoder(), ssl_tokens, encoders=made_by)
    assert Corpus([tmp_path / "b"]).encoders == made_by
