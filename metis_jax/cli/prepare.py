"""`prepare`: audio files to shards."""

import argparse
import os
import sys
from collections.abc import Sequence

from metis_jax.cli.command import check_range, exit_status
from metis_jax.data.corpus.items import LAYOUTS
from metis_jax.data.corpus.prepare import PrepareConfig, prepare


def main(arguments: Sequence[str] | None = None) -> int:
    defaults = PrepareConfig()
    parser = argparse.ArgumentParser(description="Audio files to ArrayRecord shards; the same command resumes.")
    parser.add_argument("--input", required=True, help="a folder, or a manifest of JSON lines")
    parser.add_argument("--output", required=True, help="folder for the shards")
    parser.add_argument("--layout", default="", choices=("", *LAYOUTS), help="how a folder is laid out")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shard_records", type=int, default=defaults.shard_records)
    parser.add_argument("--min_seconds", type=float, default=defaults.min_seconds)
    parser.add_argument("--max_seconds", type=float, default=defaults.max_seconds)
    flags = parser.parse_args(arguments)
    return exit_status("prepare", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    check_range("processes", flags.processes, 1, 1024)
    config = PrepareConfig(
        shard_records=flags.shard_records, min_seconds=flags.min_seconds, max_seconds=flags.max_seconds
    )
    report = prepare(flags.input, flags.output, config, layout=flags.layout, processes=flags.processes)
    refused = ", ".join(f"{count} {reason}" for reason, count in report["refused"].items()) or "none"
    hours = ", ".join(f"{value:.2f} h {kind}" for kind, value in report["hours"].items())
    print(f"{report['records']} of {report['files']} files in {report['shards']} shards: {hours}")
    print(f"refused: {refused}{' (see refused.jsonl)' if report['refused'] else ''}")


if __name__ == "__main__":
    sys.exit(main())
