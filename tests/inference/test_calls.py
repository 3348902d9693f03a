"""What the methods of `Metis` take and refuse, and who may call them; counting stands for the models."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine

import metis_jax
from metis_jax.audio.files import Wave
from metis_jax.audio.waves import AudioError
from metis_jax.inference.metis import Metis
from metis_jax.inference.settings import Prompt, Settings
from metis_jax.inference.sounds import as_wave
from metis_jax.weights.tensor_files import WeightsError

NOISE = (0.1 * np.random.default_rng(0).normal(size=16000)).astype(np.float32)


@pytest.fixture
def metis():
    return Metis(CountingEngine())


@pytest.fixture
def path(tmp_path):
    soundfile.write(tmp_path / "noise.wav", NOISE, 16000, subtype="FLOAT")
    return tmp_path / "noise.wav"


def test_a_recording_has_many_forms(metis, path):
    pcm = (NOISE * 2**15).astype(np.int16)
    forms = [path, str(path), Wave(NOISE, 16000), (NOISE, 16000), (NOISE.astype(np.float64), np.int64(16000))]
    for form in forms:
        np.testing.assert_array_equal(as_wave(form, "source").samples, NOISE)
        assert len(metis.enhance(form).wave.samples) == 24000
    for form in forms[:4]:
        [piece] = metis.stream("vc", form, form)
        assert len(piece.wave.samples) == 24000
    np.testing.assert_allclose(as_wave((pcm, 16000), "source").samples, NOISE, atol=2**-15)
    together = metis.convert(forms, [*forms[1:], metis.encode_prompt(path)])
    assert [len(one.wave.samples) for one in together] == [24000] * 5
    assert len(metis.extract((NOISE, 16000), path).wave.samples) == 24000
    assert [len(one.wave.samples) for one in metis.enhance((Wave(NOISE, 16000), path))] == [24000] * 2


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (NOISE, "source: an array says no rate; give"),
        (3.5, "source: is of type float; give a path"),
        (None, "source: is of type NoneType; give a path"),
        ([NOISE, 16000], "source: an array says no rate; give"),
        ((NOISE, 0), "source: its rate is 0; give"),
        ((NOISE, float("nan")), "source: its rate is nan; give"),
        ((NOISE, 22050.5), "source: its rate is 22050.5; give"),
        ((NOISE > 0, 16000), "source: its samples are of type bool; give"),
        ((np.array(["a"]), 16000), "source: its samples are of type <U1; give"),
        ((NOISE.reshape(-1, 2), 16000), r"source: samples have shape \(8000, 2\); mix"),
        ("none.wav", "none.wav: no such file"),
    ],
)
def test_what_is_no_recording_is_named(metis, source, reason):
    with pytest.raises(AudioError, match=reason):
        metis.enhance(source)


def test_what_is_no_voice_is_named(metis, path):
    for prompt, reason in [
        (NOISE, "prompt: an array says no rate"),
        (7, "prompt: is of type int; give a path"),
        (
            Prompt(NOISE, np.zeros(9, np.int32), np.zeros((9, 12), np.int32)),
            r"prompt: has .* \[9, 12\], not \[frames, 1\]",
        ),
        ([path, path], "prompts are 2 for 1 examples; give one, or one for each"),
        ((np.tile(NOISE, 21), 16000), "prompt: 21.0 s long; at most 20 s are allowed"),
    ]:
        with pytest.raises(ValueError, match=reason):
            metis.convert(path, prompt)
    with pytest.raises(ValueError, match="script is 'Good day.'; expected a Script"):
        metis.speak("Good day.", path)
    with pytest.raises(ValueError, match="lips are of type int; expected a path, crops or features"):
        metis.lip_read(3)


@pytest.fixture
def seen(monkeypatch):
    """(task, first job, settings) of every call of stage 1."""
    calls, decode = [], CountingEngine.semantic_stage

    def noted(self, task, jobs, settings, progress):
        calls.append((task, jobs[0], settings))
        return decode(self, task, jobs, settings, progress)

    monkeypatch.setattr(CountingEngine, "semantic_stage", noted)
    return calls


def test_settings_are_changed_by_keyword(metis, seen):
    source = (NOISE, 16000)
    metis.convert(source, source, steps=4, guidance=2.0, temperature=0.5, seed=7)
    metis.enhance(source, settings=Settings.of("se", steps=3, seed=5), guidance=1.5)
    next(metis.stream("se", source, seed=9))
    converted, enhanced, streamed = (settings for _, _, settings in seen)
    assert (converted.steps, converted.guidance, converted.temperature) == ((4,), 2, 0.5)
    assert (enhanced.steps, enhanced.guidance, enhanced.temperature) == ((3,), 1.5, 0.9)
    assert streamed == Settings.of("se").semantic and [job.seed[0] for _, job, _ in seen] == [7, 5, 9]
    for changes, reason in [
        ({"steps": 0}, "steps is .0.; expected numbers from 1"),
        ({"guidance": -1.0}, "guidance is -1.0; expected a number from 0"),
        ({"temperature": None, "seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"settings": "fast"}, "settings is 'fast'; expected Settings"),
    ]:
        with pytest.raises(ValueError, match=reason):
            metis.enhance(source, **changes)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stps'"):
        metis.enhance(source, stps=4)


def test_speech_and_prompts_are_saved(metis, path, tmp_path):
    speech = metis.enhance(path)
    speech.save(tmp_path / "clean.flac")
    assert soundfile.info(tmp_path / "clean.flac").frames == 24000
    with pytest.raises(AudioError, match="audio is not written as '.doc'"):
        speech.save(tmp_path / "clean.doc")
    prompt = metis.encode_prompt(path)
    prompt.save(tmp_path / "voice")
    again = Prompt.load(tmp_path / "voice")
    for name in ("wave", "semantic", "acoustic"):
        np.testing.assert_array_equal(getattr(again, name), getattr(prompt, name))
        assert getattr(again, name).dtype == getattr(prompt, name).dtype
    with pytest.raises(WeightsError, match="noise.wav: "):
        Prompt.load(path)
    Prompt(prompt.wave, prompt.semantic - 9, prompt.acoustic).save(tmp_path / "voice")
    with pytest.raises(WeightsError, match="voice: a prompt with .* negative tokens"):
        Prompt.load(tmp_path / "voice")


def test_threads_wait_for_each_other_and_hear_what_they_hear_alone(metis, monkeypatch):
    inside, most = [], []
    decode = CountingEngine.acoustic_stage

    def slowly(self, *given):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return decode(self, *given)

    monkeypatch.setattr(CountingEngine, "acoustic_stage", slowly)
    sources = [(np.tile(NOISE, 1 + 40 * (i % 2))[: 16000 * 40 + i], 16000) for i in range(6)]
    alone = [metis.enhance(source) for source in sources]
    most.clear()
    heard = {}

    def call(i):
        if i % 2:
            pieces = [piece.wave.samples for piece in metis.stream("se", sources[i])]
            heard[i] = np.concatenate(pieces)
        else:
            heard[i] = metis.enhance(sources[i]).wave.samples

    threads = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    for i, one in enumerate(alone):
        np.testing.assert_array_equal(heard[i], one.wave.samples)


def test_a_warm_up_does_each_task_once(metis, seen):
    metis.warm_up(["se", "vc", "tts", "l2s"], seconds=2.0)
    assert [task for task, _, _ in seen] == ["se", "vc", "tts", "l2s"]
    assert all(abs(job.length - len(job.known) - 100) <= 1 for _, job, _ in seen)


def test_the_package_says_its_types():
    assert (Path(metis_jax.__file__).parent / "py.typed").exists()
