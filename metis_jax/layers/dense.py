"""Dense layers, embeddings and low-rank adapters (LoRA, arXiv 2106.09685).

Adapter weights live under the path component `lora` beside the kernel they adapt, so that `split_lora`, `join_lora` and
`merge_lora` can tell them apart by path alone.
"""

import functools
from collections.abc import Callable

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from metis_jax.config import LoraConfig
from metis_jax.layers.placement import fitting
from metis_jax.types import EMBED, MLP, RANK, STORED_SPLIT, VOCAB, Array, DType, Float, Int

Initializer = Callable[..., Array]

normal_init: Initializer = nn.initializers.normal(0.02)
truncated_init: Initializer = nn.initializers.truncated_normal(0.02)
# Torch's own choice for linear and convolution layers: uniform within 1 / sqrt(fan_in).
fan_in_init: Initializer = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def partitioned(init: Initializer, *axes: str | None) -> Initializer:
    """An initializer whose parameter carries logical axis names."""
    return nn.with_logical_partitioning(init, axes)


def gathered(parameter: Array, *axes: str | None) -> Array:
    """A parameter as a layer uses it: whole along the widths that are split for storage only.

    So devices exchange weights and gradients, never activations.  Gradients are summed straight into the parts that
    devices store (a reduce-scatter).  The backward pass gathers again where the policy's `remat` says so; with "none"
    every layer's whole weights are kept until then.
    """
    return _gathered(parameter, axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gathered(parameter: Array, axes: tuple[str | None, ...]) -> Array:
    return nn.with_logical_constraint(parameter, tuple(None if axis in STORED_SPLIT else axis for axis in axes))


def _forward(parameter: Array, axes: tuple[str | None, ...]) -> tuple[Array, None]:
    return _gathered(parameter, axes), None


def _backward(axes: tuple[str | None, ...], _: None, gradient: Array) -> tuple[Array]:
    return (nn.with_logical_constraint(gradient, fitting(axes, gradient.shape)),)


_gathered.defvjp(_forward, _backward)


class Dense(nn.Module):
    """y = x @ kernel + bias over the last axis; `axes` are the logical names of (input, output)."""

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = True
    dtype: DType = jnp.float32
    kernel_init: Initializer = normal_init
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        kernel = self.param("kernel", partitioned(self.kernel_init, *self.axes), (x.shape[-1], self.features))
        y = x.astype(self.dtype) @ gathered(kernel.astype(self.dtype), *self.axes)
        if self.use_bias:
            bias = self.param("bias", partitioned(self.bias_init, self.axes[1]), (self.features,))
            y = y + jnp.broadcast_to(gathered(bias.astype(self.dtype), self.axes[1]), y.shape)
        return y


class LowRank(nn.Module):
    """The update `scale * up(down(dropout(x)))` of one projection; zero at initialisation because `up` is."""

    features: int
    axes: tuple[str | None, str | None]
    config: LoraConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, deterministic: bool) -> Float[Array, "*b d"]:
        rank = self.config.rank
        # peft draws the input side as torch's Linear does.
        down = self.param("down", partitioned(fan_in_init, self.axes[0], RANK), (x.shape[-1], rank))
        up = self.param("up", partitioned(nn.initializers.zeros, RANK, self.axes[1]), (rank, self.features))
        x = nn.Dropout(self.config.dropout, name="dropout")(x.astype(self.dtype), deterministic=deterministic)
        x = x @ gathered(down.astype(self.dtype), self.axes[0], RANK)
        y = x @ gathered(up.astype(self.dtype), RANK, self.axes[1])
        return y * jnp.asarray(self.config.scale, self.dtype)


class Projection(nn.Module):
    """A bias-free dense layer that may carry a low-rank adapter."""

    features: int
    axes: tuple[str | None, str | None]
    lora: LoraConfig | None = None
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, deterministic: bool) -> Float[Array, "*b d"]:
        kernel = self.param("kernel", partitioned(normal_init, *self.axes), (x.shape[-1], self.features))
        y = x.astype(self.dtype) @ gathered(kernel.astype(self.dtype), *self.axes)
        if self.lora is not None:
            low_rank = LowRank(self.features, self.axes, self.lora, self.dtype, name="lora")
            y = y + low_rank(x, deterministic=deterministic)
        return y


class Mlp(nn.Module):
    """Linear, SiLU, Linear, with a hidden width of four times the output (reference `cond_mlp`, `diff_step_mlp`)."""

    features: int
    hidden: int
    axes: tuple[str | None, str | None]
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        x = Dense(self.hidden, (self.axes[0], MLP), dtype=self.dtype, name="in")(x)
        return Dense(self.features, (MLP, self.axes[1]), dtype=self.dtype, name="out")(nn.silu(x))


class Embedding(nn.Module):
    """A table of `vocabulary` vectors of width `features`."""

    vocabulary: int
    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        table = self.param("table", partitioned(normal_init, VOCAB, EMBED), (self.vocabulary, self.features))
        return jnp.take(gathered(table.astype(self.dtype), VOCAB, EMBED), ids, axis=0)


def split_lora(params: dict) -> tuple[dict, dict]:
    """Splits a parameter tree into (everything else, adapters)."""
    flat = flax.traverse_util.flatten_dict(params)
    base = {path: leaf for path, leaf in flat.items() if "lora" not in path}
    lora = {path: leaf for path, leaf in flat.items() if "lora" in path}
    return flax.traverse_util.unflatten_dict(base), flax.traverse_util.unflatten_dict(lora)


def join_lora(base: dict, lora: dict) -> dict:
    """The inverse of `split_lora`."""
    flat = flax.traverse_util.flatten_dict(base) | flax.traverse_util.flatten_dict(lora)
    return flax.traverse_util.unflatten_dict(flat)


def merge_lora(params: dict, config: LoraConfig) -> dict:
    """Folds every adapter into its kernel: kernel + scale * down @ up.  Leading (scanned) axes are kept."""
    base, lora = (flax.traverse_util.flatten_dict(tree) for tree in split_lora(params))
    for path in [path for path in lora if path[-1] == "down"]:
        owner = path[:-2]
        update = jnp.einsum("...ir,...ro->...io", lora[path], lora[(*owner, "lora", "up")])
        base[(*owner, "kernel")] = base[(*owner, "kernel")] + jnp.float32(config.scale) * update
    return flax.traverse_util.unflatten_dict(base)
