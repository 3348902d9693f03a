"""Where the weights of a run begin, and whose tokens a generator speaks."""

import re
from collections.abc import Iterable, Mapping, Sequence

import flax
import numpy as np

from metis_jax.weights.bundle import Bundle
from metis_jax.weights.identity import ENCODERS, identity, joined

# What `initial` says of a component that begins from no bundle.
DRAWN = "random"


def load_initial(initial: Mapping[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """{component: {path: array}} from bundles: "BUNDLE", or "BUNDLE:name" of the component there."""
    result = {}
    for component, place in initial.items():
        if not place:
            raise ValueError(f"config.initial.{component} is empty; give the bundle that holds it")
        path, _, name = place.partition(":")
        _, variables = Bundle(path).load(name or component)
        result[component] = flax.traverse_util.flatten_dict(variables, sep="/")
    return result


def known_encoders(
    initial: Mapping[str, str],
    leaves: Mapping[str, Mapping[str, np.ndarray]],
    shards: Mapping[str, str],
) -> dict[str, str]:
    """Identities of the encoders whose tokens a run's generator speaks; `OtherEncoder` if they are not all the same.

    Args:
      initial: `config.initial`.
      leaves: {component: {path: array}} of it.
      shards: what the shards say of the tokens that the run reads there.
    """
    found = joined({}, shards, "the tokens in config.data.shards", "")
    for name, place in initial.items():
        where = f"config.initial.{name}"
        if name in ENCODERS:
            found = joined(found, {name: identity(leaves[name].items())}, where, "the tokens of this run")
        else:
            path, _, there = place.partition(":")
            found = joined(found, Bundle(path).encoders.get(there or name, {}), where, "the tokens of this run")
    return found


def bundles_at(places: Iterable[str]) -> list[Bundle]:
    """The bundles of places like those of `config.initial`, each once."""
    return [Bundle(path) for path in dict.fromkeys(place.partition(":")[0] for place in places if place)]


def without(
    initial: Mapping[str, Mapping[str, np.ndarray]], skipped: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """`initial` without the leaves whose whole "component/path" matches one of `skipped`; each must match some."""
    places = [f"{name}/{path}" for name, leaves in initial.items() for path in leaves]
    for pattern in skipped:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"config.skip_initial has {pattern!r}, no regular expression: {error}") from error
        if not any(re.fullmatch(pattern, place) for place in places):
            raise ValueError(f"config.skip_initial has {pattern!r}, which matches nothing that config.initial gives")
    return {
        name: {path: x for path, x in leaves.items() if not any(re.fullmatch(p, f"{name}/{path}") for p in skipped)}
        for name, leaves in initial.items()
    }
