"""A run assembled from its config: mesh, trainer, data, state and steps."""

import dataclasses
import hashlib
import logging
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.data.batches.plans import WHOLE, Share
from metis_jax.data.corpus.synthetic import write_synthetic_shards
from metis_jax.sharding import activate, batch_parts, make_mesh, to_devices, to_host
from metis_jax.text.frontend import TextFrontEnd
from metis_jax.text.languages import AUTO
from metis_jax.training.checkpoint import CheckpointError, Checkpoints, Restored
from metis_jax.training.config import TrainConfig, check_same_run, defining
from metis_jax.training.starts.initial import bundles_at, known_encoders, load_initial, without
from metis_jax.training.state import (
    Layout,
    StateMaker,
    TrainState,
    all_params,
    check_initial,
    count_params,
    fingerprint,
    make_layout,
    materialize,
)
from metis_jax.training.steps import TrainStep, make_eval_step, make_train_step
from metis_jax.training.trainers.protocol import Params, Trainer
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.training.trainers.semantic_generator import SIGHT
from metis_jax.weights.identity import joined

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
SYNTHETIC = "synthetic"


@dataclasses.dataclass
class Run:
    """Everything the loop needs.  `about` goes into every checkpoint; `data_state` is where the data goes on."""

    config: TrainConfig
    workdir: pathlib.Path
    mesh: Mesh
    trainer: Trainer
    layout: Layout
    checkpoints: Checkpoints
    state: TrainState
    frozen: Params
    about: dict[str, Any]
    data_state: dict[str, Any] | None

    @property
    def origins(self) -> list[tuple[str, str]]:
        """(licence, provenance) of every bundle that this run's weights began from."""
        return [(license, provenance) for license, provenance in self.about["origins"]]

    @property
    def encoders(self) -> dict[str, str]:
        """Identities of what made the tokens that a generator of this run speaks, as far as they are known."""
        return self.about["encoders"]

    @property
    def averaged(self) -> Params:
        """What is evaluated and exported."""
        return self.state.ema or self.state.params

    @property
    def _maker(self) -> StateMaker:
        return StateMaker(self.layout, self.config.optimizers, self.mesh, ema=bool(self.config.ema_decay))

    def look_first(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """Replaces what the trainer would rather take from the first `batches` than draw."""
        found = self.trainer.first_look(all_params(self.state.params, self.frozen), batches, self.config.seed)
        params = dict(self.state.params)
        for name, leaves in found.items():
            flat = flax.traverse_util.flatten_dict(params[name], sep="/")
            flat |= {path: to_devices(leaf, flat[path].sharding) for path, leaf in leaves.items()}
            params[name] = flax.traverse_util.unflatten_dict(flat, sep="/")
        if found:
            self.state = self._maker.begin(params)

    def train_step(self) -> TrainStep:
        return make_train_step(
            self.trainer,
            self.config.optimizers,
            self._maker.shardings,
            accumulate=self.config.accumulate,
            ema_decay=self.config.ema_decay,
        )

    def eval_step(self) -> Any:
        return make_eval_step(self.trainer)


def pipeline_config(config: TrainConfig, workdir: pathlib.Path, mesh: Mesh | None = None) -> PipelineConfig:
    """The data section, with batches for a mesh or for one device; synthetic records, if wanted, are made first."""
    pipeline = config.pipeline(mesh.size, config.accumulate * batch_parts(mesh)) if mesh else config.pipeline()
    if not config.synthetic:
        return pipeline
    folder = workdir / SYNTHETIC
    if jax.process_index() == 0:
        write_synthetic_shards(folder, config.synthetic, config.seed, mouths=pipeline.example.lips == "crops")
    multihost_utils.sync_global_devices("synthetic records are made")
    return dataclasses.replace(pipeline, shards=(str(folder),))


class _Phonemizer:
    """Phone ids of a text; a class of its own so that worker processes can receive it."""

    def __init__(self) -> None:
        self._front_end = TextFrontEnd()

    def __call__(self, text: str, language: str) -> tuple[int, ...]:
        return self._front_end.read(text, language or AUTO).ids


def make_pipeline(config: PipelineConfig, share: Share = WHOLE) -> Pipeline:
    """Batches, or of each the `share` that this process's devices hold (`own_blocks`)."""
    speaks = any(part.task == "tts" for part in config.parts) or config.example.text_guided > 0
    return Pipeline(
        config,
        share=share,
        phonemize=_Phonemizer() if speaks else None,
    )


def _last_checkpoint(config: TrainConfig, own: Checkpoints, target: TrainState) -> tuple[Restored | None, str]:
    """This run's last checkpoint, else the last one under `config.resume`."""
    same = defining(config)
    for folder, checkpoints in ((CHECKPOINTS, own), (config.resume, None)):
        if not folder:
            continue
        if checkpoints is None:
            if not pathlib.Path(folder).is_dir():
                raise ValueError(f"config.resume is {folder!r}: no such folder")
            checkpoints = Checkpoints(pathlib.Path(folder))
        restored = _newest_whole(checkpoints, same, target)
        if restored is not None:
            if checkpoints is own:
                own.set_aside([step for step in own.steps() if step > restored.step])
            return restored, folder
    if config.resume:
        raise ValueError(
            f"config.resume is {config.resume!r}: no checkpoint in it; give a run's folder {CHECKPOINTS!r}"
        )
    return None, ""


def _newest_whole(checkpoints: Checkpoints, same: Mapping[str, Any], target: TrainState) -> Restored | None:
    """The last checkpoint; where it is damaged, and one before it is not, that one."""
    damage = None
    for step in reversed(checkpoints.steps()):
        try:
            check_same_run(checkpoints.read_about(step)["config"], same, f"checkpoint {step}")
            restored = checkpoints.restore(step, target)
        except CheckpointError as error:
            damage = damage or error
            if jax.process_count() > 1:  # the others may have read their parts of it
                break
            continue
        if damage:
            log.warning("%s; goes on from step %d", str(damage).partition(";")[0], step)
        return restored
    if damage:
        raise damage
    return None


def _read_by(config: TrainConfig, encoders: Mapping[str, str]) -> dict[str, str]:
    """Of the encoders that made the shards' arrays, those whose arrays the run reads."""
    example = config.pipeline().example
    sees = "l2s" in config.tasks and example.lips == "features"
    return {name: one for name, one in encoders.items() if (sees if name == SIGHT else example.target == "tokens")}


def start_run(config: TrainConfig, workdir: pathlib.Path, encoders: Mapping[str, str] = MappingProxyType({})) -> Run:
    """Restores or begins a run; ValueError names what does not fit together.  `encoders` made the shards' tokens."""
    mesh = make_mesh(config.mesh)
    trainer = make_trainer(config.stage, config.model)
    for name in config.half_precision:
        if name not in trainer.models() or name in config.optimizers:
            raise ValueError(f"config.half_precision names {name!r}; only frozen components may be kept in bfloat16")
    workdir.mkdir(parents=True, exist_ok=True)
    key = jax.random.key(config.seed)
    # Outside the mesh: a convolution from channels to channels has the same logical axis twice, which Flax refuses
    # where a mesh is active.
    given = load_initial(config.initial)
    initial = without(given, config.skip_initial)
    if {"semantic_generator", "acoustic_generator"}.isdisjoint(config.optimizers):
        encoders = {}
    else:
        encoders = known_encoders(config.initial, given, _read_by(config, encoders))
        # An encoder that is trained along is another one at every step.
        encoders = {name: one for name, one in encoders.items() if name not in config.optimizers}
    layout = make_layout(trainer, config.optimizers, mesh)
    for name, missing in check_initial(layout, initial).items():
        log.info("%s: from %s, %d leaves drawn", name, config.initial[name], missing)
    with activate(mesh):
        frozen = materialize(trainer, key, layout.frozen, layout.frozen_shardings, initial, config.half_precision)
        maker = StateMaker(layout, config.optimizers, mesh, ema=bool(config.ema_decay))
        checkpoints = Checkpoints(workdir / CHECKPOINTS, keep=config.keep_checkpoints, keep_period=config.keep_period)
        bundles = bundles_at(config.initial.values())
        origins = [[bundle.license, bundle.provenance] for bundle in bundles]
        about = {"config": defining(config), "frozen": fingerprint(frozen), "encoders": encoders, "origins": origins}
        restored, place = _last_checkpoint(config, checkpoints, maker.target())
        if restored is not None:
            _check_frozen(restored.about["frozen"], about["frozen"])
            saved = restored.about
            about["encoders"] = joined(saved["encoders"], encoders, "the tokens of this run", f"step {restored.step}")
            about["origins"] = saved["origins"] + [origin for origin in origins if origin not in saved["origins"]]
            log.info("goes on from step %d of %s", restored.step, place)
            state, data_state = restored.state, restored.data
        else:
            state = maker.begin(materialize(trainer, key, layout.trainable, layout.trainable_shardings, initial))
            data_state = None
    moving, fixed = count_params(layout.trainable), count_params(layout.frozen)
    log.info("%s: %d parameters are trained, %d are not", config.stage, moving, fixed)
    return Run(config, workdir, mesh, trainer, layout, checkpoints, state, frozen, about, data_state)


def check_rows(rows: Sequence[int], accumulate: int, mesh: Mesh) -> None:
    """ValueError unless the batches that a run began with can be split over the devices that it goes on with."""
    parts = accumulate * batch_parts(mesh)
    if math.gcd(*rows) % parts:
        raise ValueError(
            f"the run began with batches of {', '.join(map(str, rows))} rows, of which not all are multiples of "
            f"accumulate x data x fsdp = {parts}; choose config.mesh sizes whose data x fsdp divides "
            f"{math.gcd(*rows) // accumulate}"
        )


def _check_frozen(saved: Mapping[str, float], current: Mapping[str, float]) -> None:
    for name in sorted(set(saved) | set(current)):
        if not np.isclose(saved.get(name, np.nan), current.get(name, np.nan), rtol=1e-4):
            raise ValueError(
                f"the frozen weights of {name} are not those the checkpoint was trained with; "
                f"give config.initial.{name} as it was, or use another --workdir"
            )


def digest(tree: Any) -> str:
    """A hash of every byte of a tree of arrays: equal exactly if two runs are."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(to_host(leaf).tobytes())
    return total.hexdigest()
