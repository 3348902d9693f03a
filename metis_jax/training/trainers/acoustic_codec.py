"""The acoustic codec: a generator and its discriminators, trained together in one step (MaskGCT section 3.2.3; DAC).

Both sides learn from one loss: its generator part sees the discriminators with their parameters held, its discriminator
part sees the generated wave held, so each side gets the gradient of its own objective from a single backward pass over
a single forward pass of the codec.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import AcousticCodecConfig, DiscriminatorConfig
from metis_jax.layers.quantizer import DROPOUT_STREAM, QuantizerOutput
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.discriminators import Discriminators
from metis_jax.models.source_filter import FILTERS_PER_FRAME
from metis_jax.objectives.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from metis_jax.objectives.codec_reconstruction import mel_loss, pitch_loss
from metis_jax.ops.lengths import valid_mask
from metis_jax.ops.pitch import track_pitch
from metis_jax.sharding import to_host
from metis_jax.training.trainers.pictures import spectrogram
from metis_jax.training.trainers.protocol import Batch, Loss, Metrics, Params, Samples, Trainer
from metis_jax.training.trainers.semantic_codec import code_usage
from metis_jax.types import Array, Float, Int, Key, Policy

CODEC, DISCRIMINATORS = "acoustic_codec", "discriminators"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcousticCodecTrainer(Trainer):
    """Reconstruction and adversarial losses.

    Attributes:
      discriminators: None trains by reconstruction alone.
      mel_weight, adversarial_weight, matching_weight: DAC's; codebook and commitment weights are in the codec's config.
      pitch_weight: of the error of a source-filter decoder's log pitch.
    """

    reads: ClassVar[tuple[str, ...]] = ("acoustic_codec",)

    acoustic_codec: AcousticCodecConfig
    discriminators: DiscriminatorConfig | None = None
    policy: Policy = Policy()
    mel_weight: float = 15.0
    adversarial_weight: float = 1.0
    matching_weight: float = 2.0
    pitch_weight: float = 30.0

    @property
    def _codec(self) -> AcousticCodec:
        return AcousticCodec(self.acoustic_codec, self.policy)

    @property
    def _discriminators(self) -> Discriminators:
        return Discriminators(self.discriminators, self.policy)

    def models(self) -> dict[str, ModelInit]:
        found = {CODEC: model_init(self._codec)}
        if self.discriminators:
            samples = max((2 * self.acoustic_codec.hop, *self.discriminators.window_lengths))
            inputs = jnp.zeros((1, samples), jnp.float32), jnp.ones((1,), jnp.int32)
            found[DISCRIMINATORS] = ModelInit(self._discriminators, inputs)
        return found

    def configs(self) -> dict[str, Any]:
        return {CODEC: self.acoustic_codec}

    def _code(
        self, codec: AcousticCodec, wave: Float[Array, "b l"], lengths: Int[Array, " b"], *, deterministic: bool
    ) -> tuple[Float[Array, "b l2"], QuantizerOutput, Metrics]:
        """The codec's wave, what its quantizer found, and the error in pitch of a decoder that has one."""
        if codec.config.decoder != "source_filter":
            return *codec(wave, lengths, deterministic=deterministic), {}
        latents, frames = codec.latents(wave, lengths)
        output = codec.quantizer(latents, frames, deterministic=deterministic)
        room = latents.shape[1] * codec.config.hop
        whole = jnp.pad(wave, ((0, 0), (0, max(0, room - wave.shape[1]))))[:, :room]
        heard = track_pitch(whole, codec.config.sample_rate, codec.config.hop // FILTERS_PER_FRAME)
        fake, log_pitch = codec.decode_at_pitch(output.quantized, frames, heard)
        return fake, output, {"pitch": pitch_loss(log_pitch, heard, FILTERS_PER_FRAME * frames)}

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """Both sides' objectives in one sum, a mean over rows (MaskGCT section 3.2.3; arXiv 2306.06546).

        Reads `wave` [b, l] at 24 kHz, within -1 and 1, and `wave_lengths` [b] in samples.  The generator's part is the
        weighted L1 of log-mel spectra, the codebook and commitment losses of the levels, and what the discriminators
        say; theirs is the least-squares loss.  `key` drops quantizer levels.
        """
        config = self.acoustic_codec
        wave, lengths = batch["wave"], batch["wave_lengths"]
        code = nn.apply(functools.partial(self._code, deterministic=deterministic), self._codec)
        fake, output, pitch = code(params[CODEC], wave, lengths, rngs={DROPOUT_STREAM: key})
        # Padding must not reach a discriminator's valid frames, and the decoder leaves it unspecified.
        is_valid = valid_mask(lengths, wave.shape[1])
        fake = jnp.where(is_valid, fake[:, : wave.shape[1]].astype(jnp.float32), jnp.float32(0))
        mel = mel_loss(fake, wave, lengths, sample_rate=config.sample_rate)
        codebook, commitment = jnp.mean(output.codebook_loss), jnp.mean(output.commitment_loss)
        residual = jnp.mean(output.residual_loss)
        total = (
            jnp.float32(self.mel_weight) * mel
            + jnp.float32(config.codebook_weight) * codebook
            + jnp.float32(config.commitment_weight) * commitment
            + jnp.float32(config.residual_weight) * residual
            + jnp.float32(self.pitch_weight) * sum(pitch.values())
        )
        metrics = pitch | {"mel": mel, "codebook": codebook, "commitment": commitment, "residual": residual}
        metrics |= self._usage(output, batch)
        rows = jnp.float32(wave.shape[0])
        if not self.discriminators:
            return Loss(total, rows, metrics)

        held = jax.lax.stop_gradient(params[DISCRIMINATORS])
        real_maps = self._discriminators.apply(params[DISCRIMINATORS], wave, lengths)
        judged_maps = self._discriminators.apply(held, fake, lengths)
        fake_maps = self._discriminators.apply(params[DISCRIMINATORS], jax.lax.stop_gradient(fake), lengths)
        adversarial = generator_loss(judged_maps)
        matching = feature_matching_loss(real_maps, judged_maps)
        discriminator = discriminator_loss(real_maps, fake_maps)
        total = (
            total
            + jnp.float32(self.adversarial_weight) * adversarial
            + jnp.float32(self.matching_weight) * matching
            + discriminator
        )
        metrics |= {
            "adversarial": adversarial,
            "feature_matching": matching,
            "discriminator": discriminator,
            "generator": total - discriminator,
        }
        return Loss(total, rows, metrics)

    def _usage(self, output: QuantizerOutput, batch: Batch) -> Metrics:
        codes = output.codes[:, :, 0]
        lengths = batch["lengths"].clip(0, codes.shape[1])
        return code_usage(codes, valid_mask(lengths, codes.shape[1]), self.acoustic_codec.codebook_size)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        rate = self.acoustic_codec.sample_rate
        wave, lengths = batch["wave"][:2], batch["wave_lengths"][:2]
        fake, _ = self._codec.apply(params[CODEC], wave, lengths)
        both = {"original": to_host(wave), "decoded": to_host(fake)}
        waves, pictures = {}, {}
        for index, samples in enumerate(to_host(lengths)):
            for name, x in both.items():
                own = x[index, :samples].astype(np.float32)
                waves[f"{name}_{index}"] = (own, rate)
                pictures[f"{name}_{index}"] = spectrogram(own, rate)
        return Samples(waves, {"log_mel": pictures})

    def seconds(self, batch: Mapping[str, np.ndarray]) -> float:
        return float(np.sum(batch["wave_lengths"])) / self.acoustic_codec.sample_rate
