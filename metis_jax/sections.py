"""Sections of a config: mappings to frozen dataclasses and back.

`from_config_dict` is the one door from `ml_collections` (or JSON) into them: it is strict, so that a misspelt key or a
value of another kind fails at start-up with the name of the field.
"""

import collections.abc
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def from_config_dict(cls: type[T], section: Any, *, where: str = "") -> T:
    """Builds dataclass `cls` from a mapping of its fields.

    A key that is unknown or missing raises ValueError with the field's name, and so does a value that is not of the
    kind that the field is annotated with.  Where a field may be of several dataclasses, it is of the one that has just
    the keys given, else of the first.
    """
    where = where or cls.__name__
    if not isinstance(section, Mapping):
        raise ValueError(f"{where} is {_shown(section)}; expected fields by name")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(section) - set(fields))
    if unknown:
        raise ValueError(f"{where} has no field {unknown[0]!r}; known fields: {', '.join(sorted(fields))}")
    values = {}
    for name, value in section.items():
        if isinstance(value, float) and math.isinf(value) and value != fields[name].default:
            raise ValueError(f"{where}.{name} is {value}; expected a finite number")
        values[name] = _of_kind(value, fields[name].type, f"{where}.{name}")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        said = str(error)
        raise ValueError(said if said.startswith(where) else f"{where}: {said}") from None


_KINDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


def _of_kind(value: Any, kind: Any, where: str) -> Any:
    """The value as a field with the annotation `kind` holds it."""
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    sections = [one for one in choices if isinstance(one, type) and dataclasses.is_dataclass(one)]
    if sections and isinstance(value, Mapping):
        exact = [one for one in sections if {field.name for field in dataclasses.fields(one)} == set(value)]
        return from_config_dict((exact or sections)[0], value, where=where)
    for one in choices:
        origin, inner = typing.get_origin(one), typing.get_args(one)
        if origin is tuple and isinstance(value, list | tuple):
            if inner[-1] is not ... and len(inner) != len(value):
                raise ValueError(f"{where} is {_shown(value)}; expected {len(inner)} values")
            each = inner[:1] * len(value) if inner[-1] is ... else inner
            pairs = enumerate(zip(value, each, strict=True))
            return tuple(_of_kind(item, own, f"{where}[{i}]") for i, (item, own) in pairs)
        if isinstance(value, Mapping) and origin is not None and _fits(value, origin):
            return {name: _of_kind(item, inner[1], f"{where}.{name}") for name, item in value.items()}
        if _fits(value, origin or one):
            return tuple(value) if isinstance(value, list) else float(value) if one is float else value
    raise ValueError(f"{where} is {_shown(value)}; expected {' or '.join(dict.fromkeys(map(_kind_name, choices)))}")


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind in (int, float):
        is_number = isinstance(value, int | kind) and not isinstance(value, bool)
        return is_number and not math.isnan(value)
    return isinstance(value, kind)


def _kind_name(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin in (tuple, list):
        return "a list"
    if dataclasses.is_dataclass(origin) or origin in (dict, collections.abc.Mapping):
        return "fields by name"
    return _KINDS.get(origin, "nothing" if origin is types.NoneType else str(origin))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `from_config_dict`, ready for JSON."""
    return dataclasses.asdict(config)
