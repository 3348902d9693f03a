"""The chain from wave to wave: the authors' mini pipelines, lists, prompts and windows."""

import dataclasses
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from mini_chain import COMPONENTS, CountingEngine, write_mini_bundle

from metis_jax.audio.files import Wave
from metis_jax.audio.waves import AudioError
from metis_jax.clock import CODEC_HOP, SSL_HOP, ssl_frames, ssl_samples
from metis_jax.inference.engine import Engine
from metis_jax.inference.jobs import StageSettings
from metis_jax.inference.lips import doubled
from metis_jax.inference.metis import Metis, Prompt, Settings
from metis_jax.inference.script import Plan, Script, Utterance
from metis_jax.inference.windows import WindowPlan
from metis_jax.types import Policy
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.tensor_files import WeightsError

GOLDEN = Path(__file__).parents[1] / "golden"
LEVELS = COMPONENTS["acoustic_codec"].num_levels
QUICK = Settings(
    semantic=StageSettings((3,), 1.0, 0.9),
    first_level=StageSettings((3,), 0.0, 1.5),
    other_levels=StageSettings((2, 1), 2.5, 1.5),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = write_mini_bundle(tmp_path_factory.mktemp("models") / "bundle", tasks=("se", "vc", "tts"))
    return Engine(Bundle(path), policy=Policy(), devices=jax.local_devices()[:2], rows=2)


def speech_like(seconds, seed):
    draw = np.random.default_rng(seed)
    return Wave(0.1 * draw.normal(size=int(seconds * 16000)).astype(np.float32), 16000)


@pytest.mark.slow
@pytest.mark.parametrize("task, steps, guidance", [("se", 10, 0.0), ("vc", 20, 1.0)])
def test_golden_pipelines(engine, task, steps, guidance):
    with np.load(GOLDEN / f"mini_pipeline_{task}.npz") as arrays:
        golden = dict(arrays)
    settings = Settings(
        semantic=StageSettings((steps,), guidance, 0.0, 0.0),
        first_level=StageSettings((10,), 0.0, 0.0, 0.0),
        other_levels=StageSettings((4, 1), 2.5, 0.0, 0.0),
    )
    metis, prompt = Metis(engine), None
    if task == "vc":
        prompt = metis.encode_prompt_waves(golden["prompt_16k"], golden["prompt_24k"])
        np.testing.assert_array_equal(prompt.semantic, golden["prompt_semantic"][0])
        np.testing.assert_array_equal(prompt.acoustic, golden["prompt_acoustic"][0])
    speech = metis.transform(task, Wave(golden["source_16k"], 16000), prompt, settings=settings)
    np.testing.assert_array_equal(speech.semantic, golden["semantic"][0])
    np.testing.assert_array_equal(speech.acoustic, golden["acoustic"][0])
    [golden_wave] = golden["wave"]
    error = np.linalg.norm(speech.wave.samples[: len(golden_wave)] - golden_wave)
    assert error <= 1e-3 * np.linalg.norm(golden_wave)


@pytest.mark.slow
def test_alone_and_in_a_list_over_devices(engine):
    metis = Metis(engine)
    prompts = [metis.encode_prompt(speech_like(0.5, 10)), metis.encode_prompt(speech_like(0.4, 11))]
    sources = [speech_like(seconds, i) for i, seconds in enumerate((1.0, 0.3, 1.7, 0.8))]
    voices = [prompts[0], prompts[1], prompts[1], prompts[0]]
    heard = []
    together = metis.convert(sources, voices, settings=QUICK, progress=heard.append)
    assert sum(heard) == 4 * QUICK.total_steps(LEVELS)
    for i in (1, 2):
        alone = metis.convert(sources[i], voices[i], settings=QUICK)
        np.testing.assert_array_equal(alone.semantic, together[i].semantic)
        np.testing.assert_array_equal(alone.acoustic, together[i].acoustic)
        np.testing.assert_allclose(alone.wave.samples, together[i].wave.samples, atol=1e-5)
        assert len(alone.wave.samples) == 1.5 * len(sources[i].samples)


def test_windows_join_without_a_seam(engine):
    # The mini decoder sees 14 frames to either side, so half an overlap of 32 is enough.
    metis = Metis(engine, WindowPlan(frames=100, overlap=32))
    source = speech_like(4.1, 3)
    settings = dataclasses.replace(QUICK, other_levels=StageSettings((2, 1), 0.0, 1.5))
    pieces = list(metis.stream("se", [source.samples], settings=settings))
    assert len(pieces) == metis.planned_steps(source.seconds, None, settings) / metis.steps_per_pass(settings) == 3
    tokens = np.concatenate([piece.acoustic for piece in pieces])
    wave = np.concatenate([piece.wave.samples for piece in pieces])
    assert len(tokens) == ssl_frames(len(source.samples))
    [at_once] = engine.waves([tokens])
    np.testing.assert_allclose(wave[: len(at_once)], at_once, atol=1e-5 * np.abs(at_once).max())
    assert len(wave) == 1.5 * len(source.samples) and not wave[len(at_once) :].any()
    again = metis.enhance(source, settings=settings)
    np.testing.assert_array_equal(again.acoustic, tokens)


@pytest.fixture
def jobs(engine, monkeypatch):
    """What stage 2 of the engine is given from now on."""
    given, decode = [], engine.acoustic_stage
    monkeypatch.setattr(engine, "acoustic_stage", lambda more, *rest: given.extend(more) or decode(more, *rest))
    return given


def test_stage_2_hears_the_voice_in_the_source_itself(engine, jobs):
    """As a prompt of the source's first seconds, at their tokens: for what is enhanced, and for nothing else."""
    metis, source = Metis(engine), speech_like(1.0, 3)
    settings = dataclasses.replace(QUICK, own_voice=True)
    speech = metis.enhance(source, settings=settings)
    [heard] = engine.acoustic_tokens([source.at(24000)])
    frames = len(speech.semantic)
    np.testing.assert_array_equal(jobs[0].known, heard[:frames])
    np.testing.assert_array_equal(jobs[0].semantic, np.tile(speech.semantic, 2))
    assert len(speech.acoustic) == frames
    plain = metis.enhance(source, settings=QUICK)
    np.testing.assert_array_equal(plain.semantic, speech.semantic)
    assert np.any(plain.acoustic != speech.acoustic)
    wanted = {"own_voice": True}
    assert Settings.of("se", preferred=wanted).own_voice and not Settings.of("vc", preferred=wanted).own_voice
    with pytest.raises(ValueError, match="decoding.own_voice is 1; use true or false"):
        Settings.of("se", preferred={"own_voice": 1})


def test_every_window_has_the_voice_of_the_first(engine, jobs, monkeypatch):
    """Of a bundle that says how long its windows are."""
    monkeypatch.setattr(engine.bundle, "decoding", {"window": {"frames": 200, "overlap": 16}})
    metis, source = Metis(engine), speech_like(1.5, 3)
    settings = dataclasses.replace(QUICK, own_voice=True)
    speech = metis.enhance(source, settings=settings)
    assert len(speech.wave.samples) == 1.5 * 24000
    first, second = jobs  # of 50 frames, behind 150 that a voice may take
    window = source.at(16_000)[: ssl_samples(200) - 150 * SSL_HOP]
    [heard] = engine.acoustic_tokens([Wave(window, 16_000).at(24_000)])
    np.testing.assert_array_equal(first.known, heard[:50])
    np.testing.assert_array_equal(second.known[:50], heard[:50])
    np.testing.assert_array_equal(second.semantic[:50], first.semantic[:50])
    assert len(second.known) == 50 + 16 and not metis.fits_one_window(1.1, None, settings)
    assert metis.fits_one_window(1.1, None, QUICK)


PROMPT = Prompt(np.zeros(0, np.float32), np.arange(50, dtype=np.int32), np.zeros((50, LEVELS), np.int32))


def test_speech_from_phones(engine):
    metis = Metis(engine)
    script = Script(phones="h|ə|l|oʊ|.", prompt_phones="h|ə|l|oʊ|_|w|ɜː|l|d|.")
    heard = []
    scripts = [script, dataclasses.replace(script, phones="a|a|a|a|_|a", seconds=0.3)]
    [speech, other] = metis.speak(scripts, PROMPT, settings=QUICK, progress=heard.append)
    assert sum(heard) == 2 * QUICK.total_steps(LEVELS)
    assert (speech.length_rule, other.length_rule) == ("phones", "seconds")
    assert speech.acoustic.shape == (25, LEVELS) and len(speech.wave.samples) == 25 * CODEC_HOP
    assert other.acoustic.shape == (15, LEVELS)
    np.testing.assert_array_equal(speech.semantic[:50], PROMPT.semantic)
    assert (other.semantic[50:] != speech.semantic[50:65]).any()


@pytest.mark.slow
def test_words_guide_those_sources_that_have_them(engine):
    metis = Metis(engine)
    waves = [speech_like(0.5, 0), speech_like(0.6, 1)]
    none = np.zeros(0, np.int32)
    voice = Prompt(speech_like(0.2, 2).samples, np.arange(9, dtype=np.int32), np.zeros((9, LEVELS), np.int32))

    def tokens(phones):
        # The mini model for tts has phones and a condition, as an Omni generator has.
        return [one.semantic for one in metis.transform("tts", waves, voice, phones=phones, settings=QUICK)]

    plain, guided = tokens(None), tokens([none, np.arange(1, 30, dtype=np.int32)])
    np.testing.assert_array_equal(plain[0], guided[0])
    assert (plain[1] != guided[1]).any()
    with pytest.raises(ValueError, match="must fit one pass of 30 s"):
        metis.transform("tts", [speech_like(31, 0)], voice, phones=[none], settings=QUICK)


def test_parts_of_a_long_text_become_one_wave():
    metis = Metis(CountingEngine())
    voice = Prompt(np.zeros(0, np.float32), np.zeros(50, np.int32), np.zeros((50, 1), np.int32))
    plan = Plan((Utterance(np.ones(9, np.int32), 1000), Utterance(np.ones(7, np.int32), 700)), "seconds")
    [speech, short] = metis.speak([plan, Plan(plan.parts[1:], "bytes")], voice)
    expected = np.concatenate([np.arange(1, 1001), np.arange(1, 701)])
    np.testing.assert_array_equal(speech.semantic[50:], expected)
    np.testing.assert_array_equal(speech.acoustic[:, 0], expected)
    np.testing.assert_array_equal(speech.wave.samples, np.repeat(expected, CODEC_HOP))
    assert (len(short.acoustic), speech.length_rule, short.length_rule) == (700, "seconds", "bytes")


@pytest.mark.parametrize(
    "rate, samples", [(16000, 48000), (24000, 72001), (44100, 44101), (8000, 807), (16000, 560001)]
)
def test_what_is_made_of_a_source_is_as_long_as_it(rate, samples):
    """To the sample, alone and in a list, in windows and in pieces, whatever the prompt."""
    metis = Metis(CountingEngine())
    source = Wave(np.full(samples, 0.1, np.float32), rate)
    due = round(samples * 24000 / rate)
    for prompt in (None, metis.encode_prompt(speech_like(0.509, 0))):
        for speech in (metis.transform("se", source, prompt), *metis.transform("se", [source, source], prompt)):
            assert len(speech.wave.samples) == due
        pieces = list(metis.stream("se", np.array_split(source.at(16000), 7), prompt))
        assert sum(len(piece.wave.samples) for piece in pieces) == round(len(source.at(16000)) * 1.5)


def test_text_and_lips_need_their_models(tmp_path):
    metis = Metis.from_pretrained(write_mini_bundle(tmp_path / "bundle", tasks=("se",)))
    with pytest.raises(WeightsError, match="no model for task 'tts'; it has: se"):
        metis.speak(Script(phones="a", prompt_phones="a"), PROMPT)
    with pytest.raises(WeightsError, match="no model for task 'l2s'"):
        metis.lip_read(np.zeros((10, 64), np.float32), PROMPT)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((5, 3), np.float32), r"float32\[5, 3\]; expected floats \[frames, 4\]"),
        (np.zeros((0, 4), np.float32), "expected floats"),
        (np.zeros((5, 4), np.int32), "expected floats"),
        (np.full((5, 4), np.nan, np.float32), "not finite"),
    ],
)
def test_bad_lip_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        Metis(CountingEngine()).read_lips(features)


def test_lips_of_any_length_are_read_in_windows_that_go_on_with_each_other(monkeypatch):
    metis = Metis(CountingEngine())
    long, short = np.zeros((2000, 4), np.float32), np.zeros((50, 4), np.float32)
    sizes = []
    decode = CountingEngine.semantic_stage

    def noted(self, task, jobs, settings, progress):
        sizes.append([job.length for job in jobs])
        return decode(self, task, jobs, settings, progress)

    monkeypatch.setattr(CountingEngine, "semantic_stage", noted)
    for voice in (None, dataclasses.replace(PROMPT, acoustic=PROMPT.acoustic[:, :1])):
        sizes.clear()
        found = metis.lip_read([short, long], voice)
        known = len(voice.semantic) if voice else 0
        assert [len(speech.wave.samples) for speech in found] == [2 * 24_000, 80 * 24_000]
        # Tokens are numbered one behind the other: no frame is said twice, and none is left out.
        numbers = found[1].acoustic[:, 0]
        np.testing.assert_array_equal(np.diff(numbers), 1)
        assert sizes[0] == [100 + known] and all(size[0] <= 1500 for size in sizes)
        assert 1 + metis.lip_passes(long, voice or metis.no_prompt) == len(sizes) >= 4


def test_a_bundle_without_a_component_is_refused_before_loading(tmp_path):
    path = write_mini_bundle(tmp_path / "bundle", tasks=("se",))
    metis = Metis.from_pretrained(path)
    metis.engine.require("se")
    with pytest.raises(WeightsError, match="no model for task 'tse'; it has: se"):
        metis.engine.require("tse")
    (path / "acoustic_generator_full.safetensors").unlink()
    with pytest.raises(WeightsError, match="acoustic_generator_full.safetensors: file is missing"):
        metis.engine.require("se")


@pytest.mark.parametrize(
    "wave, message",
    [
        (Wave(np.ones(21 * 16000, np.float32), 16000), "prompt: 21.0 s long; at most 20 s"),
        (Wave(np.ones(100, np.float32), 16000), "prompt: 0.006 s of audio"),
        (Wave(np.zeros(16000, np.float32), 16000), "prompt: is silent"),
    ],
)
def test_bad_prompts_are_named(engine, wave, message):
    with pytest.raises(AudioError, match=message):
        Metis(engine).encode_prompt(wave)


def test_lip_features_are_doubled_linearly():
    features = np.array([[0.0], [4.0], [8.0]], np.float32)
    np.testing.assert_array_equal(doubled(features)[:, 0], [0, 1, 3, 5, 7, 8])


def streamed(minutes):
    """Whether all frames came out in order, and the peak of memory."""
    metis = Metis(CountingEngine())
    chunks = (np.zeros(160000, np.float32) for _ in range(6 * minutes))
    expected, total, in_order = 0, ssl_frames(960000 * minutes), True
    tracemalloc.start()
    for piece in metis.stream("se", chunks):
        frames = piece.wave.samples[::CODEC_HOP][: total - expected]  # behind them is silence
        in_order &= np.array_equal(frames, np.arange(expected, expected + len(frames)))
        expected += len(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return in_order and expected == total, peak


def test_memory_does_not_grow_with_length():
    (_, short), (is_complete, long) = streamed(1), streamed(10)
    assert is_complete
    assert long < 1.2 * short
