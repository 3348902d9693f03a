"""Stage 2: training of the acoustic generator, one quantizer level per example (MaskGCT section 3.2.3)."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import AcousticCodecConfig, AcousticGeneratorConfig
from metis_jax.decoding.generators import AcousticInputs, jitted_acoustic_steps, run_stage
from metis_jax.decoding.masked_decode import Decoder, Sampling, make_schedule
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.acoustic_generator import AcousticGenerator
from metis_jax.models.components import ModelInit, model_init
from metis_jax.objectives.masked_tokens import masked_token_loss
from metis_jax.ops.masking import ACOUSTIC_PROMPT_SHARE, PROMPT_PROBABILITY, level_weights, sample_levels
from metis_jax.sharding import to_host
from metis_jax.training.trainers.masking import draw_masks
from metis_jax.training.trainers.pictures import spectrogram
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Samples, Trainer
from metis_jax.types import Array, Float, Key, Policy

GENERATOR, CODEC = "acoustic_generator", "acoustic_codec"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcousticGeneratorTrainer(Trainer):
    """Masked prediction of the acoustic tokens of one level, given SSL tokens and the levels below.

    Attributes:
      first_level: lowest level that is drawn: 0 for the one-level model, 1 for the full one, which is given level 0.
      acoustic_codec: turns samples into waves; the loss does without.
    """

    reads: ClassVar[tuple[str, ...]] = ("stage2",)

    generator: AcousticGeneratorConfig
    first_level: int = 1
    acoustic_codec: AcousticCodecConfig | None = None
    policy: Policy = Policy()
    prompt_probability: float = PROMPT_PROBABILITY
    prompt_share: float = ACOUSTIC_PROMPT_SHARE
    minimum_rate: float = 0.0

    def __post_init__(self):
        if not 0 <= self.first_level < self.generator.num_levels:
            raise ValueError(f"first_level is {self.first_level}; the generator has {self.generator.num_levels} levels")

    @property
    def _model(self) -> AcousticGenerator:
        return AcousticGenerator(self.generator, self.policy)

    def models(self) -> dict[str, ModelInit]:
        found = {GENERATOR: model_init(self._model)}
        if self.acoustic_codec:
            found[CODEC] = model_init(AcousticCodec(self.acoustic_codec))
        return found

    def configs(self) -> dict[str, Any]:
        return {GENERATOR: self.generator} | ({CODEC: self.acoustic_codec} if self.acoustic_codec else {})

    def name_in_chain(self, component: str) -> str:
        return f"{GENERATOR}_{'first' if self.first_level == 0 else 'full'}" if component == GENERATOR else component

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """Cross-entropy of one level per row at the masked frames, a mean over them (MaskGCT section 3.2.3).

        Reads `tokens` [b, t] of SSL, `acoustic_tokens` [b, t, q], `lengths` [b] in frames and, where prompts are
        degraded, `prompt_tokens` [b, t, q].  `key` draws levels, prompts and masks.  ValueError for tokens of fewer
        levels than the generator predicts.
        """
        q = self.generator.num_levels
        semantic, tokens = batch["tokens"], batch["acoustic_tokens"]
        if tokens.shape[2] < q:
            raise ValueError(f"acoustic_tokens have {tokens.shape[2]} levels; the generator predicts {q}")
        tokens = tokens[:, :, :q]
        mask_key, level_key = jax.random.split(key)
        level = sample_levels(level_key, tokens.shape[0], jnp.asarray(level_weights(q, self.first_level)))
        masks = draw_masks(
            mask_key,
            batch["lengths"],
            tokens.shape[1],
            prompt_share=self.prompt_share,
            prompt_probability=self.prompt_probability,
            minimum_rate=self.minimum_rate,
        )
        seen = tokens
        if "prompt_tokens" in batch:
            seen = jnp.where(masks.is_prompt[:, :, None], batch["prompt_tokens"][:, :, :q], tokens)

        def predict(model: AcousticGenerator) -> Float[Array, "b t v"]:
            hidden = model(
                semantic,
                seen,
                level,
                masks.is_masked,
                masks.is_prompt,
                masks.time,
                lengths=batch["lengths"],
            )
            return model.logits(hidden, level)

        logits = nn.apply(predict, self._model)(params[GENERATOR])
        truth = jnp.take_along_axis(tokens, level[:, None, None], axis=2)[:, :, 0]
        result = masked_token_loss(logits, truth, masks.is_masked)
        return Loss(result.loss, result.count, {"accuracy": result.accuracy})

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        """Two recordings, decoded from their SSL tokens and the first quarter as prompt, beside their own tokens."""
        if not self.acoustic_codec:
            return Samples()
        q, rate = self.generator.num_levels, self.acoustic_codec.sample_rate
        codec = AcousticCodec(self.acoustic_codec)
        lengths, truth = batch["lengths"][:2], batch["acoustic_tokens"][:2, :, :q]
        levels = q - self.first_level
        schedule = make_schedule([16] + [1] * (levels - 1), first_level=self.first_level)
        keys = jax.random.split(key, truth.shape[0])
        codes = run_stage(
            jitted_acoustic_steps,
            self._model,
            params[GENERATOR],
            Decoder(schedule, keys, Sampling(jnp.float32(1.5), jnp.float32(1.0))),
            AcousticInputs(lengths // 4, lengths, batch["tokens"][:2]),
            truth,
        )
        waves, pictures = {}, {}
        for name, tokens in (("original_tokens", truth), ("generated_tokens", codes)):
            decoded = to_host(codec.apply(params[CODEC], tokens, lengths, method="decode"))
            for index, frames in enumerate(to_host(lengths)):
                own = decoded[index, : frames * self.acoustic_codec.hop].astype(np.float32)
                waves[f"{name}_{index}"] = (own, rate)
                pictures[f"{name}_{index}"] = spectrogram(own, rate)
        return Samples(waves, {"log_mel": pictures})
