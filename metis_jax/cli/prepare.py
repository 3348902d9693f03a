"""Audio files, and videos of faces, to ArrayRecord shards.

    metis-prepare --input=FOLDER_OR_MANIFEST --output=SHARDS

The same command resumes.
"""

import functools
import os
import sys
from collections.abc import Sequence

from absl import flags

from metis_jax.cli import command
from metis_jax.data.beam import JobsOnBeam, MissingBeamExtra
from metis_jax.data.corpus.items import LAYOUTS
from metis_jax.data.corpus.prepare import PrepareConfig, prepare
from metis_jax.video.errors import MissingVideoExtra


def _flags() -> flags.FlagValues:
    values, defaults = command.new_flags(), PrepareConfig()
    flags.DEFINE_string("input", None, "A folder, or a manifest of JSON lines.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder for the shards.", flag_values=values)
    flags.DEFINE_enum("layout", None, list(LAYOUTS), "How a folder is laid out.", flag_values=values)
    flags.DEFINE_integer("processes", os.cpu_count() or 1, "That read files.", flag_values=values)
    flags.DEFINE_integer("shard_records", defaults.shard_records, "Records of a shard.", flag_values=values)
    flags.DEFINE_float("min_seconds", defaults.min_seconds, "Shorter recordings are refused.", flag_values=values)
    flags.DEFINE_float("max_seconds", defaults.max_seconds, "Longer recordings are refused.", flag_values=values)
    flags.DEFINE_string("beam", None, command.BEAM_HELP, flag_values=values)
    flags.DEFINE_boolean("mouths", False, "Take videos too, and cut the mouths out of them.", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("prepare", __doc__, _flags(), _run, argv, refusals=(MissingVideoExtra, MissingBeamExtra))


def _run(given: flags.FlagValues) -> None:
    command.require(given, "input", "output")
    command.check_range("processes", given.processes, 1, 1024)
    config = PrepareConfig(
        shard_records=given.shard_records,
        min_seconds=given.min_seconds,
        max_seconds=given.max_seconds,
        mouths=given.mouths,
    )
    jobs_on = None if given.beam is None else functools.partial(JobsOnBeam, given.beam)
    report = prepare(
        given.input,
        given.output,
        config,
        layout=given.layout or "",
        processes=given.processes,
        jobs_on=jobs_on,
    )
    refused = ", ".join(f"{count} {reason}" for reason, count in report["refused"].items()) or "none"
    hours = ", ".join(f"{value:.2f} h {kind}" for kind, value in report["hours"].items())
    print(f"{report['records']} of {report['files']} files in {report['shards']} shards: {hours}")
    print(f"refused: {refused}{' (see refused.jsonl)' if report['refused'] else ''}")


if __name__ == "__main__":
    sys.exit(main())
