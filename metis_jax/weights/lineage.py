"""What is said of weights that come from other weights: licence and provenance, in one line each.

A line has statements joined by "; ".  Weights inherit every statement of what they are made of, each once.
"""

from collections.abc import Iterable

NOT_STATED = "not stated"


def statements(lines: Iterable[str]) -> str:
    """One line with every statement of `lines`, in order, each once."""
    return "; ".join(dict.fromkeys(part for line in lines for part in line.split("; ") if part))


def trained_license(inherited: Iterable[str], own: str) -> str:
    """The licence line of weights trained from others.

    Args:
      inherited: licence lines of the bundles that training began from, none where it began from nothing.
      own: what the user says of the data, "" if nothing.
    """
    lines, own = list(inherited), own or NOT_STATED
    if not lines:
        return own
    return statements([*lines, own if own in lines else f"further training: {own}"])
