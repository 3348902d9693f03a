"""The command behind every file of `data/tfds_builders/`: a corpus folder to a TFDS data set of records."""

import argparse
from collections.abc import Sequence

from metis_jax.cli.command import exit_status
from metis_jax.data.corpus.tfds_schema import RecordBuilder, build


def main(builder: type[RecordBuilder], arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=builder.__doc__)
    parser.add_argument("--input", required=True, help="the corpus folder, as published")
    parser.add_argument("--output", required=True, help="folder for TFDS data sets")
    parser.add_argument("--shards", type=int, default=0, help="number of shards (0: by size)")
    flags = parser.parse_args(arguments)
    return exit_status(builder.name, lambda: _run(builder, flags))


def _run(builder: type[RecordBuilder], flags: argparse.Namespace) -> None:
    made = build(builder, flags.input, flags.output, flags.shards)
    counts = ", ".join(f"{split}: {info.num_examples}" for split, info in made.info.splits.items())
    print(f"{made.data_path} ({counts} records)")
