"""A page for this machine's browser: enhance, extract, convert, speak, read lips.

    metis-app                                # with the small models of the package
    metis-app --bundle=BUNDLE --port=7860

Nobody else can open it: it listens on 127.0.0.1 alone.  Voices are kept in --voices.  Needs the extra `app`.
"""

import sys
from collections.abc import Sequence

from absl import flags

from metis_jax.app.page import launch, make_page
from metis_jax.app.studio import Studio
from metis_jax.cli import command
from metis_jax.inference.metis import Metis
from metis_jax.inference.programs import use_compilation_cache
from metis_jax.inference.voices import Voices, default_folder


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("bundle", None, "The models; by default the small ones of the package.", flag_values=values)
    flags.DEFINE_integer(
        "port", None, "Of the page; by default 7860, or the next one that is free.", 1, 65535, flag_values=values
    )
    flags.DEFINE_boolean("browser", False, "Open the page in a browser.", flag_values=values)
    flags.DEFINE_string("voices", None, command.VOICES_HELP, flag_values=values)
    flags.DEFINE_string("compilation_cache", None, command.CACHE_HELP, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("app", __doc__, _flags(), _run, argv)


def _run(given: flags.FlagValues) -> None:
    use_compilation_cache(given.compilation_cache)
    studio = Studio(Metis.from_pretrained(given.bundle or "nano"), Voices(given.voices or default_folder()))
    page = make_page(studio)
    try:
        address = launch(page, given.port, opens_browser=given.browser)
    except OSError as error:
        raise ValueError(f"the page can not be served: {error}") from None
    try:
        print(f"the page is at {address}; Ctrl-C ends it", flush=True)
        page.block_thread()
    finally:
        page.close()


if __name__ == "__main__":
    sys.exit(main())
