"""Factorized vector quantizers (DAC section 3.2) and their residual chain.

Reference: `FactorizedVectorQuantize` and `ResidualVQ` in `models/codec/amphion_codec/quantize`.  Codes equal it
exactly, quantized vectors to 1e-5 relative.  Everything here is float32 whatever the compute dtype of the model.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from metis_jax.layers.conv import Conv1d
from metis_jax.layers.dense import fan_in_init, partitioned
from metis_jax.ops import vq
from metis_jax.ops.lengths import row_means, valid_mask
from metis_jax.types import CODES, EMBED, LEVELS, VOCAB, Array, Bool, Float, Int

DROPOUT_STREAM = "codebook_dropout"


@flax.struct.dataclass
class QuantizerOutput:
    """What a quantizer found.

    Attributes:
      quantized: sum of the levels in use, with the straight-through gradient.
      codes: of every level, those a row's dropout left unused included.
      commitment_loss: distance of the projected input from its (fixed) code, a mean over a row's valid frames and code
        channels, summed over the levels in use; not weighted.
      codebook_loss: the same number with the gradient to the code instead.
      residual_loss: share of the input's mean square that the levels in use leave over, with the gradient to what is
        quantized and not to the input it is compared with; not weighted.
      num_levels: levels in use.
    """

    quantized: Float[Array, "b t d"]
    codes: Int[Array, "b t q"]
    commitment_loss: Float[Array, " b"]
    codebook_loss: Float[Array, " b"]
    residual_loss: Float[Array, " b"]
    num_levels: Int[Array, " b"]


def _masked_mean_square(error: Float[Array, "b t c"], is_valid: Bool[Array, "b t"]) -> Float[Array, " b"]:
    return row_means(jnp.mean(jnp.square(error), axis=-1), is_valid)


def _share_left_over(
    x: Float[Array, "b t d"], quantized: Float[Array, "b t d"], is_valid: Bool[Array, "b t"]
) -> Float[Array, " b"]:
    x = jax.lax.stop_gradient(x)
    power = _masked_mean_square(x, is_valid)
    return _masked_mean_square(x - quantized, is_valid) / jnp.maximum(power, jnp.float32(1e-9))


class FactorizedQuantizer(nn.Module):
    """Looks codes up in a low-dimensional projection of its input."""

    features: int
    codebook_size: int
    code_width: int

    def setup(self):
        shape = (self.codebook_size, self.code_width)
        self.codebook = self.param("codebook", partitioned(nn.initializers.normal(1.0), VOCAB, CODES), shape)
        project = {"width": 1, "weight_norm": True, "kernel_init": fan_in_init}
        self.project_in = Conv1d(self.code_width, axes=(EMBED, CODES), **project)
        self.project_out = Conv1d(self.features, axes=(CODES, EMBED), **project)

    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> QuantizerOutput:
        x = x.astype(jnp.float32)
        projected = self.project_in(x)
        codes = vq.nearest_codes(projected, self.codebook)
        found = jnp.take(self.codebook, codes, axis=0)
        is_valid = valid_mask(lengths, x.shape[1])
        quantized = self.project_out(vq.straight_through(projected, found))
        return QuantizerOutput(
            quantized=quantized,
            codes=codes[:, :, None],
            commitment_loss=_masked_mean_square(projected - jax.lax.stop_gradient(found), is_valid),
            codebook_loss=_masked_mean_square(found - jax.lax.stop_gradient(projected), is_valid),
            residual_loss=_share_left_over(x, quantized, is_valid),
            num_levels=jnp.ones_like(lengths),
        )

    def embed(self, codes: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """The vectors that codes stand for."""
        return self.project_out(jnp.take(self.codebook, codes, axis=0))


class _Level(FactorizedQuantizer):
    """One link of the chain, in the carry form of `scan`."""

    def quantize_level(
        self, carry: tuple[Array, Array], level: Array, shared: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        residual, quantized = carry
        lengths, num_levels = shared
        output = self(residual, lengths)
        is_used = level < num_levels
        quantized = quantized + jnp.where(is_used[:, None, None], output.quantized, jnp.float32(0))
        losses = jnp.stack([output.commitment_loss, output.codebook_loss]) * is_used[None, :].astype(jnp.float32)
        return (residual - output.quantized, quantized), (output.codes[:, :, 0], losses)

    def embed_level(self, total: Array, scanned: tuple[Array, Array], num_levels: Array) -> tuple[Array, None]:
        level, codes = scanned
        return total + jnp.where(level < num_levels, self.embed(codes), jnp.float32(0)), None


class ResidualQuantizer(nn.Module):
    """Quantizers in a chain, each coding what the ones before it left over (arXiv 2107.03312).

    The levels are one scanned module: their parameters are stacked on a leading level axis under `levels`.

    Attributes:
      dropout: share of rows that, in training, use a uniformly drawn number of levels.  The reference takes the first
        rows of a batch; here every row draws for itself, so that the share does not depend on how a batch is split.
    """

    features: int
    num_levels: int
    codebook_size: int
    code_width: int
    dropout: float

    def setup(self):
        scanned: Any = nn.scan(
            _Level,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            length=self.num_levels,
            metadata_params={nn.PARTITION_NAME: LEVELS},
            methods=["quantize_level", "embed_level"],
        )
        self.levels = scanned(self.features, self.codebook_size, self.code_width)

    def __call__(self, x: Float[Array, "b t d"], lengths: Int[Array, " b"], *, deterministic: bool) -> QuantizerOutput:
        """Quantizes at every level; unless `deterministic`, rows drop levels by the stream "codebook_dropout"."""
        x = x.astype(jnp.float32)
        num_levels = jnp.full(lengths.shape, self.num_levels, jnp.int32)
        if not deterministic and self.dropout > 0:
            num_levels = draw_levels(self.make_rng(DROPOUT_STREAM), x.shape[0], self.num_levels, self.dropout)
        carry, (codes, losses) = self.levels.quantize_level(
            (x, jnp.zeros_like(x)), jnp.arange(self.num_levels), (lengths, num_levels)
        )
        losses = jnp.sum(losses, axis=0)
        return QuantizerOutput(
            quantized=carry[1],
            codes=codes.transpose(1, 2, 0),
            commitment_loss=losses[0],
            codebook_loss=losses[1],
            residual_loss=_share_left_over(x, carry[1], valid_mask(lengths, x.shape[1])),
            num_levels=num_levels,
        )

    def embed(self, codes: Int[Array, "b t q"], num_levels: int | None = None) -> Float[Array, "b t d"]:
        """Sum of the vectors of the first `num_levels` levels of `codes`; by default of all it has."""
        q = codes.shape[2] if num_levels is None else num_levels
        if not 1 <= q <= min(self.num_levels, codes.shape[2]):
            raise ValueError(
                f"num_levels is {q}; use 1..{min(self.num_levels, codes.shape[2])} "
                f"(the codec has {self.num_levels} levels, the codes {codes.shape[2]})"
            )
        codes = jnp.pad(codes[:, :, :q], ((0, 0), (0, 0), (0, self.num_levels - q))).transpose(2, 0, 1)
        total = jnp.zeros((*codes.shape[1:], self.features), jnp.float32)
        total, _ = self.levels.embed_level(total, (jnp.arange(self.num_levels), codes), jnp.int32(q))
        return total


def draw_levels(key: jax.Array, b: int, num_levels: int, dropout: float) -> Int[Array, " b"]:
    """How many levels each row uses: all, or with probability `dropout` a uniform draw from 1..num_levels."""
    choice_key, count_key = jax.random.split(key)
    count = jax.random.randint(count_key, (b,), 1, num_levels + 1)
    return jnp.where(jax.random.bernoulli(choice_key, dropout, (b,)), count, num_levels).astype(jnp.int32)
