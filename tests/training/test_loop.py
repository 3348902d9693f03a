"""The loop from config to checkpoint: exact resume, signals, bad losses, configs that do not fit."""

import dataclasses
import json
import os
import shutil
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import mini

from metis_jax.config import PhoneHeadConfig
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.sections import to_dict
from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training import loop
from metis_jax.training import run as training_run
from metis_jax.training.checkpoint import Checkpoints
from metis_jax.training.config import TrainConfig, check_same_run, defining
from metis_jax.training.loop import NonFiniteLoss, train
from metis_jax.training.metrics import Writer
from metis_jax.training.run import _check_frozen, digest, start_run
from metis_jax.weights.bundle_writer import write_bundle

pytestmark = pytest.mark.usefixtures("one_device", "shared_programs")


def config(**changes) -> TrainConfig:
    values = dict(
        stage="semantic_generator",
        model={"generator": to_dict(dataclasses.replace(mini.SEMANTIC, codebook_size=128))},
        data={
            "stage": "pretrain",
            "shards": ("unused",),
            "buckets": (50,),
            "recipe": {"min_frames": 20},
            "block_batches": 2,
            "threads": 2,
        },
        optimizers={"semantic_generator": {"learning_rate": 1e-2, "warmup_steps": 2}},
        steps=8,
        tokens_per_device=400,  # eight rows
        synthetic=16,
        ema_decay=0.9,
        log_every=1,
        eval_every=4,
        eval_batches=1,
        sample_every=0,
        checkpoint_every=3,
    )
    return TrainConfig(**(values | changes))


def losses(workdir) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["split"] == "train"}


def final_digest(workdir, changes=None) -> str:
    run = start_run(config(**(changes or {})), workdir)
    run.checkpoints.close()
    return digest(run.state)


@pytest.fixture(scope="module")
def straight(one_device, tmp_path_factory):
    """Eight steps without a break."""
    workdir = tmp_path_factory.mktemp("straight")
    assert train(config(sample_every=4), workdir).step == 8
    return workdir


def test_a_run_writes_what_it_promises(straight):
    assert sorted(losses(straight)) == list(range(1, 9))
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert {"step_seconds", "audio_seconds_per_second", "mfu", "data_wait_share", "goodput"} <= lines[0].keys()
    assert [line["step"] for line in lines if line["split"] == "validation"] == [4, 8]
    assert any((straight / "tensorboard").iterdir())
    checkpoints = Checkpoints(straight / "checkpoints")
    assert checkpoints.steps() == [6, 8]  # the last two
    about = checkpoints.read_about(8)
    assert about["config"]["tokens_per_device"] == 400
    checkpoints.close()


def test_a_second_call_has_nothing_left_to_do(straight):
    assert train(config(), straight).step == 8


def test_resumed_equals_straight_bit_for_bit(straight, tmp_path):
    for steps in (2, 5, 8):
        assert train(config(steps=steps), tmp_path).step == steps
    assert losses(tmp_path) == losses(straight)
    assert final_digest(tmp_path) == final_digest(straight)


def test_sigterm_saves_first(straight, tmp_path, monkeypatch):
    scalars = Writer.scalars

    def then_signal(self, step, values, **options):
        scalars(self, step, values, **options)
        if step == 4 and options.get("split") != "validation":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Writer, "scalars", then_signal)
    outcome = train(config(eval_every=0), tmp_path)
    assert outcome.stopped_by == "SIGTERM" and 4 <= outcome.step < 8
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() == outcome.step
    checkpoints.close()
    monkeypatch.undo()
    train(config(eval_every=0), tmp_path)
    assert losses(tmp_path) == losses(straight)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(tmp_path, monkeypatch):
    def poisoned(*arguments):
        run = start_run(*arguments)
        run.state = run.state.replace(params=jax.tree.map(lambda x: x * jnp.inf, run.state.params))
        return run

    monkeypatch.setattr(loop, "start_run", poisoned)
    with pytest.raises(NonFiniteLoss, match="the batch is in"):
        train(config(), tmp_path)
    (saved,) = tmp_path.glob("nonfinite_step_*.npz")
    assert {"tokens", "lengths"} <= set(np.load(saved))
    step = int(saved.name.split("_")[2])
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.latest() or 0) < step
    checkpoints.close()


DAMAGE = {
    "files of zero bytes": lambda folder: [p.write_bytes(b"") for p in folder.rglob("*") if p.is_file()],
    "no data": lambda folder: [shutil.rmtree(folder / "data"), (folder / "data").mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(straight, tmp_path, caplog, damage):
    workdir = tmp_path / "run"
    shutil.copytree(straight, workdir)
    damage(workdir / "checkpoints" / "8")
    run = start_run(config(), workdir)
    assert int(run.state.step) == 6
    assert f"{workdir}/checkpoints/8: is damaged; goes on from step 6" in caplog.text
    run.checkpoints.save(8, run.state, run.data_state, run.about)  # nothing is in its way
    run.checkpoints.close()
    assert [path.name for path in (workdir / "checkpoints_damaged").iterdir()] == ["8"]


def test_where_every_checkpoint_is_damaged_the_newest_is_named(straight, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(straight, workdir)
    for step in ("6", "8"):
        DAMAGE["files of zero bytes"](workdir / "checkpoints" / step)
    with pytest.raises(ValueError, match=r"checkpoints/8: is damaged; remove it to go on from step 6$"):
        start_run(config(), workdir)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["6", "8"]


def test_a_checkpoint_of_another_config_is_refused(straight):
    with pytest.raises(ValueError, match=r"config.seed = 0, this run has 3"):
        train(config(seed=3), straight)


def test_a_checkpoint_of_other_data_is_refused(straight):
    data = config().data | {"block_batches": 3}
    with pytest.raises(ValueError, match="data config changed"):
        train(config(data=data, steps=9), straight)


@pytest.mark.slow
def test_on_other_devices_a_run_keeps_the_batches_it_began_with(straight, tmp_path, monkeypatch):
    def with_devices(count: int, steps: int) -> None:
        for module in (loop, training_run):
            monkeypatch.setattr(module, "make_mesh", lambda config: make_mesh(config, jax.local_devices()[:count]))
        assert train(config(tokens_per_device=200, steps=steps, eval_every=0), tmp_path).step == steps

    with_devices(2, 2)
    with_devices(1, 4)  # where it would have begun with half the rows
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.read_data(4)["rows"] == [8]
    checkpoints.close()
    expected = losses(straight)
    assert losses(tmp_path) == pytest.approx({step: expected[step] for step in (1, 2, 3, 4)}, rel=1e-4)


def test_batches_that_other_devices_can_not_split_are_refused():
    mesh = make_mesh(MeshConfig(), jax.local_devices())
    training_run.check_rows([32, 16], 2, mesh)
    with pytest.raises(ValueError, match=r"batches of 12, 6 rows.* data x fsdp = 16; choose .* data x fsdp divides 3"):
        training_run.check_rows([12, 6], 2, mesh)


def test_another_run_can_be_continued_elsewhere(straight, tmp_path):
    run = start_run(config(resume=str(straight / "checkpoints")), tmp_path)
    run.checkpoints.close()
    assert int(run.state.step) == 8
    with pytest.raises(ValueError, match="no such folder"):
        start_run(config(resume=str(tmp_path / "nowhere")), tmp_path / "new")
    with pytest.raises(ValueError, match="no checkpoint in it"):
        start_run(config(resume=str(straight / "tensorboard")), tmp_path / "other")


@pytest.fixture(scope="module")
def acoustic_codec(tmp_path_factory):
    """A bundle of a small acoustic codec, and its variables."""
    codec, folder = AcousticCodec(mini.ACOUSTIC_CODEC), tmp_path_factory.mktemp("codec") / "bundle"
    shapes = jnp.zeros((1, 960), jnp.float32), jnp.array([960], jnp.int32)
    variables = jax.device_get(jax.jit(lambda: nn.unbox(codec.init(jax.random.key(5), *shapes)))())
    with write_bundle(folder, license="none", provenance="a test") as writer:
        writer.add("acoustic_codec", mini.ACOUSTIC_CODEC, variables)
    return folder, variables


@pytest.mark.slow
def test_a_wave_codec_from_a_bundle_can_be_trained_further(acoustic_codec, tmp_path):
    """Its convolutions from channels to channels have one logical axis twice, which Flax refuses under a mesh."""
    bundle, variables = acoustic_codec
    run = start_run(
        config(
            stage="acoustic_codec",
            model={
                "acoustic_codec": to_dict(mini.ACOUSTIC_CODEC),
                # Without spectra, which the sizes of the first wave must not count on.
                "discriminators": to_dict(dataclasses.replace(mini.DISCRIMINATORS, window_lengths=(), bands=())),
            },
            data=config().data | {"stage": "acoustic_codec"},
            optimizers={"acoustic_codec": {}, "discriminators": {}},
            initial={"acoustic_codec": str(bundle)},
        ),
        tmp_path / "run",
    )
    run.checkpoints.close()
    found = run.state.params["acoustic_codec"]["params"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), variables["params"])


def test_leaves_that_initial_should_not_give_are_drawn(acoustic_codec, tmp_path):
    bundle, variables = acoustic_codec

    def begun(folder: str, *skipped: str):
        other = dataclasses.replace(mini.ACOUSTIC_CODEC, decoder="source_filter")
        run = start_run(
            config(
                stage="acoustic_codec",
                model={"acoustic_codec": to_dict(other)},
                data=config().data | {"stage": "acoustic_codec"},
                optimizers={"acoustic_codec": {}},
                initial={"acoustic_codec": str(bundle)},
                skip_initial=skipped,
            ),
            tmp_path / folder,
        )
        run.checkpoints.close()
        return jax.device_get(run.state.params["acoustic_codec"]["params"])

    with pytest.raises(ValueError, match="initial weights of acoustic_codec"):
        begun("unskipped")
    with pytest.raises(ValueError, match=r"config.skip_initial has 'acoustic_codec/nothing', which matches nothing"):
        begun("wrong", "acoustic_codec/nothing")
    with pytest.raises(ValueError, match=r"config.skip_initial has '\(', no regular expression"):
        begun("unreadable", "(")
    params = begun("skipped", "acoustic_codec/params/decoder/out/.*", "acoustic_codec/buffers/.*")
    own = variables["params"]
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], own["encoder"])
    jax.tree.map(np.testing.assert_array_equal, params["decoder"]["backbone"], own["decoder"]["backbone"])
    assert params["decoder"]["out"]["kernel"].shape != own["decoder"]["out"]["kernel"].shape


def _clustered_codec(**changes) -> TrainConfig:
    head = PhoneHeadConfig(feature_width=16, phone_vocabulary=1024, width=16, mlp_width=32, num_layers=1)
    models = {"semantic_codec": mini.SEMANTIC_CODEC, "ssl_encoder": mini.WHISPER, "phone_head": head}
    optimizer = {"learning_rate": 1e-5, "schedule": "constant", "warmup_steps": 1}
    return config(
        stage="phonetic_codec",
        model={name: to_dict(model) for name, model in models.items()} | {"kmeans_frames": 600},
        data=config().data
        | {"stage": "finetune", "buckets": (150,), "parts": [{"task": "se"}]}
        | {"example": {"target": "wave", "text_guided": 1.0}},
        optimizers={"semantic_codec": optimizer, "phone_head": optimizer},
        **changes,
    )


@pytest.mark.slow
def test_codes_start_from_clusters_of_the_data_and_only_once(tmp_path):
    for steps in (1, 3):
        assert train(_clustered_codec(steps=steps), tmp_path / "resumed").step == steps
    assert train(_clustered_codec(steps=3), tmp_path / "straight").step == 3
    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")
    found = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()]
    assert found[0]["codes_in_batch"] == mini.V  # of a drawn codebook about half are used


def test_config_errors_name_the_key():
    with pytest.raises(ValueError, match="config.steps is 0"):
        config(steps=0)
    with pytest.raises(ValueError, match="config.data.rows is not set by hand, it follows from"):
        config(data=config().data | {"rows": 4})
    with pytest.raises(ValueError, match="config.data.seed is not set by hand, it is config.seed"):
        config(data=config().data | {"seed": 4})
    with pytest.raises(ValueError, match="config.optimizers.x has no field 'rate'"):
        config(optimizers={"x": {"rate": 1}})
    with pytest.raises(ValueError, match="config.optimizers is empty"):
        config(optimizers={})


def test_what_may_change_between_runs():
    one = defining(config())
    check_same_run(one, defining(config(steps=99, log_every=7)), "checkpoint 1")
    with pytest.raises(ValueError, match="config.model.generator.width = 16, this run has 32"):
        wider = {"generator": config().model["generator"] | {"width": 32}}
        check_same_run(one, defining(config(model=wider)), "checkpoint 1")
    with pytest.raises(ValueError, match="config.stage = 'acoustic_codec', this run has 'semantic_generator'; use"):
        check_same_run(one | {"stage": "acoustic_codec", "accumulate": 3}, one, "checkpoint 1")


def test_a_checkpoint_of_a_version_with_fewer_fields_goes_on_where_they_are_at_their_defaults():
    known = defining(config())
    earlier = {
        key: value for key, value in known.items() if key.rpartition(".")[2] not in ("matrix_rate", "spread_phones")
    }
    assert len(earlier) < len(known)
    check_same_run(earlier, known, "checkpoint 1")
    optimizers = {"semantic_generator": config().optimizers["semantic_generator"]}
    changed = dataclasses.replace(optimizers["semantic_generator"], matrix_rate=0.5)
    with pytest.raises(ValueError, match="optimizers.semantic_generator.matrix_rate = 1.0, this run has 0.5"):
        check_same_run(earlier, defining(config(optimizers={"semantic_generator": changed})), "checkpoint 1")


def test_frozen_weights_that_changed_are_noticed():
    _check_frozen({"ssl_encoder": 0.5}, {"ssl_encoder": 0.5000001})
    with pytest.raises(ValueError, match="frozen weights of ssl_encoder"):
        _check_frozen({"ssl_encoder": 0.5}, {"ssl_encoder": 0.51})


def test_a_kill_between_checkpoints_loses_only_the_lines_after(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    Writer(tmp_path, 2).close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_the_loop_reads_no_clock_but_the_one_given():
    times = iter([0.0, 0.0, 0.0, 1.0, 4.0])
    clock = loop._Clock(lambda: next(times))
    clock.wait(lambda: {})
    clock.steps, clock.seconds, clock.flops = 2, 30.0, 8.0
    assert clock.summary(peak=10.0) == {
        "step_seconds": 2.0,
        "audio_seconds_per_second": 7.5,
        "data_wait_share": 0.25,
        "goodput": 0.75,
        "mfu": 0.2,
    }


def test_compiling_is_no_time_of_a_step():
    times = iter([0.0, 0.0, 1.0, 91.0, 95.0])
    clock = loop._Clock(lambda: next(times))
    with clock.paused():
        clock.steps = 1
    found = clock.summary(peak=0.0)
    assert found["step_seconds"] == 5.0 and found["goodput"] == pytest.approx(5 / 95)


def test_the_log_says_that_the_step_is_compiled(tmp_path, caplog):
    caplog.set_level("INFO")
    train(config(steps=1, eval_every=0, sample_every=0), tmp_path)
    assert sum("compiling the step for batches of 8 recordings" in message for message in caplog.messages) == 1
