"""The training loop: feed, step, and everything that happens every so often.

The host never waits for the step it has just started: the scalars of a step are read while the next one runs.  A loss
that is not finite ends the run, with the batch that made it saved and no checkpoint after it.
"""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from metis_jax.clock import FRAME_RATE
from metis_jax.data.batches.pipeline import Pipeline
from metis_jax.data.batches.plans import Share
from metis_jax.sharding import activate, feed, make_mesh, own_blocks, replicated
from metis_jax.training.config import TrainConfig
from metis_jax.training.metrics import ProgressBar, Writer
from metis_jax.training.preemption import StopRequest
from metis_jax.training.profile import Profile
from metis_jax.training.run import Run, check_rows, make_pipeline, pipeline_config, start_run
from metis_jax.training.state import all_params
from metis_jax.training.throughput import matrix_product_rate, step_flops, valid_share

log = logging.getLogger(__name__)

HostBatch = dict[str, np.ndarray]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def _shapes(batch: HostBatch) -> Shapes:
    return tuple(sorted((name, x.shape) for name, x in batch.items()))


class NonFiniteLoss(ValueError):
    """A loss or gradient that is not a number; the message says where the batch is."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended: after which step, and told by which signal, if any."""

    step: int
    stopped_by: str = ""


@dataclasses.dataclass
class _Pending:
    """A step whose scalars have not been read."""

    step: int
    metrics: Mapping[str, jax.Array]
    batch: HostBatch


class _Clock:
    """Times of a window of steps, what fraction of it the host waited for data, and the call's goodput.

    Goodput is the share of all time since the call began in which steps were computed: neither compiling, waiting for
    data, validating nor saving.
    """

    def __init__(self, now: Callable[[], float]):
        self._now = now
        self._begun, self._useful = now(), 0.0
        self.restart()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is no step's: compiling, validating, saving, measuring the device."""
        before = self._now()
        yield
        self.start += self._now() - before

    def restart(self) -> None:
        self.start, self.waiting, self.seconds, self.flops, self.steps = self._now(), 0.0, 0.0, 0.0, 0

    def wait(self, pipeline_next: Callable[[], HostBatch]) -> HostBatch:
        before = self._now()
        batch = pipeline_next()
        self.waiting += self._now() - before
        return batch

    def summary(self, peak: float) -> dict[str, float]:
        now = self._now()
        elapsed = max(now - self.start, 1e-9)
        self._useful += elapsed - self.waiting
        values = {
            "step_seconds": elapsed / max(self.steps, 1),
            "audio_seconds_per_second": self.seconds / elapsed,
            "data_wait_share": self.waiting / elapsed,
            "goodput": self._useful / max(now - self._begun, 1e-9),
        }
        if peak:
            values["mfu"] = self.flops / elapsed / peak
        return values


class Loop:
    """The state of one call of `train`; `run` is what outlives a step."""

    def __init__(
        self,
        run: Run,
        pipeline: Pipeline,
        validation: Pipeline | None,
        *,
        now: Callable[[], float] = time.perf_counter,
    ):
        config = run.config
        self.run, self.config, self.pipeline, self.validation = run, config, pipeline, validation
        self.is_chief = jax.process_index() == 0
        self.step = int(run.state.step)
        self.writer = Writer(run.workdir, self.step, is_active=self.is_chief)
        self.progress = ProgressBar(self.step, config.steps, is_active=self.is_chief)
        self.clock = _Clock(now)
        self.pending: collections.deque[_Pending] = collections.deque()
        self.last: dict[str, float] = {}
        # Placed once: the step may not move anything to the devices by itself.
        self.key = jax.jit(lambda: jax.random.key(config.seed + 1), out_shardings=replicated(run.mesh))()
        self._compiled: set[Shapes] = set()
        self._flops: dict[Shapes, float] = {}
        self._held_out: list[HostBatch] | None = None
        self._eval_step = run.eval_step()

    def train(self, profile: Profile | None = None) -> Outcome:
        run, config = self.run, self.config
        step_function = run.train_step()
        batches = self.pipeline.iterator()
        if run.data_state is not None:
            batches.set_state(run.data_state)
        elif self.step == 0:
            with activate(run.mesh):
                run.look_first(feed(batch, run.mesh) for batch in batches)
        saved = self.step if run.checkpoints.latest() == self.step else -1
        stop = StopRequest()
        try:
            with activate(run.mesh), stop, profile or contextlib.nullcontext():
                self.clock.restart()
                while self.step < config.steps and not stop.reached(self.step):
                    batch = self.clock.wait(lambda: next(batches))
                    fed = feed(batch, run.mesh)
                    with self._compiling(batch), jax.transfer_guard("disallow"):
                        run.state, metrics = step_function(run.state, run.frozen, fed, self.key)
                    self.step += 1
                    if profile is not None:
                        profile.step(metrics)
                    self.pending.append(_Pending(self.step, metrics, batch))
                    self.read(keep=1)
                    evaluates = self.validation is not None and self._is_due(config.eval_every)
                    shows = self._is_due(config.sample_every)
                    # The first look at held-out speech can fail; by then the run is saved.
                    looks_first = self._held_out is None and (evaluates or shows)
                    if self._is_due(config.checkpoint_every) or looks_first:
                        self.save(batches.get_state())
                        saved = self.step
                    if evaluates:
                        self.evaluate()
                    if shows:
                        self.show_samples()
                self.read(keep=0)
                if saved != self.step:
                    self.save(batches.get_state())
        finally:
            batches.close()
            self.progress.close()
            self.writer.close()
            run.checkpoints.close()
        return Outcome(self.step, stop.name)

    @contextlib.contextmanager
    def _compiling(self, batch: HostBatch) -> Iterator[None]:
        """Says so, and stops the clock, where the step is compiled for a batch of new shapes."""
        shapes = _shapes(batch)
        if shapes in self._compiled:
            yield
            return
        rows, seconds = len(batch["lengths"]), batch["lengths"].max() / FRAME_RATE
        log.info("compiling the step for batches of %d recordings of up to %.1f s", rows, seconds)
        self._compiled.add(shapes)
        with self.clock.paused():
            yield

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def read(self, *, keep: int) -> None:
        """Reads the scalars of all but the last `keep` steps, and checks every one of them."""
        while len(self.pending) > keep:
            pending = self.pending.popleft()
            values = {name: float(value) for name, value in jax.device_get(dict(pending.metrics)).items()}
            if not all(np.isfinite(value) for value in values.values()):
                self._stop_non_finite(pending, values)
            self.last = values
            self.progress.step()
            self._account(pending)
            if pending.step % self.config.log_every == 0 or pending.step == self.config.steps:
                self._log(pending.step, values)

    def _account(self, pending: _Pending) -> None:
        clock, batch = self.clock, pending.batch
        clock.steps += 1
        clock.seconds += self.run.trainer.seconds(batch) / self.pipeline.share.fraction
        shapes = _shapes(batch)
        if shapes not in self._flops:
            run = self.run
            rows = round(len(batch["lengths"]) / self.pipeline.share.fraction)
            whole = {name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for name, x in batch.items()}
            with clock.paused():
                self._flops[shapes] = step_flops(run.trainer, run.layout.trainable, run.frozen, whole)
        clock.flops += self._flops[shapes] * valid_share(batch)

    def _log(self, step: int, values: dict[str, float]) -> None:
        with self.clock.paused():
            rate = matrix_product_rate(self.run.trainer.policy.dtype)
        speed = self.clock.summary(rate * jax.device_count())
        skipped = {"bad_records_skipped": float(self.pipeline.guard.skipped)}
        self.writer.scalars(step, values | speed | skipped)
        shown = {"loss": f"{values['loss']:.4f}", "s/step": f"{speed['step_seconds']:.3f}"}
        shown |= {"audio s/s": f"{speed['audio_seconds_per_second']:.0f}", "mfu": f"{speed['mfu']:.1%}"}
        self.progress.show(**shown)
        log.info("step %d  %s", step, "  ".join(f"{name} {value}" for name, value in shown.items()))
        self.clock.restart()

    def _stop_non_finite(self, pending: _Pending, values: dict[str, float]) -> None:
        bad = sorted(name for name, value in values.items() if not np.isfinite(value))
        path = self.run.workdir / f"nonfinite_step_{pending.step}_process_{jax.process_index()}.npz"
        np.savez(path, **pending.batch)
        self.writer.scalars(pending.step, values)
        last = self.run.checkpoints.latest()
        raise NonFiniteLoss(
            f"step {pending.step}: {', '.join(bad)} not finite; the batch is in {path}, the last checkpoint is {last}"
        )

    def save(self, data_state: dict[str, Any]) -> None:
        """A checkpoint of the step just taken, once it is known to be sound."""
        self.read(keep=0)
        with self.clock.paused():
            self.run.checkpoints.save(self.step, self.run.state, data_state, self.run.about)

    def held_out(self) -> list[HostBatch]:
        """The same held-out batches every time; made once.  Without validation, of what is trained on."""
        if self._held_out is None:
            pipeline = self.validation or self.pipeline
            self._held_out = [pipeline[index] for index in range(self.config.eval_batches)]
        return self._held_out

    def evaluate(self) -> dict[str, float]:
        """Mean scalars over what the held-out batches hold, with masks that are the same every time."""
        self.read(keep=0)
        sums: collections.Counter[str] = collections.Counter()
        total = 0.0
        with self.clock.paused():
            for index, batch in enumerate(self.held_out()):
                fed = feed(batch, self.run.mesh)
                loss = self._eval_step(self.run.averaged, self.run.frozen, fed, np.int32(index))
                count, scalars = jax.device_get((loss.count, loss.scalars))
                sums.update({name: float(count * value) for name, value in scalars.items()})
                total += float(count)
        means = {name: value / max(total, 1.0) for name, value in sums.items()}
        self.writer.scalars(self.step, means, split="validation")
        log.info("step %d  validation loss %.4f", self.step, means["loss"])
        return means

    def show_samples(self) -> None:
        self.read(keep=0)
        with self.clock.paused():
            batch = feed(self.held_out()[0], self.run.mesh)
            samples = self.run.trainer.samples(all_params(self.run.averaged, self.run.frozen), batch, jax.random.key(0))
            self.writer.samples(self.step, samples)


def train(config: TrainConfig, workdir: pathlib.Path, profile: Profile | None = None) -> Outcome:
    """Runs until `config.steps`, a signal, or an error; the same call goes on where the last one was."""
    mesh = make_mesh(config.mesh)
    pipeline = make_pipeline(pipeline_config(config, workdir, mesh), Share(*own_blocks(mesh)))
    validation = pipeline.validation() if config.eval_every or config.sample_every else None
    run = start_run(config, workdir, pipeline.corpus.encoders)
    if int(run.state.step) >= config.steps:
        run.checkpoints.close()
        return Outcome(int(run.state.step))
    if run.data_state is not None:
        # On other devices these would be other batches than those the run began with.
        rows = run.data_state["rows"]
        check_rows(rows, config.accumulate, run.mesh)
        pipeline, validation = pipeline.with_rows(rows), validation and validation.with_rows(rows)
    return Loop(run, pipeline, validation).train(profile)
