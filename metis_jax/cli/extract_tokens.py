"""Shards of audio to shards with SSL tokens, acoustic tokens, SSL features and lip features.

    python data/extract_tokens.py --bundle=BUNDLE --input=SHARDS --output=TOKEN_SHARDS --arrays=ssl_tokens

The same command resumes.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags

from metis_jax.cli import command
from metis_jax.cli.command import check_range
from metis_jax.data.extract import ARRAYS, ExtractConfig, extract
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
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("extract_tokens", __doc__, _flags(), _run, argv)


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


def _run(given: flags.FlagValues) -> None:
    command.require(given, "bundle", "input", "output")
    use_compilation_cache(given.compilation_cache)
    check_range("rows", given.rows, 0, 4096)
    check_range("threads", given.threads, 1, 1024)
    check_range("process_count", given.process_count, 1, 1_000_000)
    check_range("process_index", given.process_index, 0, given.process_count - 1)
    config = _config(given)
    bundle = Bundle(given.bundle)
    components = list(dict.fromkeys(part for name in config.arrays for part in _NEEDS[name]))
    check_models(bundle, components)
    on_cpu = jax.default_backend() == "cpu"
    dtype = given.dtype or ("float32" if on_cpu else "bfloat16")
    engine = Engine(
        bundle,
        policy=Policy(dtype=dtype),
        devices=jax.local_devices(),
        rows=given.rows or (8 if on_cpu else 64),
    )
    report = extract(
        given.input,
        given.output,
        engine,
        config,
        encoders={name: bundle.identity(name) for name in components if name in ENCODERS},
        dtype=dtype,
        process_index=given.process_index,
        process_count=given.process_count,
        threads=given.threads,
    )
    print(
        f"{report['records']} records, {report['audio_hours']:.3f} audio hours in {report['elapsed_seconds']:.0f} s: "
        f"{report['audio_hours_per_hour']:.1f} audio hours per hour; {report['done_before']} of {report['shards']} "
        f"shards were there, {len(report['skipped'])} records skipped"
    )


if __name__ == "__main__":
    sys.exit(main())
