"""What was traced is found by the next start, and by it alone that would trace the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.decoding.masked_decode import DecodeState
from metis_jax.inference import traced
from metis_jax.inference.traced import Traced

MODEL = nn.Dense(3)
VARIABLES = MODEL.init(jax.random.key(0), jnp.ones((1, 2)))
seen = []


def applied():
    """A function that JAX does not know yet, as at the start of a process."""

    def function(model, variables, x):
        seen.append(x.shape)
        y = model.apply(variables, x)
        return DecodeState((1000 * y).astype(jnp.int32)[:, :, None], y > 0)

    return Traced(function)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(traced, "kept_in", lambda: str(tmp_path))
    seen.clear()
    return tmp_path


def started_anew(rows=1, model=MODEL):
    """What a process does that has just begun."""
    return applied()(model, VARIABLES, np.ones((rows, 2), np.float32))


def test_the_next_start_does_not_trace(folder):
    first = started_anew()
    again = started_anew()
    assert seen == [(1, 2)] and len(list(folder.iterdir())) == 1
    alone = MODEL.apply(VARIABLES, jnp.ones((1, 2)))
    np.testing.assert_array_equal(first.is_masked, alone > 0)
    np.testing.assert_allclose(first.tokens[:, :, 0], 1000 * alone, atol=1)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_shape_model_package_or_setting_is_traced_anew(folder, monkeypatch):
    for count, ask in enumerate(
        (
            started_anew,
            lambda: started_anew(rows=2),
            lambda: started_anew(model=nn.Dense(3, param_dtype=jnp.float16)),
        ),
        start=1,
    ):
        ask()
        assert len(seen) == count
    with jax.numpy_dtype_promotion("standard"):
        started_anew()
    assert len(seen) == 4
    monkeypatch.setattr(traced, "state_of_package", lambda: "changed")
    started_anew()
    assert len(seen) == 5


def test_what_is_damaged_is_traced_anew_and_mended(folder):
    started_anew()
    [kept] = folder.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        kept.write_bytes(damaged)
        started_anew()
    assert len(seen) == 4
    started_anew()
    assert len(seen) == 4


def test_without_a_folder_or_over_several_devices_nothing_is_kept(folder, monkeypatch):
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(np.ones((2, 2), np.float32), jax.NamedSharding(mesh, jax.P("data")))
    whole = jax.device_put(VARIABLES, jax.NamedSharding(mesh, jax.P()))
    assert applied()(MODEL, whole, split).tokens.shape == (2, 3, 1)
    monkeypatch.setattr(traced, "kept_in", lambda: str(folder / "nowhere"))
    started_anew()
    monkeypatch.setattr(traced, "kept_in", lambda: "")
    started_anew()
    assert not list(folder.iterdir()) and len(seen) == 3
