"""The nano experiments fit together and into 60 MB; the chain runs them from nothing to a bundle that is usable."""

import dataclasses
import importlib
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from metis_jax.clock import CODEC_HOP
from metis_jax.config import (
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    WhisperEncoderConfig,
)
from metis_jax.inference.windows import WindowPlan
from metis_jax.models.components import abstract_variables
from metis_jax.sharding import make_mesh
from metis_jax.training.experiment import read_config
from metis_jax.training.state import count_params, make_layout
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle
from nano import chain
from nano.configs.common import NANO

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPERIMENTS = (
    *("semantic_codec", "acoustic_codec", "acoustic_decoder"),
    *("pretrain", "tasks", "s2a_first", "s2a_full", "tts", "omni", "duration_predictor", "lips", "l2s"),
)


def experiment(name, word=None):
    config = importlib.import_module(f"nano.configs.{name}").get_config(word)
    return read_config(config.to_dict())


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("word", [None, "mix", "quicktest", "quicktest,chain"])
def test_every_experiment_is_a_sound_config(name, word):
    config = experiment(name, word)
    assert set(config.optimizers) <= set(make_trainer(config.stage, config.model).models())
    assert config.synthetic == (32 if word == "quicktest" else 0)
    for part in config.pipeline().parts:
        assert part.select.exclude_licenses == ("by-sa",)
        assert part.select.split == "train"


@pytest.mark.parametrize("name", ["semantic_codec", "pretrain", "tasks", "tts", "omni", "s2a_first", "s2a_full"])
def test_native_recordings_are_a_third_of_the_examples(name):
    assert len({part.task for part in experiment(name).pipeline().parts}) == len(experiment(name).pipeline().parts)
    parts = experiment(name, "mix").pipeline().parts
    if name == "omni":  # text to speech hears one recording as often as another
        [read] = [part for part in parts if part.task == "tts"]
        assert not read.select.sources and read.weight == pytest.approx(0.3)
        parts = [part for part in parts if part != read]
    native = [part.weight for part in parts if "LibriSpeech" in part.select.sources]
    assert 0.33 < sum(native) / sum(part.weight for part in parts) < 0.4
    assert all(part.select.sources for part in parts)
    assert not any(part.task == "tse" and part.select.sources == ("hibari",) for part in parts)


@pytest.mark.parametrize("name", ["omni", "s2a_first", "s2a_full"])
def test_windows_are_no_longer_than_what_generators_learn_from(name):
    assert WindowPlan.of(chain.DECODING).frames <= experiment(name).pipeline().buckets[-1]


def test_the_packaged_bundle_is_decoded_as_the_chain_says():
    assert Bundle("nano").decoding == chain.DECODING


@pytest.mark.parametrize("name", ["tasks", "omni"])
def test_lora_trains_adapters_of_a_pre_trained_generator(name):
    config = experiment(name, "lora")
    stage = make_trainer(config.stage, config.model)
    layout = make_layout(stage, config.optimizers, make_mesh(config.mesh))
    moving, fixed = layout.trainable["semantic_generator"], layout.frozen["semantic_generator"]
    assert count_params(moving) < count_params(fixed)
    assert {"condition_adapter", "transformer"} <= set(moving["params"])
    assert "to_logits" not in moving["params"]
    assert "semantic_generator" in config.initial


@pytest.mark.parametrize("name", ["tasks", "tts", "omni"])
def test_fine_tuning_starts_from_a_pre_trained_generator_or_from_nothing(name):
    assert set(experiment(name).initial) - set(experiment(name, "scratch").initial) == {"semantic_generator"}


def test_codes_come_after_the_networks_around_them():
    first, second = experiment("semantic_codec", "continuous"), experiment("semantic_codec")
    assert set(second.initial) - set(first.initial) == {"semantic_codec", "phone_head"}
    assert not first.model["is_quantized"] and second.model["kmeans_frames"] > 10_000


def test_sizes_fit_together():
    codec, acoustic = NANO[AcousticCodecConfig], NANO[AcousticGeneratorConfig]
    semantic, generator = NANO[SemanticCodecConfig], NANO[SemanticGeneratorConfig]
    assert codec.hop == CODEC_HOP
    assert (acoustic.num_levels, acoustic.codebook_size) == (codec.num_levels, codec.codebook_size)
    assert acoustic.semantic_codebook_size == generator.codebook_size == semantic.codebook_size
    assert semantic.feature_width == generator.condition_width == NANO[WhisperEncoderConfig].width


def test_all_components_fit_into_60_mb():
    generator = dataclasses.replace(NANO[SemanticGeneratorConfig], condition="gated", phone_vocabulary=1024)
    first = dataclasses.replace(NANO[AcousticGeneratorConfig], num_levels=1)
    others = (
        NANO[cls] for cls in (WhisperEncoderConfig, SemanticCodecConfig, AcousticCodecConfig, AcousticGeneratorConfig)
    )
    total = sum(
        math.prod(leaf.shape) for config in (generator, first, *others) for leaf in abstract_variables(config).values()
    )
    assert 2 * total < 60e6


def test_steps_come_after_what_they_need(tmp_path):
    steps = chain.Chain(tmp_path, ("manifest.jsonl",), "whisper", quicktest=False, overrides={}).steps()
    for place, step in enumerate(steps):
        assert set(step.needs) <= {earlier.name for earlier in steps[:place]}
    assert [step.name for step in chain._needed(steps, "semantic_codec")] == [
        "shards",
        "ssl_encoder",
        "continuous",
        "semantic_codec",
    ]


def quick_step(name, needs, code, folder):
    return chain.Step(name, needs, ((sys.executable, "-c", code, str(folder)),))


def test_a_chain_goes_on_where_it_failed(tmp_path):
    count = "import pathlib, sys; p = pathlib.Path(sys.argv[1], 'count'); p.open('a').write('x')"
    fail = "import pathlib, sys; sys.exit(not pathlib.Path(sys.argv[1], 'repaired').exists())"
    steps = [quick_step("one", (), count, tmp_path), quick_step("two", ("one",), fail, tmp_path)]
    with pytest.raises(chain.StepFailed, match="two: exit status 1"):
        chain.Runner(tmp_path, 2).run_all(steps)
    (tmp_path / "repaired").touch()
    chain.Runner(tmp_path, 2).run_all(steps)
    assert (tmp_path / "count").read_text() == "x"


def test_a_command_line_that_can_not_work_is_refused(tmp_path, capsys):
    assert chain.main([f"--workdir={tmp_path}"]) == 2
    assert "--manifest" in capsys.readouterr().err
    assert chain.main([f"--workdir={tmp_path}", "--quicktest", "--until=nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_the_steps_of_the_chain_make_a_bundle_that_enhances(tmp_path):
    # Programs that run twice need not be fast: most of the time would go into that.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    script = "tests/nano/chain_in_one_process.py"
    subprocess.run([sys.executable, script, str(tmp_path / "run")], check=True, cwd=ROOT, env=environment)

    source, output = tmp_path / "noisy.wav", tmp_path / "clean.wav"
    soundfile.write(source, 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    flags = ["--task=se", f"--source={source}", f"--output={output}", "--steps=2"]
    bundle = f"--bundle={tmp_path / 'run/bundle'}"
    subprocess.run([sys.executable, "infer.py", *flags, bundle], check=True, cwd=ROOT)
    wave, rate = soundfile.read(output)
    assert rate == 24_000 and abs(len(wave) / rate - 1) < 0.1
