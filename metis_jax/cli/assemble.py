"""One bundle from components of several: the end of a chain of training runs.

    python -m metis_jax.cli.assemble --output=BUNDLE --dtype=float16 --task=se,vc \\
        --component=semantic_generator=RUN_1 --component=acoustic_generator_first=RUN_2:acoustic_generator ...

Parameters are stored in `dtype`; everything else (statistics, the codec's window) stays float32.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from metis_jax.bundle import Bundle, write_bundle
from metis_jax.cli.command import exit_status
from metis_jax.speech import Settings
from metis_jax.types import Variables

DTYPES = ("float32", "float16")


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
    tasks: Sequence[str],
    dtype: str,
    license: str,
    provenance: str,
    decoding: dict[str, Any] | None = None,
) -> None:
    """Writes `components`, {name: "BUNDLE" or "BUNDLE:name there"}; `tasks` are served by the semantic generator.

    `decoding` changes released settings, as `Settings.of` takes them.
    """
    for task in tasks:
        Settings.of(task, preferred=decoding or {})
    if tasks and "semantic_generator" not in components:
        raise ValueError("tasks were given, but no component semantic_generator to serve them")
    with write_bundle(output, license=license, provenance=provenance) as writer:
        for name, place in components.items():
            path, _, there = place.partition(":")
            config, variables = Bundle(path).load(there or name)
            writer.add(name, config, stored_as(variables, dtype))
        for task in tasks:
            writer.task(task, "semantic_generator")
        writer.decoding = decoding or {}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One bundle from components of several.")
    parser.add_argument("--output", required=True, help="the bundle to write; must not exist")
    parser.add_argument("--component", action="append", required=True, help="NAME=BUNDLE or NAME=BUNDLE:NAME_THERE")
    parser.add_argument("--task", default="", help="tasks that the semantic generator serves, comma-separated")
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
    try:
        decoding = json.loads(flags.decoding)
    except ValueError as error:
        raise ValueError(f"--decoding is not JSON ({error})") from None
    assemble(
        flags.output,
        {name: place for name, _, place in pairs},
        tasks=tuple(task for task in flags.task.split(",") if task),
        dtype=flags.dtype,
        license=flags.license,
        provenance=flags.provenance,
        decoding=decoding,
    )
    print(flags.output)


if __name__ == "__main__":
    sys.exit(main())
