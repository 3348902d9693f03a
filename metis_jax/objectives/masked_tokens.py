"""Cross-entropy of masked generative modelling (Metis section 3.1): on masked valid tokens alone, in float32."""

import flax.struct
import jax
import jax.numpy as jnp

from metis_jax.types import Array, Bool, Float, Int


@flax.struct.dataclass
class MaskedTokenLoss:
    """Means over the predicted frames of a batch: nats, share predicted right, and how many frames there were."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    count: Float[Array, ""]


def masked_token_loss(
    logits: Float[Array, "b t v"], tokens: Int[Array, "b t"], is_masked: Bool[Array, "b t"]
) -> MaskedTokenLoss:
    """Every masked frame of the batch weighs the same; frames outside `is_masked` have neither loss nor gradient."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, tokens[:, :, None], axis=-1)[:, :, 0]
    nats = jax.nn.logsumexp(logits, axis=-1) - chosen
    right = jnp.argmax(logits, axis=-1) == tokens
    count = jnp.sum(is_masked, dtype=jnp.float32)
    share = is_masked.astype(jnp.float32) / jnp.maximum(count, jnp.float32(1))
    # `where` and not a product: a padded frame may hold a non-finite value, and 0 x inf is not 0.
    return MaskedTokenLoss(
        loss=jnp.sum(jnp.where(is_masked, nats, jnp.float32(0)) * share),
        accuracy=jnp.sum(right.astype(jnp.float32) * share),
        count=count,
    )
