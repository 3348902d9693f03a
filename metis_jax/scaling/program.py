"""The real training step of an experiment, compiled for devices that are not here."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from metis_jax.data.corpus.synthetic import write_synthetic_shards
from metis_jax.scaling.hlo import Program, read
from metis_jax.sharding import MeshConfig, activate, batch_parts, batch_sharding, make_mesh, replicated
from metis_jax.training.config import TrainConfig
from metis_jax.training.run import make_pipeline
from metis_jax.training.state import StateMaker, count_params, make_layout
from metis_jax.training.steps import make_train_step
from metis_jax.training.throughput import step_flops
from metis_jax.training.trainers.registry import make_trainer

_RECORDS = 16  # of which every kind of batch can be made
_LARGEST = {"levels": 16, "visual_width": 512}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One step on one device of many.

    Attributes:
      frames: of a batch, over all devices, padding included.
      parameters: that are trained, and that are not.
      state, batch, temporary: bytes of parameters and moments, of the batch, and of what the step makes meanwhile.
      flops: of the model, forward and backward, of all devices together; what is made again is not counted.
      program: what it moves.
    """

    frames: int
    parameters: tuple[int, int]
    state: int
    batch: int
    temporary: int
    flops: float
    program: Program


def compile_step(config: TrainConfig, devices: Sequence[jax.Device], mesh: MeshConfig, bucket: int) -> Compiled:
    """The step of an experiment for batches of one bucket; ValueError where the mesh does not fit the devices."""
    built = make_mesh(mesh, devices)
    trainer = make_trainer(config.stage, config.model)
    layout = make_layout(trainer, config.optimizers, built)
    maker = StateMaker(layout, config.optimizers, built, ema=bool(config.ema_decay))
    batch = abstract_batch(config, built, bucket)
    frozen = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        layout.frozen,
        layout.frozen_shardings,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(built))
    step = make_train_step(
        trainer, config.optimizers, maker.shardings, accumulate=config.accumulate, ema_decay=config.ema_decay
    )
    with activate(built):
        compiled = step.lower(maker.target(), frozen, batch, key).compile()
    memory = compiled.memory_analysis()
    rows = next(iter(batch.values())).shape[0]
    held = _bytes_per_device(batch)
    return Compiled(
        frames=rows * bucket,
        parameters=(count_params(layout.trainable), count_params(layout.frozen)),
        state=memory.argument_size_in_bytes - held,
        batch=held,
        temporary=memory.temp_size_in_bytes,
        flops=step_flops(trainer, layout.trainable, layout.frozen, batch),
        program=read(compiled.as_text()),
    )


def abstract_batch(config: TrainConfig, mesh: Mesh, bucket: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of one bucket: of a batch of one row, made as all are, with as many rows as the run has."""
    data = config.pipeline(mesh.size, config.accumulate * batch_parts(mesh))
    rows = data.rows[data.buckets.index(bucket)]
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic_shards(pathlib.Path(folder), _RECORDS, 0, **_LARGEST, mouths=data.example.lips == "crops")
        recipe = dataclasses.replace(data.recipe, min_frames=20, prompt_frames=(10, 20))
        one = dataclasses.replace(
            data, shards=(folder,), validation_shards=(), rows=1, buckets=(bucket,), recipe=recipe
        )
        row = make_pipeline(one)[0]
    sharding = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((rows, *np.shape(array)[1:]), np.asarray(array).dtype, sharding=sharding)
        for name, array in row.items()
    }


def _bytes_per_device(batch: dict[str, jax.ShapeDtypeStruct]) -> int:
    return sum(int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize for leaf in batch.values())
