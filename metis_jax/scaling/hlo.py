"""What a compiled program moves, read from its text: bytes of memory, and collectives between devices.

The text is that of one device.  What lies in the body of a loop counts as often as the loop runs, where the compiler
knows how often; its own cost analysis counts a body once.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

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
_UNKNOWN = 2**62  # cycles; the compiler writes the largest number that it has
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_MESH_GROUPS = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')

# Custom calls of the compiler itself, which compute nothing.
_BOOKKEEPING = ("AllocateBuffer", "ConcatBitcast")
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BETWEEN_SLICES = " between slices"  # of the kind of an exchange over the network of a data centre
_SUM_CUT_APART = "all-reduce-scatter"  # of a TPU's fusion of a sum with the cut of what the device keeps
_CUTS = ("dynamic-slice", "slice", "gather")
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


_Computations = dict[str, list[Instruction]]


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
      kind: its operation.
      type: what a device holds after it; of a sum that is cut apart, before it.
      times: how often it runs.
      together: devices of a group that its own links join, where others are reached over the network; 0 where none is.
    """

    kind: str
    type: str
    times: int
    together: int = 0

    @property
    def bytes(self) -> int:
        return bytes_of(self.type) * self.times

    @property
    def moved(self) -> int:
        """Bytes that a device sends at most: a sum for all is a sum cut apart, and then gathered."""
        return self.bytes * (2 if self.kind.startswith("all-reduce") else 1)

    @property
    def networked(self) -> int:
        """Bytes of these that go over the network: devices with links share what all of them are to get."""
        return self.moved // self.together if self.together else 0


@dataclasses.dataclass(frozen=True)
class Program:
    """What one run of a program moves.

    Attributes:
      traffic: bytes that all instructions read from the device's memory and write to it; what happens to stay in its
        caches is counted too.
      collectives: all of them.
      kernels: custom calls, as those of Pallas, by target.
      cycles: of the device's clock, which a TPU's compiler expects for everything but kernels and exchanges.
    """

    traffic: int
    collectives: tuple[Collective, ...]
    kernels: dict[str, int]
    cycles: int


def bytes_of(type_: str) -> int:
    """Bytes of all arrays in a type, as `bf16[8,1280]{1,0}` or a tuple of such."""
    return _bytes(_ARRAY.findall(type_))


def arrays_of(type_: str) -> list[str]:
    """The arrays in a type, without their layouts: `bf16[8,1280]`."""
    return [f"{kind}[{dimensions}]" for kind, dimensions, _ in _ARRAY.findall(type_)]


def _bytes(arrays: Sequence[tuple[str, str, str]]) -> int:
    total = 0
    for kind, dimensions, _ in arrays:
        size = _BYTES.get(kind, 0)
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension)
        total += size
    return total


def read(text: str, places: Sequence[int] = ()) -> Program:
    """The program of a compiled executable's `as_text()`; `places` is the slice or host of every device."""
    computations, entry = _computations(text)
    traffic, collectives, kernels, cycles = 0, [], {}, 0
    for name, times in _times(computations, entry).items():
        made = {one.name: one for one in computations[name]}
        for one in computations[name]:
            target = re.search(r'custom_call_target="([^"]+)"', one.rest) if one.opcode == "custom-call" else None
            if target and target[1] not in _BOOKKEEPING:
                kernels[target[1]] = kernels.get(target[1], 0) + times
            traffic += times * _moved(one, made, computations)
            cycles += times * sum(int(count) for count in _CYCLES.findall(one.rest) if int(count) < _UNKNOWN)
        for kind, one, given in _exchanges(name, computations):
            result = _result(one)
            held = given if kind == "reduce-scatter" else result
            collectives.append(Collective(kind, held, times, _together(kind, one, places)))
            traffic += times * (_in_memory(given) + _in_memory(result))
    return Program(traffic, tuple(collectives), kernels, cycles)


def _exchanges(name: str, computations: _Computations) -> Iterator[tuple[str, Instruction, str]]:
    """(kind, instruction, type of what it is given) of the exchanges of a computation and of the fusions in it.

    A TPU's compiler spreads an exchange over several fusions, to multiply meanwhile; by its channel it is still one.
    """
    seen, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        inner = computations[name]
        made = {one.name: one for one in inner}
        for one in inner:
            if one.opcode == "fusion":
                waiting += [called for called in _CALLED.findall(one.rest) if called in computations]
            kind = _kind(one)
            channel = _CHANNEL.search(one.rest)
            if kind and not (channel and channel[1] in seen):
                seen |= {channel[1]} if channel else set()
                given = " ".join(made[operand].type for operand in _operands(one) if operand in made)
                kind = "reduce-scatter" if name.startswith(_SUM_CUT_APART) else kind
                yield kind, one, given


def _kind(one: Instruction) -> str:
    """Of an exchange between devices; empty for all other instructions."""
    kind = one.opcode.removesuffix("-start")
    if kind == "send" and (found := _BETWEEN_SLICES.search(one.rest)):
        return found[1].lower().replace("_", "-") + BETWEEN_SLICES
    return kind if kind in COLLECTIVES else ""


def _together(kind: str, one: Instruction, places: Sequence[int]) -> int:
    """`Collective.together`."""
    if kind.endswith(BETWEEN_SLICES):
        return 1
    group = [places[device] for device in next(iter(groups(one.rest)), ())] if places else []
    return min(map(group.count, group)) if len(set(group)) > 1 else 0


def groups(text: str) -> list[list[int]]:
    """The devices that exchange with each other, from the attributes of an instruction; none where it names no groups.

    They are listed, `{{0,1},{2,3}}`, or axes of an array of all: `[2,4]<=[4,2]T(1,0)`, whose rows are groups, or
    `mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}`, with groups along b.
    """
    if found := re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", text):
        return [[int(number) for number in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", found[1])]
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        return _ordered(found[2], found[3]).reshape(_numbers(found[1])).tolist()
    if found := _MESH_GROUPS.search(text):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        devices = _ordered(found[2] or str(math.prod(sizes.values())), found[3]).reshape(tuple(sizes.values()))
        along = [list(sizes).index(name) for name in re.findall(r"'(\w+)'", found[4])]
        count = math.prod(devices.shape[axis] for axis in along)
        return np.moveaxis(devices, along, range(-len(along), 0)).reshape(-1, count).tolist()
    return []


def _ordered(shape: str, axes: str | None) -> np.ndarray:
    """The devices' numbers as an array of a shape, with its axes in another order."""
    sizes = _numbers(shape)
    return np.arange(math.prod(sizes)).reshape(sizes).transpose(_numbers(axes) if axes else None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _moved(one: Instruction, made: dict[str, Instruction], computations: _Computations) -> int:
    """Bytes of memory that an instruction reads and writes; of what it only cuts from or writes into, that part."""
    operands = [made[name] for name in _operands(one) if name in made]
    if one.opcode == "copy-start":  # (what is copied to, what from, ...)
        return _in_memory(" ".join(found[0] for found in list(_ARRAY.finditer(one.type))[:2]))
    if one.opcode in _FREE or _kind(one) or one.opcode.endswith(("-start", "-done")):
        return 0
    if one.opcode in _CUTS:
        return 2 * _in_memory(one.type)
    if one.opcode == "dynamic-update-slice":
        return 2 * sum(_in_memory(part.type) for part in operands[1:2])
    if one.opcode != "fusion" or not (inner := _inner(one, computations)):
        return _in_memory(one.type) + sum(_in_memory(operand.type) for operand in operands)
    read = sum(
        min(_in_memory(operand.type), _taken(parameter, inner, computations))
        for operand, parameter in zip(operands, _parameters(inner), strict=True)
    )
    results = [_in_memory(array[0]) for array in _ARRAY.finditer(one.type)]
    written = _given(inner[-1], inner, computations)
    return read + sum(min(pair) for pair in zip(results, written, strict=True))


def _inner(fusion: Instruction, computations: _Computations) -> list[Instruction]:
    called = _CALLED.search(fusion.rest)
    return computations.get(called[1], []) if called else []


def _parameters(inner: list[Instruction]) -> list[Instruction]:
    """Of a computation, in their order."""
    return sorted((one for one in inner if one.opcode == "parameter"), key=lambda one: int(one.rest.partition(")")[0]))


def _taken(array: Instruction, inner: list[Instruction], computations: _Computations) -> int:
    """How many bytes of an array the instructions of its computation read."""
    total = 0
    for user in inner:
        places = [place for place, name in enumerate(_operands(user)) if name == array.name]
        if not places or user.opcode == "tuple" or _kind(user):  # handed on, or counted as an exchange
            continue
        if user.opcode in _CUTS:
            total += user.bytes
        elif user.opcode == "bitcast":
            total += _taken(user, inner, computations)
        elif user.opcode == "fusion" and (called := _inner(user, computations)):
            parameters = _parameters(called)
            total += sum(_taken(parameters[place], called, computations) for place in places)
        elif user.opcode != "dynamic-update-slice" or places != [0]:
            total += array.bytes
    return total


def _given(root: Instruction, inner: list[Instruction], computations: _Computations) -> list[int]:
    """How many bytes of each array of a computation's result are written by it."""
    made = {one.name: one for one in inner}
    if root.opcode == "tuple":
        return [size for name in _operands(root) for size in _given(made[name], inner, computations)]
    if root.opcode == "bitcast":
        return _given(made[_operands(root)[0]], inner, computations)
    if root.opcode == "fusion" and (called := _inner(root, computations)):
        return _given(called[-1], called, computations)
    if root.opcode == "dynamic-update-slice":
        return [made[_operands(root)[1]].bytes]
    arrays = [_bytes([found]) for found in _ARRAY.findall(root.type)]
    # What was there before, or comes from another device, is not written here.
    return [0] * len(arrays) if root.opcode == "parameter" or _kind(root) else arrays


def _operands(one: Instruction) -> list[str]:
    return _NAMES.findall(one.rest.partition(")")[0])


def _in_memory(type_: str) -> int:
    return _bytes([found for found in _ARRAY.findall(type_) if _ON_CHIP not in found[2]])


def _result(one: Instruction) -> str:
    """What an exchange gives; one that is only begun is of the type (what it was given, what it gives, ...)."""
    if one.opcode not in ("all-gather-start", "reduce-scatter-start", "collective-permute-start", "send"):
        return one.type
    arrays = [found[0] for found in _ARRAY.finditer(one.type)]
    if one.opcode == "send":
        return arrays[0]
    count = len(_operands(one))
    return " ".join(arrays[count : 2 * count])


def _computations(text: str) -> tuple[_Computations, str]:
    found: _Computations = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            current.append(Instruction(*match.groups()))
    return found, entry


def _times(computations: _Computations, entry: str) -> dict[str, int]:
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


def _trips(loop: Instruction, computations: _Computations) -> int:
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
