"""Bidirectional renaming rules between the authors' tensors and our variables.

A model's rules are a list of `Rule(ours, official, layout)`.  `ours` is a variable path joined by "/" that starts with
the Flax collection, `official` a tensor name.  `{layer}` (or any other name in braces) in `official` stands for 0..L-1:
those tensors are stacked on a leading axis of ours, several placeholders on several leading axes in their order.

Every official tensor must be matched by exactly one rule and every rule must be filled, so nothing is lost silently.
Tensors the model has no use for (step counters, an empty table) go to the collection `unused`: bundles keep it so that
an export gives every tensor back bit for bit, and loading drops it.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax
import numpy as np

from metis_jax.weights.tensor_files import WeightsError, different_shape


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one official tensor is laid out in ours.

    Attributes:
      official: axes of the official tensor, one letter each; "1" is an axis of size one that we drop.  Empty: any.
      ours: the same letters in our order.
    """

    official: str
    ours: str

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        if not self.official:
            return tensor
        kept = [axis for axis, letter in enumerate(self.official) if letter != "1"]
        letters = self.official.replace("1", "")
        return tensor.reshape([tensor.shape[axis] for axis in kept]).transpose([letters.index(x) for x in self.ours])

    def to_official(self, array: np.ndarray) -> np.ndarray:
        if not self.official:
            return array
        letters = self.official.replace("1", "")
        array = array.transpose([self.ours.index(x) for x in letters])
        sizes = iter(array.shape)
        return array.reshape([1 if letter == "1" else next(sizes) for letter in self.official])

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether an official tensor of this shape fits."""
        if not self.official:
            return True
        fits = zip(self.official, shape, strict=False)
        return len(shape) == len(self.official) and all(letter != "1" or size == 1 for letter, size in fits)


LAYOUTS = {
    "same": Layout("", ""),
    "linear": Layout("oi", "io"),
    "pointwise": Layout("oi1", "io"),  # a convolution of width one that is a dense layer here
    "conv1d": Layout("oik", "kio"),
    "conv2d": Layout("oihw", "hwio"),
    "conv3d": Layout("oithw", "thwio"),
    "row": Layout("1c", "c"),  # an embedding table of one row
    "gain": Layout("c11", "c"),  # weight-norm magnitudes
    "alpha": Layout("1c1", "c"),  # Snake frequencies
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One variable of ours and the official tensor, or stack of tensors, that it holds."""

    ours: str
    official: str
    layout: str = "same"

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise ValueError(f"rule {self.ours!r} has layout {self.layout!r}; use one of {', '.join(LAYOUTS)}")

    @property
    def indices(self) -> list[str]:
        """The names in braces, which are our leading axes."""
        return re.findall(r"{(\w+)}", self.official)

    def names(self, grid: Sequence[int]) -> Iterator[tuple[tuple[int, ...], str]]:
        """(position on our leading axes, official name) of every tensor of a stack of shape `grid`."""
        for position in itertools.product(*map(range, grid)):
            yield position, self.official.format(**dict(zip(self.indices, position, strict=True)))

    def grid(self, names: Iterable[str]) -> tuple[int, ...] | None:
        """The extent of each index among official `names`, or None when nothing matches."""
        parts = re.split(r"{\w+}", self.official)
        pattern = re.compile(r"(0|[1-9]\d*)".join(map(re.escape, parts)))
        found = [tuple(map(int, match.groups())) for match in map(pattern.fullmatch, names) if match]
        return tuple(max(column) + 1 for column in zip(*found, strict=True)) if found else None

    def split(self, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """(official name, tensor) of everything that our array holds."""
        for position, name in self.names(array.shape[: len(self.indices)]):
            yield name, np.asarray(LAYOUTS[self.layout].to_official(np.asarray(array[position])), order="C")

    def official_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one official tensor, from the shape of our variable."""
        leaf = np.broadcast_to(np.int8(0), tuple(shape)[len(self.indices) :])
        return LAYOUTS[self.layout].to_official(leaf).shape


def dense_rules(ours: str, official: str) -> list[Rule]:
    """Kernel and bias of one dense layer."""
    return [
        Rule(f"params/{ours}/kernel", f"{official}.weight", "linear"),
        Rule(f"params/{ours}/bias", f"{official}.bias"),
    ]


def norm_rules(ours: str, official: str) -> list[Rule]:
    """Scale and bias of one normalisation layer."""
    return [Rule(f"params/{ours}/scale", f"{official}.weight"), Rule(f"params/{ours}/bias", f"{official}.bias")]


@dataclasses.dataclass(frozen=True)
class Match:
    """A rule together with the official tensors of one file that fill it."""

    rule: Rule
    grid: tuple[int, ...]
    shape: tuple[int, ...]  # of each official tensor

    @property
    def our_shape(self) -> tuple[int, ...]:
        leaf = LAYOUTS[self.rule.layout].to_ours(np.broadcast_to(np.int8(0), self.shape))
        return self.grid + leaf.shape

    def join(self, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Our array, read tensor by tensor."""
        array = None
        for position, name in self.rule.names(self.grid):
            leaf = LAYOUTS[self.rule.layout].to_ours(read(name))
            if array is None:
                array = np.empty(self.our_shape, leaf.dtype)
            array[position] = leaf
        return array


def match_rules(rules: Sequence[Rule], shapes: Mapping[str, Sequence[int]], *, file: str) -> list[Match]:
    """Assigns every official tensor of `file` to its rule; missing, extra and misshapen ones raise WeightsError."""
    owner: dict[str, Rule] = {}
    matches = []
    for rule in rules:
        grid = rule.grid(shapes)
        if grid is None:
            name = rule.official.format(**dict.fromkeys(rule.indices, 0))
            raise WeightsError(f"{file}: tensor {name!r} is missing")
        names = [name for _, name in rule.names(grid)]
        for name in names:
            if name not in shapes:
                like = next(other for other in names if other in shapes)
                raise WeightsError(f"{file}: tensor {name!r} is missing, expected shape {list(shapes[like])}")
            if name in owner:
                raise ValueError(f"tensor {name!r} is claimed by two rules: {owner[name].ours} and {rule.ours}")
            owner[name] = rule
            if not LAYOUTS[rule.layout].accepts(shapes[name]):
                axes = ", ".join(LAYOUTS[rule.layout].official)
                raise WeightsError(f"{file}: tensor {name!r}: expected axes [{axes}], found shape {list(shapes[name])}")
            if tuple(shapes[name]) != tuple(shapes[names[0]]):
                raise different_shape(file, name, shapes[names[0]], shapes[name])
        matches.append(Match(rule, grid, tuple(shapes[names[0]])))
    extra = sorted(set(shapes) - set(owner))
    if extra:
        raise WeightsError(
            f"{file}: tensor {extra[0]!r} of shape {list(shapes[extra[0]])} is not expected"
            + (f" (nor {len(extra) - 1} more)" if len(extra) > 1 else "")
        )
    return matches


def to_variables(rules: Sequence[Rule], tensors: Mapping[str, np.ndarray], *, file: str = "tensors") -> dict[str, Any]:
    """Our variable tree from official tensors held in memory."""
    matches = match_rules(rules, {name: tensor.shape for name, tensor in tensors.items()}, file=file)
    flat = {match.rule.ours: match.join(lambda name: np.asarray(tensors[name])) for match in matches}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def to_tensors(rules: Sequence[Rule], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `to_variables`."""
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    missing = [rule.ours for rule in rules if rule.ours not in flat]
    if missing:
        raise WeightsError(f"variable {missing[0]!r} is missing")
    return {name: tensor for rule in rules for name, tensor in rule.split(np.asarray(flat[rule.ours]))}
