"""Stage 1: pre-training of the semantic generator on SSL tokens, and its fine-tuning with conditions.

Metis sections 3.1 and 3.2.  Fine-tuning makes its conditions inside the step: SSL features of prompt and degraded
target as one wave, from the frozen SSL encoder, or what the codec makes of them.  Its tokens are those of the prompt
alone and of the clean target alone, as at inference, from the shards or from the frozen codec.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from metis_jax.config import (
    AnySslEncoderConfig,
    LoraConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    VisualEncoderConfig,
)
from metis_jax.decoding.generators import SemanticInputs, jitted_semantic_steps, run_stage
from metis_jax.decoding.masked_decode import Decoder, Sampling, make_schedule
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.models.ssl_features import AnySslEncoder, make_ssl_encoder
from metis_jax.models.visual_encoder import VisualEncoder
from metis_jax.objectives.masked_tokens import hidden_token_loss
from metis_jax.ops.lengths import join, take, valid_mask
from metis_jax.ops.masking import MINIMUM_MASK_RATE, PROMPT_PROBABILITY, SEMANTIC_PROMPT_SHARE
from metis_jax.sharding import to_host
from metis_jax.training.trainers.frontend import (
    encoder_frames,
    lip_features,
    ssl_features,
    ssl_tokens,
    upsample_twice,
)
from metis_jax.training.trainers.masking import Masks, draw_masks
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Samples, Trainer
from metis_jax.types import Array, Float, Int, Key, Policy

GENERATOR, ENCODER, CODEC, SIGHT = "semantic_generator", "ssl_encoder", "semantic_codec", "visual_encoder"
_LOGITS_AT_ONCE = 2**21  # of a row: 256 frames of 8,192 codes


def phone_positions(batch: Batch) -> Float[Array, "b p"] | None:
    """The frames in the middle of the phones; -1 in rows that do not know."""
    if "phone_bounds" not in batch:
        return None
    bounds = batch["phone_bounds"]
    middles = (bounds[:, :-1] + bounds[:, 1:]) / 2 - jnp.float32(0.5)
    return jnp.where(jnp.any(bounds > 0, axis=1)[:, None], jnp.maximum(middles, jnp.float32(0)), jnp.float32(-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticGeneratorTrainer(Trainer):
    """Masked prediction of SSL tokens.

    Attributes:
      lora: adapters on the generator; which leaves move is said by the optimizer's rules.
      ssl_encoder: needed where a batch has waves; runs in `encoder_policy`, without gradient.
      semantic_codec: needed where targets are waves, and where it encodes conditions; with it, samples are shown as
        features.
      visual_encoder: needed where a batch has mouth crops.  Where it is trained too, its batch normalisation stays.
      prompt_probability, prompt_share, minimum_rate: of the masks, see `draw_masks`.  A row that has lost its prompt
        has no phones either; phones that guide an extraction are left out as often by themselves.
    """

    generator: SemanticGeneratorConfig
    lora: LoraConfig | None = None
    ssl_encoder: AnySslEncoderConfig | None = None
    semantic_codec: SemanticCodecConfig | None = None
    visual_encoder: VisualEncoderConfig | None = None
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()
    prompt_probability: float = PROMPT_PROBABILITY
    prompt_share: float = SEMANTIC_PROMPT_SHARE
    minimum_rate: float = MINIMUM_MASK_RATE

    @property
    def reads(self) -> tuple[str, ...]:
        return ("finetune",) if self.generator.condition != "none" else ("pretrain", "finetune")

    @property
    def _model(self) -> SemanticGenerator:
        return SemanticGenerator(self.generator, self.policy, self.lora)

    @property
    def _encoder(self) -> AnySslEncoder:
        return make_ssl_encoder(self.ssl_encoder, self.encoder_policy)

    @property
    def _codec(self) -> SemanticCodec:
        # Codes must be the ones that every other program computes: float32, whatever the policy.
        return SemanticCodec(self.semantic_codec)

    @property
    def _sight(self) -> VisualEncoder:
        return VisualEncoder(self.visual_encoder, self.policy)

    def models(self) -> dict[str, ModelInit]:
        found = {GENERATOR: model_init(self._model)}
        if self.ssl_encoder:
            found[ENCODER] = model_init(self._encoder)
        if self.semantic_codec:
            found[CODEC] = model_init(self._codec)
        if self.visual_encoder:
            found[SIGHT] = model_init(self._sight)
        return found

    def configs(self) -> dict[str, Any]:
        found = {GENERATOR: self.generator, CODEC: self.semantic_codec, SIGHT: self.visual_encoder}
        if self.ssl_encoder:
            found[ENCODER] = dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)
        return {name: config for name, config in found.items() if config is not None}

    def targets(self, params: Params, batch: Batch) -> tuple[Int[Array, "b t"], Float[Array, "b t c"] | None]:
        """Tokens of prompt and target, and the condition's features where the batch has a source wave.

        Prompt and target are encoded each by itself, their condition as one wave: so does inference
        (`Metis.encode_prompt`, `Metis.transform`).  One pass of the encoder serves targets and sources.
        """
        names = [name for name in ("target", "source") if name in batch]
        if not names:
            return batch["tokens"], None
        if self.ssl_encoder is None or ("target" in names and self.semantic_codec is None):
            raise ValueError("the batch has waves; give config.model.ssl_encoder and semantic_codec for them")
        features = dict(zip(names, self._features(params, batch, names), strict=True))
        tokens = self._tokens(params, batch, features["target"]) if "target" in batch else batch["tokens"]
        return tokens, features.get("source")

    def _features(self, params: Params, batch: Batch, names: Sequence[str]) -> list[Float[Array, "b t d"]]:
        """SSL features of waves of one padded length, `name` with its `name_lengths`, in one pass."""
        waves = jnp.concatenate([batch[name] for name in names], axis=0)
        lengths = jnp.concatenate([batch[f"{name}_lengths"] for name in names], axis=0)
        t = encoder_frames(waves.shape[1], self.ssl_encoder)
        return jnp.split(ssl_features(self._encoder, params[ENCODER], waves, lengths, t), len(names), axis=0)

    def _tokens(self, params: Params, batch: Batch, features: Float[Array, "b t d"]) -> Int[Array, "b t"]:
        """SSL tokens of the targets, from their features, each behind the tokens of its prompt."""
        starts = batch["target_starts"]
        tokens = ssl_tokens(self._codec, params[CODEC], features, batch["lengths"] - starts)
        if "prompt_wave" not in batch:
            return tokens
        [heard] = self._features(params, batch, ["prompt_wave"])
        # The frame in which a prompt passes into its target has no token: `draw_masks` hides it.
        prompts = ssl_tokens(self._codec, params[CODEC], heard, jnp.maximum(batch["prompt_lengths"], 0))
        return join(prompts, starts, tokens, batch["lengths"] - starts)[0][:, : tokens.shape[1]]

    def condition(
        self,
        params: Params,
        batch: Batch,
        features: Float[Array, "b t c"] | None,
        prompt_lengths: Int[Array, " b"],
        t: int,
    ) -> Float[Array, "b t c"] | None:
        """What the adapter sees: features of the source, or lip features of the target frames behind the prompt."""
        if features is not None or "visual_lengths" not in batch:
            return features
        if "mouths" in batch and self.visual_encoder is None:
            raise ValueError("the batch has mouth crops; give config.model.visual_encoder for them")
        pictures = batch["visual_lengths"]
        seen = batch.get("visual")
        if seen is None:
            seen = lip_features(self._sight, params[SIGHT], batch["mouths"], pictures).astype(jnp.float32)
        # The recording is filmed from its first frame, but the model is not shown the prompt's lips.
        visual = upsample_twice(seen, pictures)
        visual = jnp.pad(visual, ((0, 0), (0, max(0, t - visual.shape[1])), (0, 0)))[:, :t]
        is_shown = valid_mask(batch["lengths"], t) & ~valid_mask(prompt_lengths, t)
        return jnp.where(is_shown[:, :, None], visual, jnp.zeros((), visual.dtype))

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """Cross-entropy of the SSL tokens at the masked frames, a mean over them (Metis sections 3.1 and 3.2).

        Reads `tokens` [b, t] or waves that they are made of, `lengths` [b] in frames, and what its tasks are told:
        see `data/batches/tasks.py`.  `key` draws prompts, masks, dropped phones and the adapters' dropout.
        """
        tokens, features = self.targets(params, batch)
        mask_key, phone_key, dropout_key = jax.random.split(key, 3)
        masks = draw_masks(
            mask_key,
            batch["lengths"],
            tokens.shape[1],
            prompt_share=self.prompt_share,
            prompt_probability=self.prompt_probability,
            minimum_rate=self.minimum_rate,
            given_prompts=batch.get("prompt_lengths"),
            target_starts=batch.get("target_starts"),
        )
        condition = self.condition(params, batch, features, masks.prompt_lengths, tokens.shape[1])
        tokens = take(tokens, masks.skipped, tokens.shape[1])
        if condition is not None:
            condition = take(condition, masks.skipped, tokens.shape[1])

        generator = functools.partial(self._model.apply, params[GENERATOR])
        hidden = generator(
            tokens,
            masks.is_hidden,
            masks.time,
            lengths=batch["lengths"] - masks.skipped,
            phones=batch.get("phones"),
            phone_lengths=self._phone_lengths(batch, masks, phone_key),
            phone_positions=phone_positions(batch),
            condition=condition,
            has_condition=batch.get("has_source"),
            deterministic=deterministic,
            rngs={"dropout": dropout_key},
        )
        logits_of = functools.partial(generator, method="logits")
        parts = -(-tokens.shape[1] * self.generator.codebook_size // _LOGITS_AT_ONCE)
        result = hidden_token_loss(logits_of, hidden, tokens, masks.is_masked, parts=parts)
        return Loss(result.loss, result.count, {"accuracy": result.accuracy})

    def _phone_lengths(self, batch: Batch, masks: Masks, key: Key[Array, ""]) -> Int[Array, " b"] | None:
        if "phones" not in batch:
            return None
        lengths = batch["phone_lengths"]
        is_guide = batch["prompt_lengths"] >= 0  # of an extraction, which is trained without a text, too
        is_mute = is_guide & jax.random.bernoulli(key, 1 - self.prompt_probability, lengths.shape)
        return jnp.where(masks.is_bare | is_mute, jnp.zeros_like(lengths), lengths)

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        """SSL features of two recordings, generated behind a prompt of a quarter, beside their own."""
        if not self.semantic_codec:
            return Samples()
        batch = {name: x[:2] for name, x in batch.items()}
        lengths = batch["lengths"]
        truth, features = self.targets(params, batch)
        prompts = lengths // 4
        if "prompt_lengths" in batch:
            prompts = jnp.where(batch["prompt_lengths"] >= 0, batch["prompt_lengths"], prompts)
        keys = jax.random.split(key, truth.shape[0])
        tokens = run_stage(
            jitted_semantic_steps,
            self._model,
            params[GENERATOR],
            Decoder(make_schedule([16]), keys, Sampling(jnp.float32(0.9), jnp.float32(1.0))),
            SemanticInputs(
                prompts,
                lengths,
                batch.get("phones"),
                batch.get("phone_lengths"),
                phone_positions(batch),
                self.condition(params, batch, features, prompts, truth.shape[1]),
                batch.get("has_source"),
            ),
            truth[:, :, None],
        )[:, :, 0]
        pictures = {}
        for name, codes in (("original_tokens", truth), ("generated_tokens", tokens)):
            decoded = to_host(self._codec.apply(params[CODEC], codes, lengths, method="decode"))
            for index, frames in enumerate(to_host(lengths)):
                pictures[f"{name}_{index}"] = feature_picture(decoded[index, :frames])
        return Samples(pictures={"features": pictures})
