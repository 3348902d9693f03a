"""A bundle to the Hugging Face hub.

    metis-hub push BUNDLE OWNER/NAME [--private] [--figures=TABLE.md]
    metis-hub card BUNDLE OWNER/NAME

The first uploads the bundle with a card made from its own `config.json`; the second prints the card.  Log in before, by
`hf auth login` or the variable HF_TOKEN.  Afterwards `Metis.from_pretrained("hub:OWNER/NAME")` reads it.  Needs the
extra `hub`.
"""

import sys
from collections.abc import Sequence

from absl import flags

from metis_jax.cli import command
from metis_jax.files.text_files import read_text
from metis_jax.hub.push import push
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.card import model_card
from metis_jax.weights.hub import check_name

_VERBS = ("push", "card")


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_boolean("private", False, "A new repository is seen by its owner alone.", flag_values=values)
    flags.DEFINE_string("figures", None, "Markdown for the card, as a table of evaluate.py.", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("hub", __doc__, _flags(), _run, argv, takes_words=True)


def _run(given: flags.FlagValues, *words: str) -> None:
    if len(words) != 3 or words[0] not in _VERBS:
        raise ValueError(f"give {' or '.join(_VERBS)}, BUNDLE and OWNER/NAME; see --help")
    verb, place, name = words
    check_name(name)
    bundle, figures = Bundle(place), read_text(given.figures) if given.figures else ""
    if verb == "card":
        print(model_card(bundle, name, figures), end="")
    else:
        print(push(bundle, name, private=given.private, figures=figures))


if __name__ == "__main__":
    sys.exit(main())
