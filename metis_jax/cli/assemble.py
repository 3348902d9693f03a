"""One bundle from components of several: the end of a chain of training runs.

    python -m metis_jax.cli.assemble --output=BUNDLE --dtype=float16 --task=se,vc \\
        --component=semantic_generator=RUN_1 --component=acoustic_generator_first=RUN_2:acoustic_generator ...

A generator that was fine-tuned with LoRA comes in two components, the base and its adapter: `--task=se=se_adapter
--component=semantic_generator=RUN --component=se_adapter=RUN`.

Parameters are stored in `dtype`; everything else (statistics, the codec's window) stays float32.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from metis_jax.bundle import Bundle, TaskAdapterConfig, write_bundle
from metis_jax.cli.command import exit_status
from metis_jax.speech import Settings
from metis_jax.types import Variables

DTYPES = ("float32", "float16")
GENERATOR = "semantic_generator"


def stored_as(variables: Variables, dtype: str) -> Variables:
    """Variables with their parameters in the dtype they are to be stored in."""

    def cast(leaf: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            result = np.asarray(leaf).astype(dtype)
        if not np.all(np.isfinite(result)):
            raise ValueError(f"a parameter of shape {list(result.shape)} does not fit {dtype}; use --dtype=float32")
        return result

    return {name: jax.tree.map(cast, tree) if name == "params" else tree for name, tree in variables.items()}


def assemble(
    output: str,
    components: dict[str, str],
    *,
    tasks: Mapping[str, str | None],
    dtype: str,
    license: str,
    provenance: str,
    decoding: dict[str, Any] | None = None,
) -> None:
    """Writes `components`, {name: "BUNDLE" or "BUNDLE:name there"}.

    `tasks`, {task: its adapter's component, if it has one}, are served by the semantic generator.  `decoding` changes
    released settings, as `Settings.of` takes them.
    """
    for task in tasks:
        Settings.of(task, preferred=decoding or {})
    parts = {name: place.partition(":") for name, place in components.items()}
    places = {name: (path, there or name) for name, (path, _, there) in parts.items()}
    configs = {name: _config(path, there) for name, (path, there) in places.items()}
    _check_tasks(tasks, configs)
    with write_bundle(output, license=license, provenance=provenance) as writer:
        # An adapter is checked against its base.
        for name in sorted(places, key=lambda name: isinstance(configs[name], TaskAdapterConfig)):
            path, there = places[name]
            _, variables = Bundle(path).load(there)
            writer.add(name, configs[name], stored_as(variables, dtype))
        for task, adapter in tasks.items():
            writer.task(task, GENERATOR, adapter)
        writer.decoding = decoding or {}


def _config(path: str, name: str) -> Any:
    """What a bundle says of a component that it holds."""
    bundle = Bundle(path)
    bundle.file(name)
    return bundle.components[name]


def _check_tasks(tasks: Mapping[str, str | None], configs: Mapping[str, Any]) -> None:
    """ValueError for a task that the components can not serve."""
    if tasks and GENERATOR not in configs:
        raise ValueError(f"tasks were given, but no component {GENERATOR} to serve them")
    for task, adapter in tasks.items():
        if adapter and not isinstance(configs.get(adapter), TaskAdapterConfig):
            raise ValueError(f"task {task} names the adapter {adapter!r}; give it as --component={adapter}=BUNDLE")
        config = configs[adapter].adapted(configs[GENERATOR]) if adapter else configs[GENERATOR]
        can_serve = config.phone_vocabulary > 0 if task == "tts" else config.condition != "none"
        if not can_serve:
            raise ValueError(
                f"task {task}: the generator has no {'phones' if task == 'tts' else 'condition'}; give one that was "
                f"trained for it, or its adapter as --component=ADAPTER=BUNDLE --task={task}=ADAPTER"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One bundle from components of several.")
    parser.add_argument("--output", required=True, help="the bundle to write; must not exist")
    parser.add_argument("--component", action="append", required=True, help="NAME=BUNDLE or NAME=BUNDLE:NAME_THERE")
    parser.add_argument("--task", default="", help="what the generator serves: TASK or TASK=ADAPTER, comma-separated")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of the stored parameters")
    parser.add_argument("--decoding", default="{}", help='settings of stages, as {"first_level": {"temperature": 0.5}}')
    parser.add_argument("--license", required=True, help="of the weights")
    parser.add_argument("--provenance", required=True, help="where the weights come from, one line")
    flags = parser.parse_args(arguments)
    return exit_status("assemble", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    pairs = [component.partition("=") for component in flags.component]
    for name, _, place in pairs:
        if not name or not place:
            raise ValueError(f"--component is {name!r}; expected NAME=BUNDLE")
    wanted = [text.partition("=") for text in flags.task.split(",") if text]
    try:
        decoding = json.loads(flags.decoding)
    except ValueError as error:
        raise ValueError(f"--decoding is not JSON ({error})") from None
    assemble(
        flags.output,
        {name: place for name, _, place in pairs},
        tasks={task: adapter or None for task, _, adapter in wanted},
        dtype=flags.dtype,
        license=flags.license,
        provenance=flags.provenance,
        decoding=decoding,
    )
    print(flags.output)


if __name__ == "__main__":
    sys.exit(main())
