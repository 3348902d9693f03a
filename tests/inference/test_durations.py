"""The duration predictor of a bundle, and how a plan uses it."""

import dataclasses

import numpy as np
import pytest
from mini_chain import CountingEngine

from metis_jax.config import SIZES, DurationPredictorConfig
from metis_jax.inference.durations import Durations
from metis_jax.inference.metis import Metis, Prompt
from metis_jax.inference.script import Script
from metis_jax.weights.bundle import Bundle, stored_shapes
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.tensor_files import WeightsError

TINY = SIZES["tiny"][DurationPredictorConfig]
PHONES = "h|ə|l|oʊ|_|w|ɜː|l|d|."


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    draw = np.random.default_rng(0)
    params = {}
    for path, shape in stored_shapes(TINY).items():
        *above, leaf = path.split("/")
        node = params
        for name in above:
            node = node.setdefault(name, {})
        node[leaf] = (0.3 * draw.normal(size=shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("durations") / "bundle"
    with write_bundle(path, license="none", provenance="random weights") as writer:
        writer.add("duration_predictor", TINY, params)
    return Bundle(path)


def test_a_plan_stretches_the_text_as_the_prompt(bundle):
    durations = Durations(bundle)
    prompt = Prompt(np.zeros(0, np.float32), np.zeros(60, np.int32), np.zeros((60, 1), np.int32))
    metis = Metis(CountingEngine(), durations=durations)
    script = Script(phones=f"{PHONES}|a|n", prompt_phones=PHONES)
    plan = metis.plan(script, prompt)
    [part] = plan.parts
    text, known = part.phones[10:], part.phones[:10]
    assert plan.rule == "predictor"
    assert part.frames == round(60 * durations(text).sum() / durations(known).sum()) != 60
    # Every phone is said in its share of the frames: the prompt's first, then those of the text.
    shares = np.concatenate(
        [durations(x) * frames / durations(x).sum() for x, frames in ((known, 60), (text, part.frames))]
    )
    np.testing.assert_allclose(part.positions, np.maximum(np.cumsum(shares) - shares / 2 - 0.5, 0), atol=1e-3)
    [slow] = metis.plan(dataclasses.replace(script, speed=0.5), prompt).parts
    assert slow.frames == int(part.frames / 0.5)


def test_a_bundle_without_one_is_named(bundle, tmp_path):
    with write_bundle(tmp_path / "b", license="none", provenance="nothing"):
        pass
    with pytest.raises(WeightsError, match="has no component 'duration_predictor'"):
        Durations(Bundle(tmp_path / "b"))
