"""A corpus folder to a TFDS data set of records.

    metis-build-tfds emilia|libritts|noise|vctk --input=FOLDER --output=DATASETS

Every file of `data/tfds_builders/` is the same for one corpus.
"""

import sys
from collections.abc import Sequence

from absl import flags

from metis_jax.cli import command
from metis_jax.data.corpus.tfds_builders import BUILDERS
from metis_jax.data.corpus.tfds_schema import build


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("input", None, "The corpus folder, as published.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder for TFDS data sets.", flag_values=values)
    flags.DEFINE_integer("shards", 0, "Number of shards (0: by size).", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("build_tfds", __doc__, _flags(), _run, argv, takes_words=True)


def _run(given: flags.FlagValues, *words: str) -> None:
    unexpected = words[1:] if words and words[0] in BUILDERS else words[:1]
    if unexpected or not words:
        found = f"unexpected argument {unexpected[0]!r}; " if unexpected else ""
        raise ValueError(f"{found}give one of {', '.join(BUILDERS)}")
    command.require(given, "input", "output")
    made = build(BUILDERS[words[0]], given.input, given.output, given.shards)
    counts = ", ".join(f"{split}: {info.num_examples}" for split, info in made.info.splits.items())
    print(f"{made.data_path} ({counts} records)")


if __name__ == "__main__":
    sys.exit(main())
