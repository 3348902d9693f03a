"""Which weights made tokens or lip features, so that those of one encoder are never taken for those of another.

An identity is a hash of what an encoder computes with.  It travels with what it made (`Record.encoders`) and with what
learned from them (a bundle says it of its generators), and is checked wherever two of them meet.  "" or nothing is
unknown, and fits everything: shards and bundles made by other means say nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

# Component: what is made with it.
ENCODERS = {
    "ssl_encoder": ("ssl_tokens", "ssl_features"),
    "semantic_codec": ("ssl_tokens",),
    "acoustic_codec": ("acoustic_tokens", "degraded_acoustic_tokens"),
    "visual_encoder": ("visual_features",),
}
# A decoder can be trained further without changing a token; windows and unread tensors change none either.
_LEFT_OUT = ("params/decoder/", "buffers/", "unused/")


class OtherEncoder(ValueError):
    """Two things that should be of one encoder are not; names both and the encoder."""


class Identity:
    """The identity of an encoder whose tensors pass one by one, in any order."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []

    def add(self, path: str, array: np.ndarray) -> None:
        """Notes a tensor.  Half precision: the same encoder stored as float16 or float32 is the same."""
        if path.startswith(_LEFT_OUT):
            return
        digest = hashlib.blake2b(f"{path} {array.shape} ".encode(), digest_size=16)
        with np.errstate(over="ignore"):
            digest.update(np.ascontiguousarray(array, np.float16).tobytes())
        self._digests.append(digest.digest())

    def __str__(self) -> str:
        return hashlib.blake2b(b"".join(sorted(self._digests)), digest_size=8).hexdigest()


def identity(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """The identity of an encoder of these (path joined by "/", array)."""
    found = Identity()
    for path, array in tensors:
        found.add(path, array)
    return str(found)


def joined(known: Mapping[str, str], more: Mapping[str, str], what: str, where: str) -> dict[str, str]:
    """Both, where they agree; `OtherEncoder` says that those of `what` are not those of `where`."""
    for name in ENCODERS:
        one, other = known.get(name), more.get(name)
        if one and other and one != other:
            raise OtherEncoder(
                f"{where} and {what} are of two {name}s, {one} and {other}, whose outputs mean different things; "
                "take both of one"
            )
    return {name: more.get(name) or known.get(name, "") for name in ENCODERS if more.get(name) or known.get(name)}
