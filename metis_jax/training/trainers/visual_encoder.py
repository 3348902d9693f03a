"""The visual encoder, from videos of people who speak: it learns what the same speech sounds like, and what is said.

Ours: the authors condition on a published lip reader (arXiv 2303.14307) and train none.  A head, which is thrown away,
has to find the SSL features of the recording in the lips, as distillation from audio to video does (arXiv 2212.06246),
and its phones by CTC, where there is a text.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.config import AnySslEncoderConfig, LipHeadConfig, VisualEncoderConfig
from metis_jax.models.components import ModelInit, model_init
from metis_jax.models.lip_head import LipHead
from metis_jax.models.ssl_features import AnySslEncoder, make_ssl_encoder
from metis_jax.models.visual_encoder import VisualEncoder, standardized
from metis_jax.objectives.codec_reconstruction import feature_loss
from metis_jax.objectives.phones import ctc_loss, sounds
from metis_jax.sharding import to_host
from metis_jax.training.trainers.frontend import encoder_frames, lip_features, ssl_features, upsample_twice
from metis_jax.training.trainers.phonetic_codec import phone_labels
from metis_jax.training.trainers.pictures import feature_picture
from metis_jax.training.trainers.protocol import Batch, Loss, Params, Samples, Trainer
from metis_jax.types import Array, Float, Key, Policy

SIGHT, ENCODER, HEAD = "visual_encoder", "ssl_encoder", "lip_head"
_MOMENTUM = 0.9  # of the running statistics of `layers.norms.BatchNorm`


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisualEncoderTrainer(Trainer):
    """Distillation and lip reading.  Batches are those of fine-tuning for l2s, with mouth crops and `target` waves.

    Attributes:
      ssl_encoder: what is imitated; runs in `encoder_policy`, without gradient.
      feature_weight: of the absolute error of normalised SSL features.
      phone_weight: of CTC's loss for every frame; 0 for videos without a text.
    """

    reads: ClassVar[tuple[str, ...]] = ("finetune",)

    visual_encoder: VisualEncoderConfig
    ssl_encoder: AnySslEncoderConfig
    lip_head: LipHeadConfig = LipHeadConfig()
    feature_weight: float = 1.0
    phone_weight: float = 1.0
    policy: Policy = Policy()
    encoder_policy: Policy = Policy()

    @property
    def _sight(self) -> VisualEncoder:
        return VisualEncoder(self.visual_encoder, self.policy)

    @property
    def _encoder(self) -> AnySslEncoder:
        return make_ssl_encoder(self.ssl_encoder, self.encoder_policy)

    @property
    def _head(self) -> LipHead:
        return LipHead(self.lip_head, self.policy)

    def models(self) -> dict[str, ModelInit]:
        return {SIGHT: model_init(self._sight), ENCODER: model_init(self._encoder), HEAD: model_init(self._head)}

    def configs(self) -> dict[str, Any]:
        encoder = dataclasses.replace(self.ssl_encoder, num_layers=self.ssl_encoder.hidden_layer)
        return {SIGHT: self.visual_encoder, HEAD: self.lip_head, ENCODER: encoder}

    def _found(
        self, params: Params, batch: Batch
    ) -> tuple[Float[Array, "b t c"], Float[Array, "b t c"], Float[Array, "b t v"]]:
        """SSL features as they are, as the lips have them, and CTC's logits."""
        if "mouths" not in batch:
            raise ValueError('the batch has no mouth crops; give config.data.example.lips="crops"')
        t = encoder_frames(batch["target"].shape[1], self.ssl_encoder)
        heard = ssl_features(self._encoder, params[ENCODER], batch["target"], batch["target_lengths"], t)
        pictures = batch["visual_lengths"]
        seen = lip_features(self._sight, params[SIGHT], batch["mouths"], pictures, train=True)
        features, ctc = self._head.apply(params[HEAD], upsample_twice(seen, pictures)[:, :t], batch["lengths"])
        return heard, features, ctc

    def loss(self, params: Params, batch: Batch, key: Key[Array, ""], *, deterministic: bool) -> Loss:
        """The absolute error of SSL features and CTC's loss, both for every frame of the batch, each with its weight.

        Reads `mouths` [b, u, s, s] uint8 and `visual_lengths` [b] at 25 Hz, `target` [b, l] at 16 kHz with
        `target_lengths` in samples, `lengths` [b] in frames, and with a `phone_weight` `phones` [b, p] and
        `phone_lengths` [b].  Nothing is drawn; batch normalisation is by the batch, or by each of the parts of one that
        is accumulated.
        """
        heard, features, ctc_logits = self._found(params, batch)
        lengths = batch["lengths"]
        frames = jnp.sum(lengths, dtype=jnp.float32)
        distance = feature_loss(features, heard, lengths)
        total, metrics = jnp.float32(self.feature_weight) * distance, {"features": distance}
        if self.phone_weight:
            labels = jnp.asarray(phone_labels(self.lip_head.phone_vocabulary))
            said = sounds(batch["phones"], batch["phone_lengths"], labels)
            ctc = ctc_loss(ctc_logits, lengths, *said) / frames
            total, metrics = total + jnp.float32(self.phone_weight) * ctc, metrics | {"ctc": ctc}
        return Loss(total, frames, metrics)

    def finish(self, params: Params, batches: Iterator[Mapping[str, np.ndarray]]) -> Params:
        """Sets the statistics of batch normalisation to their means over `batches`."""
        variables = jax.tree.map(jnp.asarray, params[SIGHT])

        @jax.jit
        def normalised_by(crops: Array, lengths: Array) -> Any:
            _, found = self._sight.apply(variables, standardized(crops), lengths, train=True, mutable=["batch_stats"])
            before = variables["batch_stats"]
            return jax.tree.map(
                lambda old, new: (new - jnp.float32(_MOMENTUM) * old) / jnp.float32(1 - _MOMENTUM),
                before,
                found["batch_stats"],
            )

        sums, count = None, 0
        for batch in batches:
            found = jax.device_get(normalised_by(batch["mouths"], batch["visual_lengths"]))
            sums = found if sums is None else jax.tree.map(np.add, sums, found)
            count += 1
        statistics = jax.tree.map(lambda total: (total / count).astype(np.float32), sums)
        return params | {SIGHT: dict(params[SIGHT]) | {"batch_stats": statistics}}

    def samples(self, params: Params, batch: Batch, key: Key[Array, ""]) -> Samples:
        """SSL features of a recording, as it is and as its lips have it, and what phones are seen."""
        heard, features, ctc = self._found(params, {name: x[:1] for name, x in batch.items()})
        count = int(batch["lengths"][0])
        shown = {"heard": heard, "seen": features}
        return Samples(
            pictures={
                "features": {name: feature_picture(to_host(x[0, :count])) for name, x in shown.items()},
                "phones": {"posterior": feature_picture(to_host(jax.nn.softmax(ctc)[0, :count, :64]))},
            }
        )
