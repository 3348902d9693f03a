"""The command behind every file of `data/tfds_builders/`: a corpus folder to a TFDS data set of records."""

from collections.abc import Sequence

from absl import flags

from metis_jax.cli import command
from metis_jax.data.corpus.tfds_schema import RecordBuilder, build


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("input", None, "The corpus folder, as published.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder for TFDS data sets.", flag_values=values)
    flags.DEFINE_integer("shards", 0, "Number of shards (0: by size).", flag_values=values)
    return values


def main(builder: type[RecordBuilder], argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""

    def run(given: flags.FlagValues) -> None:
        command.require(given, "input", "output")
        made = build(builder, given.input, given.output, given.shards)
        counts = ", ".join(f"{split}: {info.num_examples}" for split, info in made.info.splits.items())
        print(f"{made.data_path} ({counts} records)")

    return command.run(builder.name, f"{builder.__doc__}\n\n", _flags(), run, argv)
