"""A bundle from the last checkpoint of a run."""

import dataclasses
import pathlib

import flax
import jax
import numpy as np

from metis_jax.bundle import TaskAdapterConfig, write_bundle
from metis_jax.training.config import TrainConfig
from metis_jax.training.run import Run, make_pipeline, pipeline_config, start_run
from metis_jax.training.stages.ssl_encoder import SslEncoderStage
from metis_jax.training.state import all_params
from metis_jax.types import Variables

STATISTICS_BATCHES = 32  # over which mean and variance of a new SSL encoder's features are taken


def export_bundle(config: TrainConfig, workdir: pathlib.Path, path: pathlib.Path) -> None:
    """Writes every component that a bundle can hold: what was trained, averaged if the run averages, and what was not.

    With LoRA the base stays as it was, and adapters and condition adapter become a task adapter on it.
    """
    run = start_run(config, workdir)
    try:
        step = int(run.state.step)
        if run.checkpoints.latest() is None:
            raise ValueError(f"{workdir} has no checkpoint to export; train first")
        write_components(run, path, step)
    finally:
        run.checkpoints.close()


def write_components(run: Run, path: pathlib.Path, step: int) -> None:
    """The models of a run as a bundle."""
    config = run.config
    params = all_params(run.averaged, run.frozen)
    if isinstance(run.stage, SslEncoderStage):
        pipeline = make_pipeline(pipeline_config(config, run.workdir), run.mesh)
        params = run.stage.finish(params, (pipeline[index] for index in range(STATISTICS_BATCHES)))
    provenance = f"metis_jax, {config.stage}, step {step}, seed {config.seed}"
    adapter_name = None
    with write_bundle(path, license=config.license, provenance=provenance) as writer:
        for name, model_config in run.stage.configs().items():
            variables = _on_host(params[name])
            lora = getattr(run.stage, "lora", None) if name == "semantic_generator" else None
            if lora is None:
                writer.add(name, model_config, variables)
                continue
            adapter_config = TaskAdapterConfig(
                base=name,
                lora=lora,
                condition=model_config.condition,
                condition_width=model_config.condition_width,
                phone_vocabulary=model_config.phone_vocabulary,
            )
            base, adapter = _split_adapter(variables, adapter_config.parts)
            writer.add(name, dataclasses.replace(model_config, condition="none", phone_vocabulary=0), base)
            adapter_name = f"{'_'.join(config.tasks) or 'task'}_adapter"
            writer.add(adapter_name, adapter_config, adapter)
        for task in config.tasks:
            writer.task(task, "semantic_generator", adapter_name)


def _split_adapter(variables: Variables, parts: tuple[str, ...]) -> tuple[Variables, Variables]:
    flat = flax.traverse_util.flatten_dict(variables)
    own = {path: leaf for path, leaf in flat.items() if not set(parts).isdisjoint(path)}
    base = {path: leaf for path, leaf in flat.items() if path not in own}
    return flax.traverse_util.unflatten_dict(base), flax.traverse_util.unflatten_dict(own)


def _on_host(variables: Variables) -> Variables:
    return jax.tree.map(lambda leaf: np.asarray(jax.device_get(leaf), np.float32), variables)
