"""Shards of audio to shards with SSL tokens, acoustic tokens, SSL features and lip features.

    metis-extract-tokens --bundle=BUNDLE --input=SHARDS --output=TOKEN_SHARDS --arrays=ssl_tokens

The same command resumes.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from metis_jax.cli import command
from metis_jax.cli.command import check_range
from metis_jax.data.beam import MissingBeamExtra, extract_on_beam
from metis_jax.data.corpus import shards
from metis_jax.data.extract import ARRAYS, ExtractConfig, Extraction, extract
from metis_jax.files.inputs import parse_json
from metis_jax.inference.engine import Engine
from metis_jax.inference.programs import use_compilation_cache
from metis_jax.sections import from_config_dict
from metis_jax.types import Policy
from metis_jax.weights.bundle import CONFIG_FILE, Bundle
from metis_jax.weights.compatibility import check_models
from metis_jax.weights.identity import ENCODERS

_NEEDS = {"ssl_features": ("ssl_encoder",), "ssl_tokens": ("ssl_encoder", "semantic_codec")}
_NEEDS |= {"visual_features": ("visual_encoder",)}
_NEEDS |= {name: ("acoustic_codec",) for name in ENCODERS["acoustic_codec"]}


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("bundle", None, f"The encoders: a folder with {CONFIG_FILE}.", flag_values=values)
    flags.DEFINE_string("input", None, "Folder of shards, as `prepare` writes them.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder for the token shards.", flag_values=values)
    flags.DEFINE_list("arrays", ["ssl_tokens", "acoustic_tokens"], f"Some of {','.join(ARRAYS)}.", flag_values=values)
    flags.DEFINE_boolean("drop_audio", False, "Leave the audio out of the token shards.", flag_values=values)
    flags.DEFINE_string(
        "degrade", "", 'SSL arrays of degraded speech, as {"noise": {"probability": 1.0}}.', flag_values=values
    )
    flags.DEFINE_string("noise", "", 'Which noises degrade it, as {"split": "train"}.', flag_values=values)
    flags.DEFINE_integer("rows", 0, "Rows per batch (0: 64 on accelerators, 8 on CPU).", flag_values=values)
    flags.DEFINE_enum(
        "dtype",
        None,
        ["float32", "bfloat16"],
        "Of the SSL encoder; by default bfloat16 on accelerators and float32 on CPU.",
        flag_values=values,
    )
    flags.DEFINE_integer("process_index", 0, "Which of the processes this is, from 0 on.", flag_values=values)
    flags.DEFINE_integer("process_count", 1, "Processes that share the work, started alike.", flag_values=values)
    flags.DEFINE_integer("threads", os.cpu_count() or 1, "That decode audio.", flag_values=values)
    flags.DEFINE_string("beam", None, command.BEAM_HELP, flag_values=values)
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("extract_tokens", __doc__, _flags(), _run, argv, refusals=(MissingBeamExtra,))


def _config(given: flags.FlagValues) -> ExtractConfig:
    section: dict[str, Any] = {"arrays": tuple(given.arrays), "keep_audio": not given.drop_audio}
    for name in ("degrade", "noise"):
        if text := given[name].value:
            section[name] = parse_json(text, f"--{name}")
            if not isinstance(section[name], dict):
                raise ValueError(f"--{name}: a {type(section[name]).__name__}; expected an object")
    if "noise" in section:
        if "degrade" not in section:
            raise ValueError("--noise says what --degrade takes; give --degrade too")
        section["noise"] = {"kinds": ("noise",)} | section["noise"]
    return from_config_dict(ExtractConfig, section, where="--degrade and --noise")


def _opened(given: Mapping[str, Any], config: ExtractConfig) -> dict[str, Any]:
    """What an `Extraction` is made with, besides input, output and config: the encoder and what identifies it."""
    use_compilation_cache(given["compilation_cache"])
    bundle, components = _checked(given["bundle"], config)
    on_cpu = jax.default_backend() == "cpu"
    dtype = given["dtype"] or ("float32" if on_cpu else "bfloat16")
    rows = given["rows"] or (8 if on_cpu else 64)
    return {
        "encoder": Engine(bundle, policy=Policy(dtype=dtype), devices=jax.local_devices(), rows=rows),
        "encoders": {name: bundle.identity(name) for name in components if name in ENCODERS},
        "dtype": dtype,
        "threads": given["threads"],
    }


def _checked(path: str, config: ExtractConfig) -> tuple[Bundle, list[str]]:
    """A bundle, and those of its components that the arrays need."""
    bundle = Bundle(path)
    components = list(dict.fromkeys(part for name in config.arrays for part in _NEEDS[name]))
    check_models(bundle, components)
    return bundle, components


def begin(given: Mapping[str, Any], config: ExtractConfig) -> Extraction:
    """What a worker of Beam begins with."""
    return Extraction(given["input"], given["output"], config=config, **_opened(given, config))


def _on_beam(given: Mapping[str, Any], config: ExtractConfig) -> None:
    _checked(given["bundle"], config)
    paths = shards.find_shards([given["input"]])
    todo = [path for path in paths if not shards.index_path(pathlib.Path(given["output"]) / path.name).exists()]
    extract_on_beam(given["beam"], todo, functools.partial(begin, given, config))
    print(f"{len(todo)} shards; {len(paths) - len(todo)} of {len(paths)} were there")


_WHERE = ("bundle", "input", "output", "rows", "dtype", "threads", "compilation_cache", "beam")


def _run(flag_values: flags.FlagValues) -> None:
    command.require(flag_values, "bundle", "input", "output")
    check_range("rows", flag_values.rows, 0, 4096)
    check_range("threads", flag_values.threads, 1, 1024)
    check_range("process_count", flag_values.process_count, 1, 1_000_000)
    check_range("process_index", flag_values.process_index, 0, flag_values.process_count - 1)
    config = _config(flag_values)
    given = {name: flag_values[name].value for name in _WHERE}
    if given["beam"] is not None:
        if flag_values.process_count > 1:
            raise ValueError("--process_count shares the work by hand, and Beam by itself; give one of them")
        return _on_beam(given, config)
    report = extract(
        given["input"],
        given["output"],
        config=config,
        process_index=flag_values.process_index,
        process_count=flag_values.process_count,
        **_opened(given, config),
    )
    print(
        f"{report['records']} records, {report['audio_hours']:.3f} audio hours in {report['elapsed_seconds']:.0f} s: "
        f"{report['audio_hours_per_hour']:.1f} audio hours per hour; {report['done_before']} of {report['shards']} "
        f"shards were there, {len(report['skipped'])} records skipped"
    )


if __name__ == "__main__":
    sys.exit(main())
