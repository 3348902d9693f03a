"""`metis-text --language=en "Some text."` prints `{"phonemes": "...", "ids": [...]}`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from metis_jax.reports import reports_of
from metis_jax.text import frontend, languages
from metis_jax.text.errors import MissingTextExtra, TextError
from metis_jax.text.lexicon import Lexicon


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="metis-text", description="Phonemes and phone ids of a text.")
    parser.add_argument("text", nargs="?", help="the text; '-' reads standard input")
    parser.add_argument("--language", default=languages.AUTO, help=f"{', '.join(languages.LANGUAGES)} or auto")
    parser.add_argument("--han", default="zh", choices=("zh", "ja"), help="what auto takes Han characters alone for")
    parser.add_argument("--lexicon", help="your own words: JSON {word: phonemes}, or lines of word, tab, phonemes")
    parser.add_argument("--phonemes", help="phonemes given directly, joined by '|', instead of a text")
    parser.add_argument("--quiet", action="store_true", help="do not say which espeak-ng speaks")
    return parser


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"text: standard input is not UTF-8 (byte {error.start})") from None


def _read(options: argparse.Namespace) -> tuple[str, Sequence[int]]:
    """Phonemes and their ids."""
    if (options.text is None) == (options.phonemes is None):
        raise TextError("text: give a text or --phonemes, one of the two")
    if options.phonemes is not None:
        return options.phonemes, frontend.ids_of(options.phonemes)
    lexicon = Lexicon.from_file(options.lexicon) if options.lexicon else None
    text = _standard_input() if options.text == "-" else options.text
    reading = frontend.TextFrontEnd(lexicon, han=options.han).read(text, options.language)
    return reading.phonemes, reading.ids


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 with one line on standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    level = logging.WARNING if options.quiet else logging.INFO
    try:
        with reports_of("metis_jax.text", level=level):
            phonemes, ids = _read(options)
    except (TextError, MissingTextExtra) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: stopped by SIGINT\n")
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps({"phonemes": phonemes, "ids": list(ids)}, ensure_ascii=not is_unicode))
    return 0


if __name__ == "__main__":
    sys.exit(main())
