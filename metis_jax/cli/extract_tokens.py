"""`extract_tokens`: shards of audio to shards with SSL tokens, acoustic tokens and SSL features."""

import argparse
import os
import sys
from collections.abc import Sequence

import jax

from metis_jax.cli.command import CACHE_HELP, check_range, exit_status
from metis_jax.cli.runtime import use_compilation_cache
from metis_jax.data.extract import ARRAYS, ExtractConfig, extract
from metis_jax.files.inputs import parse_json
from metis_jax.inference.engine import Engine
from metis_jax.sections import from_config_dict
from metis_jax.types import Policy
from metis_jax.weights.bundle import CONFIG_FILE, Bundle
from metis_jax.weights.compatibility import check_models
from metis_jax.weights.identity import ENCODERS

_NEEDS = {"ssl_features": ("ssl_encoder",), "ssl_tokens": ("ssl_encoder", "semantic_codec")}
_NEEDS |= {name: ("acoustic_codec",) for name in ENCODERS["acoustic_codec"]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Shards to token shards; the same command resumes.")
    parser.add_argument("--bundle", required=True, help=f"the encoders: a folder with {CONFIG_FILE}")
    parser.add_argument("--input", required=True, help="folder of shards, as `prepare` writes them")
    parser.add_argument("--output", required=True, help="folder for the token shards")
    parser.add_argument("--arrays", default="ssl_tokens,acoustic_tokens", help=f"some of {','.join(ARRAYS)}")
    parser.add_argument("--drop_audio", action="store_true", help="leave the audio out of the token shards")
    parser.add_argument(
        "--degrade", default="", help='SSL arrays of degraded speech, as {"noise": {"probability": 1.0}}'
    )
    parser.add_argument("--noise", default="", help='which noises degrade it, as {"split": "train"}')
    parser.add_argument("--rows", type=int, default=0, help="rows per batch (0: 64 on accelerators, 8 on CPU)")
    parser.add_argument("--dtype", default="", choices=("", "float32", "bfloat16"), help="of the SSL encoder")
    parser.add_argument("--process_index", type=int, default=0)
    parser.add_argument("--process_count", type=int, default=1, help="processes that share the work, started alike")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that decode audio")
    parser.add_argument("--compilation_cache", default=None, help=CACHE_HELP)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(arguments)
    return exit_status("extract_tokens", lambda: _run(flags))


def _config(flags: argparse.Namespace) -> ExtractConfig:
    given = {"arrays": tuple(flags.arrays.split(",")), "keep_audio": not flags.drop_audio}
    for name in ("degrade", "noise"):
        if text := getattr(flags, name):
            given[name] = parse_json(text, f"--{name}")
            if not isinstance(given[name], dict):
                raise ValueError(f"--{name}: a {type(given[name]).__name__}; expected an object")
    if "noise" in given:
        if "degrade" not in given:
            raise ValueError("--noise says what --degrade takes; give --degrade too")
        given["noise"] = {"kinds": ("noise",)} | given["noise"]
    return from_config_dict(ExtractConfig, given, where="--degrade and --noise")


def _run(flags: argparse.Namespace) -> None:
    use_compilation_cache(flags.compilation_cache)
    check_range("rows", flags.rows, 0, 4096)
    check_range("threads", flags.threads, 1, 1024)
    check_range("process_count", flags.process_count, 1, 1_000_000)
    check_range("process_index", flags.process_index, 0, flags.process_count - 1)
    config = _config(flags)
    bundle = Bundle(flags.bundle)
    components = list(dict.fromkeys(part for name in config.arrays for part in _NEEDS[name]))
    check_models(bundle, components)
    on_cpu = jax.default_backend() == "cpu"
    dtype = flags.dtype or ("float32" if on_cpu else "bfloat16")
    engine = Engine(
        bundle,
        policy=Policy(dtype=dtype),
        devices=jax.local_devices(),
        rows=flags.rows or (8 if on_cpu else 64),
    )
    report = extract(
        flags.input,
        flags.output,
        engine,
        config,
        encoders={name: bundle.identity(name) for name in components},
        dtype=dtype,
        process_index=flags.process_index,
        process_count=flags.process_count,
        threads=flags.threads,
    )
    print(
        f"{report['records']} records, {report['audio_hours']:.3f} audio hours in {report['elapsed_seconds']:.0f} s: "
        f"{report['audio_hours_per_hour']:.1f} audio hours per hour; {report['done_before']} of {report['shards']} "
        f"shards were there, {len(report['skipped'])} records skipped"
    )


if __name__ == "__main__":
    sys.exit(main())
