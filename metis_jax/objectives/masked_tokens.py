"""Cross-entropy of masked generative modelling (Metis section 3.1): on masked valid tokens alone, in float32."""

from collections.abc import Callable

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
    return _mean(_sums(logits, tokens, is_masked), is_masked)


def hidden_token_loss(
    logits_of: Callable[[Float[Array, "b c d"]], Float[Array, "b c v"]],
    hidden: Float[Array, "b t d"],
    tokens: Int[Array, "b t"],
    is_masked: Bool[Array, "b t"],
    *,
    parts: int,
) -> MaskedTokenLoss:
    """`masked_token_loss` of the logits of a generator's last layer, which are never all there at once.

    The frames of all rows are cut into `parts`; each part's logits are made again for their gradient.  8,192 of them in
    float32 for every frame are more than all that a generator keeps of it.
    """
    if parts == 1:
        return masked_token_loss(logits_of(hidden), tokens, is_masked)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, -x.shape[1] % parts)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(x.shape[0], parts, -1, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def sums(hidden: Array, tokens: Array, is_masked: Array) -> tuple[Array, Array]:
        return _sums(logits_of(hidden), tokens, is_masked)

    def add(total: tuple[Array, Array], part: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        return jax.tree.map(jnp.add, total, sums(*part)), None

    nothing = jnp.float32(0), jnp.float32(0)
    total, _ = jax.lax.scan(add, nothing, (cut(hidden), cut(tokens), cut(is_masked)))
    return _mean(total, is_masked)


def _sums(
    logits: Float[Array, "b t v"], tokens: Int[Array, "b t"], is_masked: Bool[Array, "b t"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Nats, and how many tokens are predicted right, over the masked frames."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, tokens[:, :, None], axis=-1)[:, :, 0]
    nats = jax.nn.logsumexp(logits, axis=-1) - chosen
    right = jnp.argmax(logits, axis=-1) == tokens
    # `where` and not a product: a padded frame may hold a non-finite value, and 0 x inf is not 0.
    return jnp.sum(jnp.where(is_masked, nats, jnp.float32(0))), jnp.sum(right & is_masked, dtype=jnp.float32)


def _mean(sums: tuple[Float[Array, ""], Float[Array, ""]], is_masked: Bool[Array, "b t"]) -> MaskedTokenLoss:
    count = jnp.sum(is_masked, dtype=jnp.float32)
    nats, right = (total / jnp.maximum(count, jnp.float32(1)) for total in sums)
    return MaskedTokenLoss(loss=nats, accuracy=right, count=count)
