"""The real training step of an experiment, compiled for devices that are not here."""

import dataclasses
import math
import pathlib
import re
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

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
from metis_jax.training.throughput import flops_of, step_flops
from metis_jax.training.trainers.registry import make_trainer

_RECORDS = 16  # of which every kind of batch can be made
_LARGEST = {"levels": 16, "visual_width": 512}
# GPUs that are not there can not be tried out for the fastest kernels, which their compiler would.
_GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}


class DoesNotFit(ValueError):
    """A step that is too large for a device: of `needed` bytes, infinite where they are not known, for its `state`."""

    def __init__(self, state: int, needed: int | float):
        super().__init__(f"a step that needs {needed / 2**30:.1f} GiB of a device")
        self.state, self.needed = state, needed


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One step on one device of many.

    Attributes:
      frames: of a batch, over all devices, padding included.
      parameters: that are trained, and that are not.
      state, batch, temporary: bytes of parameters and moments, of the batch, and of what the step makes meanwhile.
      flops: of the model, forward and backward, of all devices together; what is made again is not counted.
      executed: the same with what is made again, and what kernels do for it.
      program: what it moves.
    """

    frames: int
    parameters: tuple[int, int]
    state: int
    batch: int
    temporary: int
    flops: float
    executed: float
    program: Program


def compile_step(
    config: TrainConfig, devices: Sequence[jax.Device], mesh: MeshConfig, bucket: int, *, memory: int | float = math.inf
) -> Compiled:
    """The step of an experiment for batches of one bucket; ValueError where the mesh does not fit the devices.

    `DoesNotFit` where the state alone is larger than a device's `memory` (bytes), or the compiler says that this is too
    small; that for GPUs never does.
    """
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
    held, kept = (_bytes_per_device(tree) for tree in (batch, (maker.target(), frozen)))
    if kept > memory:
        raise DoesNotFit(kept, math.inf)
    step = make_train_step(
        trainer, config.optimizers, maker.shardings, accumulate=config.accumulate, ema_decay=config.ema_decay
    )
    with activate(built):
        traced = step.trace(maker.target(), frozen, batch, key)
        lowered = traced.lower()
    is_gpu = devices[0].platform == "gpu"
    try:
        with warnings.catch_warnings():
            # JAX may keep a program for devices that are not here, and warns that it can not read it again.
            warnings.simplefilter("ignore", UserWarning)
            compiled = lowered.compile(compiler_options=_GPU_OPTIONS if is_gpu else None)
    except jax.errors.JaxRuntimeError as error:
        raise refusal(str(error), devices[0].device_kind, kept) from error
    sizes = compiled.memory_analysis()
    rows = next(iter(batch.values())).shape[0]
    places = [device.process_index if is_gpu else getattr(device, "slice_index", 0) for device in built.devices.flat]
    return Compiled(
        frames=rows * bucket,
        parameters=(count_params(layout.trainable), count_params(layout.frozen)),
        state=sizes.argument_size_in_bytes - held,
        batch=held,
        temporary=sizes.temp_size_in_bytes,
        flops=step_flops(trainer, layout.trainable, layout.frozen, batch),
        executed=flops_of(traced.jaxpr.jaxpr),
        program=read(compiled.as_text(), places),
    )


def refusal(said: str, device: str, state: int) -> ValueError:
    """What a compiler's error is for the user: `DoesNotFit` where it says that memory is short."""
    if not said.startswith("RESOURCE_EXHAUSTED"):
        reason = said.partition("\n")[0]
        return ValueError(f"the compiler for {device} failed: {reason}")
    if found := re.search(r"temporaries \(([\d.]+)G\) exceeds", said):
        return DoesNotFit(state, float(found[1]) * 2**30 + state)
    found = re.search(r"Used ([\d.]+)G of [\d.]+G hbm", said)
    return DoesNotFit(state, float(found[1]) * 2**30 if found else math.inf)


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


def _bytes_per_device(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
