"""A server for programs: enhance, extract, convert and speak over HTTP.

    metis-serve --bundle=BUNDLE --port=8000
    curl -F source=@noisy.wav http://127.0.0.1:8000/enhance -o clean.wav

Requests that arrive together are decoded together.  SIGTERM ends it when all that was taken is answered.  It asks
nobody who they are: what faces a network needs a proxy in front.  Needs the extra `serve`.
"""

import sys
from collections.abc import Sequence

import uvicorn
from absl import flags

from metis_jax.cli import command
from metis_jax.inference.metis import Metis
from metis_jax.inference.programs import use_compilation_cache
from metis_jax.inference.voices import Voices, default_folder
from metis_jax.serving.service import Limits, make_service

_DEFAULT = Limits()
_MEGABYTE = 1 << 20


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("bundle", None, "The models; by default the small ones of the package.", flag_values=values)
    flags.DEFINE_string("host", "127.0.0.1", "The address it listens on.", flag_values=values)
    flags.DEFINE_integer("port", 8000, "Of the server.", 0, 65535, flag_values=values)
    flags.DEFINE_integer(
        "rows",
        None,
        "Requests that are decoded together; by default 8 on accelerators, and 1 on a CPU, where batches gain nothing.",
        1,
        256,
        flag_values=values,
    )
    flags.DEFINE_string("voices", None, command.VOICES_HELP, flag_values=values)
    flags.DEFINE_integer("most_megabytes", _DEFAULT.most_bytes // _MEGABYTE, "Of a request.", 1, flag_values=values)
    flags.DEFINE_float("most_seconds", _DEFAULT.most_seconds, "Of a recording.", 0.1, flag_values=values)
    flags.DEFINE_integer("most_waiting", _DEFAULT.most_waiting, "Requests that wait.", 1, flag_values=values)
    flags.DEFINE_float("patience", _DEFAULT.patience, "Seconds that a request may take.", 1, flag_values=values)
    flags.DEFINE_boolean("warm_up", True, "Load and compile before the first request.", flag_values=values)
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("serve", __doc__, _flags(), _run, argv)


def _run(given: flags.FlagValues) -> None:
    use_compilation_cache(given.compilation_cache)
    metis = Metis.from_pretrained(given.bundle or "nano", rows=given.rows)
    limits = Limits(
        most_bytes=given.most_megabytes * _MEGABYTE,
        most_seconds=given.most_seconds,
        most_waiting=given.most_waiting,
        patience=given.patience,
    )
    service = make_service(metis, Voices(given.voices or default_folder()), limits, largest_batch=metis.largest_batch)
    if given.warm_up:
        print("loading and compiling …", flush=True)
        metis.warm_up()
    server = uvicorn.Server(uvicorn.Config(service, host=given.host, port=given.port, log_level="info"))
    server.run()
    if not server.started:
        raise ValueError(f"nothing can be served on {given.host}:{given.port}; is the port taken?")


if __name__ == "__main__":
    sys.exit(main())
