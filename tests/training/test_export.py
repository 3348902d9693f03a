"""Bundles from runs: whose tokens their generators speak, licences, and a base with what was trained in its place."""

import dataclasses
import json

import numpy as np
import pytest
from mini_chain import COMPONENTS, variables_of, write_mini_bundle
from training.test_loop import config

from metis_jax.config import SIZES, LoraConfig, VisualEncoderConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.synthetic import synthetic_record
from metis_jax.inference.windows import WindowPlan
from metis_jax.sections import to_dict
from metis_jax.training.config import TrainConfig
from metis_jax.training.experiment import read_config
from metis_jax.training.export import export_bundle, write_components
from metis_jax.training.loop import train
from metis_jax.training.run import start_run
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.bundle_writer import write_bundle
from metis_jax.weights.identity import OtherEncoder

pytestmark = pytest.mark.usefixtures("one_device", "shared_programs")
GENERATOR = COMPONENTS["semantic_generator"]
ADAPTERS_ONLY = ((r"params/.*/lora/(down|up)", True), (r"params/condition_adapter/.*", True), (r".*", False))


def tokens(folder, **encoders: str) -> tuple[str, ...]:
    """Shards of twelve recordings with tokens of these encoders."""
    folder.mkdir(exist_ok=True)
    records = [dataclasses.replace(synthetic_record(index, 0), encoders=encoders) for index in range(12)]
    shards.write_shard(folder / shards.shard_name(0, 1), records)
    return (str(folder),)


def on_tokens(places: tuple[str, ...], **changes) -> TrainConfig:
    data = config().data | {"shards": places}
    return config(**(dict(synthetic=0, steps=1, eval_every=0, sample_every=0, data=data) | changes))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A bundle that enhances, extracts and converts, all by one generator, with its own way to decode."""
    path = write_mini_bundle(tmp_path_factory.mktemp("base") / "mini")
    info = json.loads((path / "config.json").read_text())
    info |= {"decoding": {"own_voice": True}, "license": "CC BY-NC 4.0", "provenance": "drawn for a test"}
    (path / "config.json").write_text(json.dumps(info))
    return Bundle(path)


def tuned(base: Bundle, workdir, *, tasks=("se",), lora: bool = False, **changes):
    """A run of no step yet that fine-tunes the base's generator."""
    rules = {"trainable": ADAPTERS_ONLY} if lora else {}
    section = dict(
        base=str(base.path),
        stage="semantic_generator",
        model={
            # Of other sizes than the base: it is the base's that count.
            "generator": to_dict(dataclasses.replace(GENERATOR, width=16, codebook_size=32)),
            "lora": to_dict(LoraConfig(rank=2)) if lora else None,
            "ssl_encoder": to_dict(COMPONENTS["ssl_encoder"]),
            "semantic_codec": to_dict(COMPONENTS["semantic_codec"]),
        },
        data={"stage": "finetune", "shards": ("unused",), "example": {"target": "wave"}, "parts": [{"task": "se"}]},
        optimizers={"semantic_generator": {"learning_rate": 1e-2} | rules},
        initial={"semantic_generator": "", "ssl_encoder": "", "semantic_codec": ""},
        skip_initial=(),
        tasks=tasks,
        steps=1,
        tokens_per_device=50,
    )
    run = start_run(read_config(section | changes), workdir)
    run.checkpoints.close()
    return run


def test_a_generator_says_whose_tokens_it_speaks_and_goes_on_with_no_others(tmp_path):
    own = {"ssl_encoder": "1", "semantic_codec": "2"}
    made = on_tokens(tokens(tmp_path / "shards", **own))
    train(made, tmp_path / "run")
    export_bundle(made, tmp_path / "run", tmp_path / "bundle")
    assert Bundle(tmp_path / "bundle").encoders == {"semantic_generator": own}
    # It is decoded in windows as long as what it has seen.
    (longest,) = made.pipeline().buckets
    assert WindowPlan.of(Bundle(tmp_path / "bundle").decoding).frames == longest
    # The same folder with tokens of another codec.
    again = on_tokens(tokens(tmp_path / "shards", **own | {"semantic_codec": "3"}), steps=2)
    with pytest.raises(OtherEncoder, match="step 1 and the tokens of this run are of two semantic_codecs, 2 and 3"):
        train(again, tmp_path / "run")
    # Nor does another run begin from it on other tokens.
    further = dataclasses.replace(again, initial={"semantic_generator": str(tmp_path / "bundle")})
    with pytest.raises(OtherEncoder, match="the tokens of this run and config.initial.semantic_generator"):
        train(further, tmp_path / "further")


def test_what_reads_lips_says_whose_features_it_saw(tmp_path):
    made = {"semantic_codec": "2", "visual_encoder": "9"}

    def known(name, **changes):
        run = start_run(on_tokens(("unused",), **changes), tmp_path / name, made)
        run.checkpoints.close()
        return run.encoders

    assert known("lips", tasks=("l2s",)) == made
    # Who does not look, or sees through an encoder of its own, goes on from features of any.
    assert known("text", tasks=("tts",)) == {"semantic_codec": "2"}
    data = config().data | {"shards": ("unused",), "example": {"lips": "crops"}}
    assert known("crops", tasks=("l2s",), data=data) == {"semantic_codec": "2"}


def test_fine_tuning_refuses_a_generator_of_another_codec(base, tmp_path):
    with write_bundle(tmp_path / "other", license="MIT", provenance="a test") as writer:
        writer.add("semantic_generator", *base.load("semantic_generator"), encoders={"semantic_codec": "elsewhere"})
    initial = {"semantic_generator": str(tmp_path / "other"), "ssl_encoder": "", "semantic_codec": ""}
    with pytest.raises(OtherEncoder, match=r"config.initial.\w+ are of two semantic_codecs"):
        tuned(base, tmp_path / "run", initial=initial)


def test_an_export_onto_its_base_serves_what_was_tuned_and_keeps_the_rest(base, tmp_path):
    run = tuned(base, tmp_path / "run")
    write_components(run, tmp_path / "bundle", 0, base)
    found = Bundle(tmp_path / "bundle")
    assert {task: parts.generator for task, parts in found.tasks.items()} == {
        "se": "semantic_generator_se",
        "tse": "semantic_generator",
        "vc": "semantic_generator",
    }
    assert found.decoding == base.decoding and set(base.components) < set(found.components)
    assert found.encoders == {"semantic_generator_se": run.encoders}
    assert run.encoders == {name: base.identity(name) for name in ("ssl_encoder", "semantic_codec")}
    # All three tasks tuned: nothing is left of the generator before.
    write_components(tuned(base, tmp_path / "all", tasks=("se", "tse", "vc")), tmp_path / "replaced", 0, base)
    replaced = Bundle(tmp_path / "replaced")
    assert set(replaced.components) == set(base.components) and len(replaced.tasks) == 3


def test_stage_2_takes_the_place_of_the_one_with_its_levels(base, tmp_path):
    section = dict(
        base=str(base.path),
        stage="acoustic_generator",
        model={"generator": to_dict(COMPONENTS["acoustic_generator_full"]), "first_level": 0},
        data={"stage": "stage2", "shards": ("unused",)},
        optimizers={"acoustic_generator": {"learning_rate": 1e-2}},
        **{"initial": {}, "skip_initial": (), "tasks": (), "steps": 1, "tokens_per_device": 50},
    )
    run = start_run(read_config(section), tmp_path / "run")
    run.checkpoints.close()
    write_components(run, tmp_path / "bundle", 0, base)
    found = Bundle(tmp_path / "bundle")
    assert set(found.components) == set(base.components) and found.tasks == base.tasks
    assert found.components["acoustic_generator_first"].num_levels == 1


def test_an_adapter_stays_on_the_generator_of_its_base(base, tmp_path):
    run = tuned(base, tmp_path / "run", lora=True)
    write_components(run, tmp_path / "bundle", 0, base)
    found = Bundle(tmp_path / "bundle")
    assert set(found.components) == {*base.components, "se_adapter"}
    assert found.tasks["se"].generator == "semantic_generator" and found.tasks["se"].adapter == "se_adapter"
    served, before = found.load_generator("se"), base.load_generator("se")
    assert served.lora.rank == 2 and served.config == before.config
    gate = [one.variables["params"]["condition_adapter"]["gate"] for one in (served, before)]
    np.testing.assert_array_equal(*gate)
    # Without a bundle to be put onto, its generator comes with it.
    write_components(run, tmp_path / "alone", 0)
    alone = Bundle(tmp_path / "alone")
    assert alone.tasks["se"] == found.tasks["se"] and alone.load_generator("se").lora.rank == 2
    # Tuned once more from the result, it replaces the adapter.
    again = tuned(found, tmp_path / "again", lora=True)
    write_components(again, tmp_path / "second", 0, found)
    assert set(Bundle(tmp_path / "second").components) == set(found.components)


def test_what_was_not_trained_has_to_be_what_the_base_has(base, tmp_path):
    run = tuned(base, tmp_path / "run")
    config, variables = base.load("semantic_codec")
    variables["params"]["quantizer"]["codebook"] = variables["params"]["quantizer"]["codebook"] + 1
    with write_bundle(tmp_path / "other", license="MIT", provenance="a test") as writer:
        for name in base.components:
            if name != "semantic_codec":
                writer.copy(base, name)
        writer.add("semantic_codec", config, variables)
    with pytest.raises(ValueError, match="its semantic_codec is not the one that the run was trained with"):
        write_components(run, tmp_path / "bundle", 0, Bundle(tmp_path / "other"))
    assert not (tmp_path / "bundle").exists()


def test_a_visual_encoder_comes_along_to_a_base_that_has_read_no_lips(base, tmp_path):
    sight = SIZES["tiny"][VisualEncoderConfig]
    with write_bundle(tmp_path / "sight", license="MIT", provenance="a test") as writer:
        writer.add("visual_encoder", sight, variables_of(sight))
    changed = dataclasses.replace(GENERATOR, condition="plain", condition_width=sight.width)
    run = tuned(
        base,
        tmp_path / "run",
        tasks=("l2s",),
        model={"generator": to_dict(changed), "visual_encoder": to_dict(sight)},
        data={"stage": "finetune", "shards": ("unused",), "example": {"lips": "crops"}, "parts": [{"task": "l2s"}]},
        initial={"semantic_generator": "", "visual_encoder": str(tmp_path / "sight")},
    )
    write_components(run, tmp_path / "bundle", 0, base)
    found = Bundle(tmp_path / "bundle")
    assert set(found.components) == {*base.components, "visual_encoder", "semantic_generator_l2s"}
    assert found.tasks["l2s"].generator == "semantic_generator_l2s" and set(found.tasks) == {*base.tasks, "l2s"}
    assert found.identity("visual_encoder") == Bundle(tmp_path / "sight").identity("visual_encoder")


@pytest.mark.parametrize(
    ("own", "expected"),
    [("", "CC BY-NC 4.0; further training: not stated"), ("CC0", "CC BY-NC 4.0; further training: CC0")],
)
def test_licences_and_provenance_are_inherited(base, tmp_path, own, expected):
    write_components(tuned(base, tmp_path / "run", license=own), tmp_path / "bundle", 5)
    found = Bundle(tmp_path / "bundle")
    assert found.license == expected
    assert found.provenance == "metis_jax, semantic_generator, step 5, seed 0; drawn for a test"
    # What was not trained is copied as it was stored.
    assert found.identity("ssl_encoder") == base.identity("ssl_encoder")


def test_a_run_from_nothing_states_no_licence_of_its_own_accord(tmp_path):
    made = on_tokens(tokens(tmp_path / "shards"))
    for own, expected in (("", "not stated"), ("CC0", "CC0")):
        run = start_run(dataclasses.replace(made, license=own), tmp_path / "run")
        run.checkpoints.close()
        write_components(run, tmp_path / f"bundle{own}", 0)
        assert Bundle(tmp_path / f"bundle{own}").license == expected
