"""What a run would cost on given devices, from its compiled step: memory, a roofline, hours; and the best of several.

The roofline is a bound, not a measurement: arithmetic, memory and links each at their makers' peak, the slowest alone.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax

from metis_jax.clock import FRAME_RATE
from metis_jax.scaling.hlo import Collective, arrays_of, bytes_of
from metis_jax.scaling.program import Compiled, DoesNotFit, compile_step
from metis_jax.scaling.topologies import Chip
from metis_jax.sharding import MeshConfig, make_mesh
from metis_jax.training.config import TrainConfig

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Plan:
    """A compiled step on a mesh of `devices` chips."""

    mesh: MeshConfig
    devices: int
    chip: Chip
    compiled: Compiled

    @property
    def memory(self) -> int:
        """Bytes of one device."""
        return self.compiled.state + self.compiled.batch + self.compiled.temporary

    @property
    def fits(self) -> bool:
        return self.memory <= self.chip.memory

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, for each of the four that may hold it up."""
        collectives = self.compiled.program.collectives
        return {
            "arithmetic": self.compiled.executed / self.devices / self.chip.flops,
            "memory": self.compiled.program.traffic / self.chip.bandwidth,
            "links": sum(one.moved - one.networked for one in collectives) / self.chip.links,
            "network": sum(one.networked for one in collectives) / self.chip.network,
        }

    @property
    def step_seconds(self) -> float:
        return max(self.seconds.values())

    @property
    def mfu(self) -> float:
        """The largest share of the devices' arithmetic that can go into the model."""
        return self.compiled.flops / self.devices / self.chip.flops / self.step_seconds

    def hours(self, steps: int) -> float:
        """Of a run of so many steps."""
        return steps * self.step_seconds / 3600


def make_plan(config: TrainConfig, devices: Sequence[jax.Device], chip: Chip, mesh: MeshConfig, bucket: int) -> Plan:
    """The plan of one mesh; ValueError where the mesh does not fit the devices, or the step their memory.

    The compiler for GPUs says nothing of memory: their plans may not fit either (`check_fits`).
    """
    sizes = MeshConfig(**make_mesh(mesh, devices).shape)  # without a -1
    try:
        return Plan(sizes, len(devices), chip, compile_step(config, devices, sizes, bucket, memory=chip.memory))
    except DoesNotFit as error:
        raise ValueError(misfit(sizes, chip, config, error.state, error.needed)) from error


def meshes(devices: int, *, most_tensor: int = 4) -> Iterator[MeshConfig]:
    """Meshes that are worth a try: parameters over all devices or over some, and little or no splitting of layers."""
    for tensor in (size for size in (1, 2, 4) if size <= most_tensor and devices % size == 0):
        rest = devices // tensor
        for fsdp in sorted({rest, *(size for size in (1, 8, 16, 32, 64) if size < rest and rest % size == 0)}):
            yield MeshConfig(data=rest // fsdp, fsdp=fsdp, tensor=tensor)


def lines(plan: Plan, config: TrainConfig, hours_of_audio: float) -> Iterator[str]:
    """What a plan says, for people."""
    compiled, chip = plan.compiled, plan.chip
    mesh = plan.mesh
    yield f"mesh data={mesh.data} fsdp={mesh.fsdp} tensor={mesh.tensor}: {plan.devices} devices"
    trained, frozen = compiled.parameters
    yield f"  parameters   {trained / 1e6:.1f}M trained, {frozen / 1e6:.1f}M frozen"
    yield f"  batch        {compiled.frames} frames, {compiled.frames / FRAME_RATE:.0f} s of audio a step"
    parts = (
        f"state {compiled.state / GIB:.2f}, batch {compiled.batch / GIB:.2f}, temporary {compiled.temporary / GIB:.2f}"
    )
    verdict = "fits" if plan.fits else "DOES NOT FIT"
    yield f"  memory       {plan.memory / GIB:.2f} of {chip.memory / GIB:.0f} GiB a device ({parts}): {verdict}"
    model, executed = (flops / plan.devices / 1e12 for flops in (compiled.flops, compiled.executed))
    yield f"  arithmetic   {model:.2f} TFLOP of the model a device and step, {executed:.2f} executed"
    yield f"  traffic      {compiled.program.traffic / 1e9:.1f} GB of memory a device and step, at most"
    for kind, group in _by_kind(compiled).items():
        number, size = sum(one.times for one in group), sum(one.bytes for one in group)
        largest = max((array for one in group for array in arrays_of(one.type)), key=bytes_of)
        yield f"  {kind:12} {number} a step, {size / 1e9:.2f} GB a device, at once at most {largest}"
    kernels = ", ".join(f"{count} {name}" for name, count in sorted(compiled.program.kernels.items())) or "none"
    yield f"  kernels      {kernels}"
    if compiled.program.cycles:
        yield f"  cycles       {compiled.program.cycles / 1e6:.0f} million a step, kernels and exchanges apart"
    held_up = ", ".join(f"{name} {seconds:.4f}" for name, seconds in plan.seconds.items() if seconds)
    yield f"  roofline     {plan.step_seconds:.4f} s a step ({held_up}): MFU at most {plan.mfu:.2f}"
    whole = plan.hours(config.steps)
    yield f"  the run      {config.steps} steps: at least {whole:.1f} hours, {whole * plan.devices:.0f} device-hours"
    if hours_of_audio:
        steps = hours_of_audio * 3600 * FRAME_RATE / compiled.frames
        once = plan.hours(round(steps))
        yield f"  the data     {hours_of_audio:.0f} hours once: {steps:.0f} steps, at least {once:.1f} hours"


def _by_kind(compiled: Compiled) -> dict[str, list[Collective]]:
    found: dict[str, list[Collective]] = {}
    for one in sorted(compiled.program.collectives, key=lambda one: one.kind):
        found.setdefault(one.kind, []).append(one)
    return found


def check_fits(plan: Plan, config: TrainConfig) -> None:
    """ValueError for a plan that does not fit, with what would."""
    if not plan.fits:
        raise ValueError(misfit(plan.mesh, plan.chip, config, plan.compiled.state, plan.memory))


def misfit(mesh: MeshConfig, chip: Chip, config: TrainConfig, state: int, needed: int | float) -> str:
    """That a step does not fit, and what would: of `needed` bytes of a device its state takes `state`."""
    devices = mesh.data * mesh.fsdp * mesh.tensor
    free = chip.memory - state
    if free > chip.memory / 4:
        tokens = max(1, int(config.tokens_per_device * free / (needed - state)))
        advice = f"lower config.tokens_per_device from {config.tokens_per_device} to {tokens} or less"
        if config.model.get("policy", {}).get("remat", "full") != "full":
            advice += ", or set config.model.policy.remat=full"
    elif (parts := 2 ** math.ceil(math.log2(2 * mesh.fsdp * state / chip.memory))) * mesh.tensor <= devices:
        advice = f"split parameters over more devices, config.mesh.fsdp={parts} or more"
    else:
        advice = f"take {parts * mesh.tensor} devices or more, and split parameters over all of them (config.mesh.fsdp)"
    size = f"{needed / GIB:.1f}" if needed < math.inf else f"over {max(state, chip.memory) / GIB:.1f}"
    return (
        f"mesh (data, fsdp, tensor) = {(mesh.data, mesh.fsdp, mesh.tensor)}: a step needs {size} of "
        f"{chip.memory / GIB:.0f} GiB a device, {state / GIB:.1f} of it for its state; {advice}"
    )
