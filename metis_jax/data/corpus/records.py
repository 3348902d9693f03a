"""One training record, and its bytes: a msgpack map whose audio stays compressed.

A record carries one recording (FLAC, Ogg or MP3 bytes as they came), what is known about it, and named arrays
(`ARRAYS`) that other commands add, such as `ssl_tokens` [t].  Decoding can not run code and names what is wrong with
bad bytes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from metis_jax.weights.identity import ENCODERS

VERSION = 1
RECORD_KINDS = ("speech", "noise", "rir", "video", "demo")

# The arrays that pipelines know: trailing shape (None for a free width) and the kind of number.
ARRAYS: dict[str, tuple[tuple[int | None, ...], str]] = {
    "ssl_tokens": ((), "integer"),
    "acoustic_tokens": ((None,), "integer"),
    "degraded_acoustic_tokens": ((None,), "integer"),  # of a degraded version of the recording
    "ssl_features": ((None,), "float"),
    "phones": ((), "integer"),
    "phone_bounds": ((), "float"),  # seconds at which each phone begins, and at which the last one ends
    "visual_features": ((None,), "float"),
    "mouth_crops": ((None, None), "integer"),  # grey pictures, 25 a second
}


class RecordError(ValueError):
    """Bytes that are no record, or a record whose fields do not hold together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One recording and what is known about it.

    Attributes:
      id: unique within a corpus.
      audio: the compressed file, read by libsndfile.  May be empty in shards that carry tokens only.
      seconds: duration; `samples` is the exact length at `sample_rate`.
      kind: one of `RECORD_KINDS`.
      license: as stated by the source, kept to the letter so that a selection can leave it out.
      held_out: the corpus itself keeps this record for evaluation.
      condition: "" for a clean recording, or what the source says was done to it ("noisy").
      source_audio: for voice conversion, the same words in another timbre, where some other system made them.
      arrays: see the module docstring.
      encoders: {component: identity of the weights that made arrays} (`weights/identity.py`).
    """

    id: str
    audio: bytes
    sample_rate: int
    samples: int
    kind: str = "speech"
    text: str = ""
    speaker: str = ""
    language: str = ""
    license: str = ""
    source: str = ""
    held_out: bool = False
    condition: str = ""
    source_audio: bytes = b""
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    encoders: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.id:
            raise RecordError("record without an id")
        if self.kind not in RECORD_KINDS:
            raise RecordError(f"record {self.id!r}: kind is {self.kind!r}; use one of {', '.join(RECORD_KINDS)}")
        if self.sample_rate <= 0 or self.samples <= 0:
            raise RecordError(
                f"record {self.id!r}: sample_rate {self.sample_rate} and samples {self.samples} must be positive"
            )
        for name, array in self.arrays.items():
            _check_array(self.id, name, array)
        for name, identity in self.encoders.items():
            if name not in ENCODERS or not isinstance(identity, str):
                raise RecordError(f"record {self.id!r}: encoders has {name!r}: {identity!r}")

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate


_FIELD_TYPES = {field.name: field.type for field in dataclasses.fields(Record) if field.type in (str, bytes, int, bool)}


def _check_array(identity: str, name: str, array: np.ndarray) -> None:
    if name not in ARRAYS:
        raise RecordError(f"record {identity!r}: array {name!r} is unknown; known are {', '.join(ARRAYS)}")
    trailing, number = ARRAYS[name]
    kinds = "ui" if number == "integer" else "f"
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds or array.ndim != 1 + len(trailing):
        found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise RecordError(
            f"record {identity!r}: array {name} is {found}; expected {number} with {1 + len(trailing)} axes"
        )


def encode_record(record: Record) -> bytes:
    """The bytes of a record; equal records give equal bytes."""
    fields: dict[str, Any] = {name: getattr(record, name) for name in _FIELD_TYPES}
    fields["arrays"] = {
        name: [array.dtype.newbyteorder("<").str, list(array.shape), np.ascontiguousarray(array).tobytes()]
        for name, array in sorted(record.arrays.items())
    }
    fields["encoders"] = dict(sorted(record.encoders.items()))
    return msgpack.packb({"version": VERSION, **fields}, use_bin_type=True)


def decode_record(data: bytes) -> Record:
    """The record in `data`; `RecordError` if it holds none."""
    try:
        fields = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises a dozen unrelated types on bad bytes
        raise RecordError(f"{len(data)} bytes that are not a record: {type(error).__name__}: {error}") from error
    if not isinstance(fields, dict) or "version" not in fields:
        raise RecordError(f"{len(data)} bytes that are not a record: no version")
    version = fields.pop("version")
    if version != VERSION:
        raise RecordError(f"record of version {version!r}; this program reads version {VERSION}")
    unknown = set(fields) - {field.name for field in dataclasses.fields(Record)}
    if unknown:
        raise RecordError(f"record {fields.get('id')!r}: unknown fields {sorted(unknown)}")
    missing = {"id", "audio", "sample_rate", "samples"} - set(fields)
    if missing:
        raise RecordError(f"record {fields.get('id')!r}: missing fields {sorted(missing)}")
    packed, encoders = fields.pop("arrays", {}), fields.pop("encoders", {})
    if not isinstance(encoders, dict):
        raise RecordError(f"record {fields['id']!r}: field encoders is a {type(encoders).__name__}, not dict")
    for name, value in fields.items():
        kind = _FIELD_TYPES[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RecordError(f"record {fields['id']!r}: field {name} is a {type(value).__name__}, not {kind.__name__}")
    try:
        arrays = {
            name: np.frombuffer(buffer, dtype=np.dtype(dtype)).reshape(shape)
            for name, (dtype, shape, buffer) in packed.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordError(f"record {fields['id']!r}: broken arrays: {error}") from error
    return Record(**fields, arrays=arrays, encoders=encoders)
