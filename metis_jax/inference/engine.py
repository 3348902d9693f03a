"""The models of the chain on their devices, applied to lists of examples in batches of a few compiled shapes.

Everything takes and gives lists of numpy arrays without padding, one per example; an example's result does not depend
on the others.  Components are loaded from the bundle when they are first needed.  Over several devices a batch is split
by rows and the parameters are replicated.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.clock import CODEC_HOP, ssl_frames, ssl_samples
from metis_jax.config import SemanticGeneratorConfig
from metis_jax.decoding import generators
from metis_jax.decoding.masked_decode import Decoder, Sampling, make_schedule
from metis_jax.inference.buckets import PHONE_BUCKETS, bucket, plan_batches
from metis_jax.inference.durations import COMPONENT as DURATIONS
from metis_jax.inference.durations import Durations
from metis_jax.inference.jobs import AcousticJob, SemanticJob, StageSettings
from metis_jax.inference.traced import Traced
from metis_jax.layers.dense import merge_lora
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.components import make_model
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_features import AnySslEncoder, wave_features
from metis_jax.models.visual_encoder import VisualEncoder, standardized
from metis_jax.models.wave_encoder import code_frames
from metis_jax.sharding import MeshConfig, batch_parts, batch_sharding, make_mesh, replicated
from metis_jax.types import Array, Float, Int, Key, Policy, UInt8, Variables
from metis_jax.weights.bundle import Bundle
from metis_jax.weights.compatibility import CHAIN, check_generator, check_models
from metis_jax.weights.tensor_files import WeightsError

Progress = Callable[[int], None]

_semantic_steps, _acoustic_steps = map(Traced, (generators.semantic_steps, generators.acoustic_steps))


@Traced
def _ssl_features(
    model: AnySslEncoder, variables: Variables, wave: Float[Array, "b l"], samples: Int[Array, " b"]
) -> Float[Array, "b t c"]:
    return wave_features(model, variables, wave, samples)


@Traced
def _semantic_tokens(
    model: SemanticCodec, variables: Variables, features: Float[Array, "b t c"], lengths: Int[Array, " b"]
) -> Int[Array, "b t"]:
    return model.apply(variables, features, lengths, method="encode")


@Traced
def _acoustic_tokens(
    model: AcousticCodec, variables: Variables, wave: Float[Array, "b l"], samples: Int[Array, " b"]
) -> Int[Array, "b t q"]:
    return model.apply(variables, wave, samples, method="encode")[0]


@Traced
def _wave(
    model: AcousticCodec, variables: Variables, tokens: Int[Array, "b t q"], lengths: Int[Array, " b"]
) -> Float[Array, "b l"]:
    return model.apply(variables, tokens, lengths, method="decode")


@Traced
def _visual_features(
    model: VisualEncoder, variables: Variables, crops: UInt8[Array, "b t h w"], lengths: Int[Array, " b"]
) -> Float[Array, "b t c"]:
    return model.apply(variables, standardized(crops), lengths, train=False).astype(jnp.float32)


@jax.jit
def _keys_of(seeds: Int[Array, "b n"]) -> Key[Array, " b"]:
    keys = jax.vmap(jax.random.key)(seeds[:, 0])
    for column in seeds.T[1:]:
        keys = jax.vmap(jax.random.fold_in)(keys, column)
    return keys


class Engine:
    """A bundle's models, loaded on demand.

    Args:
      bundle: where they come from.
      policy: how SSL encoder and generators are executed; the codecs are float32 in any case.
      devices: one, or several to split batches over.
      rows: the largest batch per device.
    """

    def __init__(self, bundle: Bundle, *, policy: Policy, devices: Sequence[jax.Device], rows: int):
        self.bundle, self._policy = bundle, policy
        self._mesh = make_mesh(MeshConfig(), devices)
        self._rows = rows * len(devices)
        self._component = functools.cache(self._load_component)
        self._generator = functools.cache(self._load_generator)

    @property
    def num_levels(self) -> int:
        return self.bundle.components["acoustic_codec"].num_levels

    @property
    def decoding(self) -> Mapping[str, Any]:
        """Decoding settings that the bundle wants, where they are not the released."""
        return self.bundle.decoding

    @property
    def largest_batch(self) -> int:
        return self._rows

    def generator_config(self, task: str) -> SemanticGeneratorConfig:
        """Of the generator of a task, its adapter joined in."""
        self.require(task)
        return self.bundle.generator_config(task)

    def has_generator_of(self, task: str, other: str) -> bool:
        """Whether a task is served by the very generator, and adapter, of another one."""
        self.require(task)
        return self.bundle.tasks[task] == self.bundle.tasks.get(other)

    @functools.cached_property
    def durations(self) -> Durations | None:
        """The duration predictor, if the bundle has one."""
        return Durations(self.bundle) if DURATIONS in self.bundle.components else None

    def require(self, task: str) -> None:
        """Raises WeightsError unless the bundle has all that a task needs, and it fits together; reads no weights."""
        parts = self.bundle.serving(task)
        for name in filter(None, (parts.generator, parts.adapter)):
            self.bundle.file(name)
        check_models(self.bundle, CHAIN)
        check_generator(self.bundle, task, self.bundle.generator_config(task))

    def load(self, task: str) -> None:
        """Loads everything that a task needs, which otherwise happens at first use."""
        for name in CHAIN:
            self._component(name)
        self._generator(task)

    def ssl_features(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, "_ c"]]:
        """Normalised SSL features of 16 kHz waves."""
        model, variables = self._component("ssl_encoder")
        frames = [ssl_frames(len(wave)) for wave in waves]
        # Up to 159 samples after the last frame are seen by none, and may not fit into a bucket that is just full.
        waves = [wave[: ssl_samples(t)] for wave, t in zip(waves, frames, strict=True)]

        def run(members: list[int], t: int) -> Array:
            samples = self._put(np.array([len(waves[i]) for i in members], np.int32))
            return _ssl_features(model, variables, self._stack([waves[i] for i in members], ssl_samples(t)), samples)

        return self._in_batches(frames, run)

    def semantic_tokens(self, features: Sequence[Float[np.ndarray, "_ c"]]) -> list[Int[np.ndarray, " _"]]:
        """SSL tokens of SSL features."""
        return self._by_semantic_codec(_semantic_tokens, features)

    def _by_semantic_codec(
        self, function: Callable[..., Array], features: Sequence[Float[np.ndarray, "_ c"]]
    ) -> list[np.ndarray]:
        model, variables = self._component("semantic_codec")

        def run(members: list[int], t: int) -> Array:
            own = [features[i] for i in members]
            return function(model, variables, self._stack(own, t), self._lengths(own))

        return self._in_batches([len(x) for x in features], run)

    def acoustic_tokens(self, waves: Sequence[Float[np.ndarray, " _"]]) -> list[Int[np.ndarray, "_ q"]]:
        """Acoustic tokens of 24 kHz waves."""
        model, variables = self._component("acoustic_codec")
        frames = [code_frames(len(wave), model.config.strides) for wave in waves]
        room = [-(-len(wave) // CODEC_HOP) for wave in waves]

        def run(members: list[int], t: int) -> Array:
            own = [waves[i] for i in members]
            return _acoustic_tokens(model, variables, self._stack(own, t * CODEC_HOP), self._lengths(own))

        return [tokens[:n] for tokens, n in zip(self._in_batches(room, run), frames, strict=True)]

    def waves(self, tokens: Sequence[Int[np.ndarray, "_ q"]]) -> list[Float[np.ndarray, " _"]]:
        """24 kHz waves of acoustic tokens."""
        model, variables = self._component("acoustic_codec")

        def run(members: list[int], t: int) -> np.ndarray:
            own = [tokens[i] for i in members]
            wave = _wave(model, variables, self._stack(own, t), self._lengths(own))
            return np.asarray(wave).reshape(len(members), t, CODEC_HOP)

        return [wave.reshape(-1) for wave in self._in_batches([len(x) for x in tokens], run)]

    def require_sight(self) -> None:
        """Raises WeightsError unless the bundle has a visual encoder whose features the generator of l2s takes."""
        config, path = self.bundle.components.get(VISUAL_ENCODER), self.bundle.path
        if config is None:
            raise WeightsError(
                f"{path}: the bundle has no visual encoder, so l2s takes lip features (.npy) and no video; "
                "add the component visual_encoder"
            )
        wanted = self.generator_config("l2s").condition_width
        if config.width != wanted:
            raise WeightsError(f"{path}: {VISUAL_ENCODER} gives features of width {config.width}, l2s takes {wanted}")

    def visual_features(self, crops: Sequence[UInt8[np.ndarray, "_ h w"]]) -> list[Float[np.ndarray, "_ c"]]:
        """Lip features of grey mouth crops at 25 a second."""
        model, variables = self._component(VISUAL_ENCODER)

        def run(members: list[int], t: int) -> Array:
            own = [crops[i] for i in members]
            return _visual_features(model, variables, self._stack(own, t), self._lengths(own))

        return self._in_batches([len(x) for x in crops], run)

    def semantic_stage(
        self, task: str, jobs: Sequence[SemanticJob], settings: StageSettings, progress: Progress | None = None
    ) -> list[Int[np.ndarray, " _"]]:
        """Stage 1: all SSL tokens, the known ones first."""
        model, variables = self._generator(task)
        schedule = make_schedule(settings.steps)

        def run(members: list[int], t: int) -> np.ndarray:
            own = [jobs[i] for i in members]
            has_phones = own[0].phones is not None
            if has_phones:
                p = bucket(max(len(job.phones) for job in own), PHONE_BUCKETS)
            sampling = settings.sampling(has_phones or any(len(job.known) for job in own))
            inputs = generators.SemanticInputs(
                prompt_lengths=self._lengths([job.known for job in own]),
                lengths=self._put(np.array([job.length for job in own], np.int32)),
                phones=self._stack([job.phones for job in own], p) if has_phones else None,
                phone_lengths=self._lengths([job.phones for job in own]) if has_phones else None,
                phone_positions=self._positions(own, p) if has_phones else None,
                condition=self._stack([job.condition for job in own], t) if own[0].condition is not None else None,
                target_frames=_guided_frames([job.length - len(job.known) for job in own], t, sampling),
            )
            tokens = generators.run_stage(
                _semantic_steps,
                model,
                variables,
                Decoder(schedule, self._keys([job.seed for job in own]), sampling),
                inputs,
                self._stack([job.known[:, None] for job in own], t),
                _per_example(progress, members),
            )
            return np.asarray(tokens)[:, :, 0]

        return self._in_batches([job.length for job in jobs], run)

    def acoustic_stage(
        self,
        jobs: Sequence[AcousticJob],
        first: StageSettings,
        full: StageSettings,
        progress: Progress | None = None,
    ) -> list[Int[np.ndarray, "_ q"]]:
        """Stage 2: acoustic tokens of all levels, the known frames first."""
        parts = []
        levels_of = (range(1), range(1, self.num_levels))
        for name, settings, levels in zip(_ACOUSTIC_GENERATORS, (first, full), levels_of, strict=True):
            if levels:
                parts.append((*self._component(name), settings, levels))

        def run(members: list[int], t: int) -> np.ndarray:
            own = [jobs[i] for i in members]
            inputs = generators.AcousticInputs(
                prompt_lengths=self._lengths([job.known for job in own]),
                lengths=self._lengths([job.semantic for job in own]),
                semantic_tokens=self._stack([job.semantic for job in own], t),
            )
            targets = [len(job.semantic) - len(job.known) for job in own]
            is_droppable = any(len(job.known) for job in own)
            tokens = _padded([job.known for job in own], t)
            keys = self._keys([job.seed for job in own])
            for model, variables, settings, levels in parts:
                schedule = make_schedule(settings.steps_of(len(levels)), first_level=levels.start)
                sampling = settings.sampling(is_droppable)
                decoded = generators.run_stage(
                    _acoustic_steps,
                    model,
                    variables,
                    Decoder(schedule, keys, sampling),
                    inputs.replace(target_frames=_guided_frames(targets, t, sampling)),
                    self._put(tokens[:, :, : levels.stop]),
                    _per_example(progress, members),
                )
                tokens = np.concatenate([decoded, tokens[:, :, levels.stop :]], axis=-1)
            return tokens

        return self._in_batches([len(job.semantic) for job in jobs], run)

    def _in_batches(
        self, lengths: Sequence[int], run: Callable[[list[int], int], Array | np.ndarray]
    ) -> list[np.ndarray]:
        """`run` over all examples: it gets the members of a batch and the padded length, and gives [rows, length, …].

        Rows that no example takes repeat the last member.
        """
        results: list[np.ndarray] = [np.zeros(0)] * len(lengths)
        for rows, members in plan_batches(lengths, self._rows):
            t = bucket(max(lengths[i] for i in members))
            output = np.asarray(run(members + members[-1:] * (rows - len(members)), t))
            for row, i in enumerate(members):
                results[i] = output[row, : lengths[i]]
        return results

    def _positions(self, jobs: Sequence[SemanticJob], p: int) -> Array | None:
        """Where phones are said; -1 for jobs that do not know, None if no job does."""
        if all(job.phone_positions is None for job in jobs):
            return None
        unknown = np.full(1, -1.0, np.float32)
        return self._stack([unknown if job.phone_positions is None else job.phone_positions for job in jobs], p)

    def _put(self, x: np.ndarray | Array) -> Array:
        """On the devices, split by rows where the rows are enough."""
        is_split = x.shape[0] % batch_parts(self._mesh) == 0
        return jax.device_put(x, batch_sharding(self._mesh) if is_split else replicated(self._mesh))

    def _stack(self, arrays: Sequence[np.ndarray], length: int) -> Array:
        return self._put(_padded(arrays, length))

    def _lengths(self, arrays: Sequence[np.ndarray]) -> Array:
        return self._put(np.array([len(array) for array in arrays], np.int32))

    def _keys(self, seeds: Sequence[tuple[int, ...]]) -> Array:
        """One key per example, made from the numbers of its seed."""
        return self._put(_keys_of(np.array(seeds, np.int32)))

    def _load_component(self, name: str):
        is_codec = name.endswith("codec")
        config, variables = self.bundle.load(name, dtype="float32" if is_codec else self._policy.dtype)
        policy = Policy(scan=self._policy.scan) if is_codec else self._policy
        return make_model(config, policy), self._replicate(variables)

    def _load_generator(self, task: str):
        """The generator of a task, its low-rank updates folded in so that they cost nothing per step."""
        generator = self.bundle.load_generator(task)
        params = generator.variables["params"]
        if generator.lora is not None:
            params = merge_lora(params, generator.lora)
        variables = {"params": jax.tree.map(lambda x: np.asarray(x).astype(self._policy.compute_dtype), params)}
        return SemanticGenerator(generator.config, self._policy), self._replicate(variables)

    def _replicate(self, variables: Variables) -> Variables:
        return jax.device_put(variables, replicated(self._mesh))


def _padded(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[rows, length, …], padded with zeros."""
    stacked = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def _guided_frames(targets: Sequence[int], t: int, sampling: Sampling) -> int | None:
    """How many frames a pass without prompt has, where there is one; each number is a program of its own."""
    return None if sampling.guidance is None else min(t, bucket(max(targets)))


def _per_example(progress: Progress | None, members: Sequence[int]) -> Progress | None:
    """Counts a step of a batch once per example; rows that only fill the batch repeat a member."""
    return progress and (lambda steps: progress(steps * len(set(members))))


VISUAL_ENCODER = "visual_encoder"
_ACOUSTIC_GENERATORS = ("acoustic_generator_first", "acoustic_generator_full")
