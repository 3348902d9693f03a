"""What a compiled program moves, read from its text: bytes of memory, and collectives between devices.

The text is that of one device.  What lies in the body of a loop counts as often as the loop runs, where the compiler
knows how often; its own cost analysis counts a body once.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence

_BYTES = {"pred": 1, "s4": 1, "u4": 1, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2, "u16": 2, "f16": 2}
_BYTES |= {"bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d(?:fn)?)?)\[([\d,]*)\](?:\{([^}]*)\})?")
_ON_CHIP = "S(1)"  # of a layout: the array lies in a TPU core's own memory
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NAMES = re.compile(r"%([\w.\-]+)")

# Custom calls of the compiler itself, which compute nothing.
_BOOKKEEPING = ("AllocateBuffer", "ConcatBitcast")
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# What moves nothing: names for what is there, and calls whose bodies are counted.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
    *("opt-barrier", "partition-id", "replica-id", "iota", "add-dependency"),
}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program: its name, what it makes, what it is, and the rest."""

    name: str
    type: str
    opcode: str
    rest: str

    @property
    def bytes(self) -> int:
        return bytes_of(self.type)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices: its kind, what each device holds after it, and how often it runs."""

    kind: str
    type: str
    times: int

    @property
    def bytes(self) -> int:
        return bytes_of(self.type) * self.times


@dataclasses.dataclass(frozen=True)
class Program:
    """What one run of a program moves.

    Attributes:
      traffic: bytes that all instructions read from the device's memory and write to it; what happens to stay in its
        caches is counted too.
      collectives: all of them.
      kernels: custom calls, as those of Pallas, by target.
    """

    traffic: int
    collectives: tuple[Collective, ...]
    kernels: dict[str, int]


def bytes_of(type_: str) -> int:
    """Bytes of all arrays in a type, as `bf16[8,1280]{1,0}` or a tuple of such."""
    return _bytes(_ARRAY.findall(type_))


def _bytes(arrays: Sequence[tuple[str, str, str]]) -> int:
    total = 0
    for kind, dimensions, _ in arrays:
        size = _BYTES.get(kind, 0)
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension)
        total += size
    return total


def read(text: str) -> Program:
    """The program of a compiled executable's `as_text()`."""
    computations, entry = _computations(text)
    traffic, collectives, kernels = 0, [], {}
    for name, times in _times(computations, entry).items():
        made = {one.name: one for one in computations[name]}
        for one in computations[name]:
            kind = one.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                collectives.append(Collective(kind, _result(one), times))
            target = re.search(r'custom_call_target="([^"]+)"', one.rest) if one.opcode == "custom-call" else None
            if target and target[1] not in _BOOKKEEPING:
                kernels[target[1]] = kernels.get(target[1], 0) + times
            traffic += times * _moved(one, made, computations)
    return Program(traffic, tuple(collectives), kernels)


def _moved(one: Instruction, made: dict[str, Instruction], computations: dict[str, list[Instruction]]) -> int:
    """Bytes of memory that an instruction reads and writes; of what it only cuts from or writes into, that part."""
    operands = [made[name] for name in _operands(one) if name in made]
    if one.opcode == "copy-start":  # (what is copied to, what from, ...)
        return _in_memory(" ".join(found[0] for found in list(_ARRAY.finditer(one.type))[:2]))
    if one.opcode in _FREE or one.opcode.endswith(("-start", "-done")):
        return 0
    if one.opcode == "dynamic-slice":
        return 2 * _in_memory(one.type)
    if one.opcode == "dynamic-update-slice":
        return 2 * sum(_in_memory(part.type) for part in operands[1:2])
    if one.opcode != "fusion" or not (called := _CALLED.search(one.rest)):
        return _in_memory(one.type) + sum(_in_memory(operand.type) for operand in operands)
    inner = computations.get(called[1], [])
    parameters = {
        int(number[1]): part.name
        for part in inner
        if part.opcode == "parameter" and (number := re.match(r"(\d+)\)", part.rest))
    }
    by_name = {part.name: part for part in inner}
    total = 0
    for place, operand in enumerate(operands):
        users = [part for part in inner if parameters.get(place) in _operands(part)]
        if users and all(part.opcode == "dynamic-slice" for part in users) and _in_memory(operand.type):
            total += sum(part.bytes for part in users)
        elif not any(_is_target(part, parameters.get(place)) for part in users):
            total += _in_memory(operand.type)
    written = [part for part in inner if part.opcode == "dynamic-update-slice"]
    if written and _in_memory(one.type):
        return total + sum(by_name[name].bytes for part in written for name in _operands(part)[1:2] if name in by_name)
    return total + _in_memory(one.type)


def _is_target(part: Instruction, name: str | None) -> bool:
    """Whether an instruction writes into the array of a name, which so is not read."""
    return part.opcode == "dynamic-update-slice" and _operands(part)[:1] == [name]


def _operands(one: Instruction) -> list[str]:
    return _NAMES.findall(one.rest.partition(")")[0])


def _in_memory(type_: str) -> int:
    return _bytes([found for found in _ARRAY.findall(type_) if _ON_CHIP not in found[2]])


def _result(one: Instruction) -> str:
    """What a collective gives; one that is only begun is of the type (what it was given, what it gives, ...)."""
    arrays = [found[0] for found in _ARRAY.finditer(one.type)]
    return arrays[1] if one.opcode.endswith("-start") and len(arrays) > 1 else one.type


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    found: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            current.append(Instruction(*match.groups()))
    return found, entry


def _times(computations: dict[str, list[Instruction]], entry: str) -> dict[str, int]:
    """How often each computation runs whose instructions touch memory; those inside of fusions do not."""
    total: dict[str, int] = {}
    waiting = [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        total[name] = total.get(name, 0) + times
        for one in computations[name]:
            trips = _trips(one, computations) if one.opcode == "while" else 1
            waiting += [(called, times * trips) for called in _called(one) if called in computations]
    return total


def _trips(loop: Instruction, computations: dict[str, list[Instruction]]) -> int:
    """How often a loop runs: as the compiler says, else the number that its condition counts to, else once."""
    if known := _TRIPS.search(loop.rest):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    limits = [
        int(number[1])
        for one in computations.get(condition[1] if condition else "", ())
        if one.opcode == "constant" and (number := re.match(r"(\d+)\)", one.rest))
    ]
    return max(limits, default=1)


def _called(one: Instruction) -> Iterator[str]:
    if one.opcode in ("while", "call", "conditional", "async-start"):
        yield from _CALLED.findall(one.rest)
        for branches in _BRANCHES.findall(one.rest):
            yield from _NAMES.findall(branches)
