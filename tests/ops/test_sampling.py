import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.ops import sampling

sample = jax.jit(sampling.sample_filtered)


def test_num_kept_is_the_released_filter():
    assert [sampling.num_kept(v) for v in (64, 128, 1024, 8192)] == [2, 3, 21, 164]


def test_noise_of_a_frame_depends_on_its_key_and_index_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    full = sampling.gumbel_rows(keys, 40, 7)
    np.testing.assert_array_equal(sampling.gumbel_rows(keys[1:2], 40, 7)[0], full[1])
    np.testing.assert_array_equal(sampling.gumbel_rows(keys, 23, 7), full[:, :23])
    assert not np.array_equal(full[0], full[1])


def test_temperature_zero_is_greedy():
    logits = jax.random.normal(jax.random.key(1), (2, 9, 128))
    tokens, confidence = sample(logits, jax.random.split(jax.random.key(2), 2), jnp.float32(0))
    np.testing.assert_array_equal(tokens, logits.argmax(-1))
    top = jnp.sort(logits, axis=-1)[:, :, -3:]
    np.testing.assert_allclose(confidence, jax.nn.softmax(top, axis=-1)[:, :, -1], rtol=1e-6)


def test_samples_follow_the_filtered_distribution_at_the_temperature():
    row = jnp.full((128,), -5.0).at[jnp.array([7, 70, 100, 3])].set(jnp.array([2.0, 1.0, 0.5, 0.4]))
    t = 20000
    tokens, _ = sample(jnp.broadcast_to(row[None, None], (1, t, 128)), jax.random.key(3)[None], jnp.float32(2))
    counts = np.bincount(np.asarray(tokens[0]), minlength=128) / t
    expected = np.exp(np.array([2.0, 1.0, 0.5]) / 2)
    np.testing.assert_allclose(counts[[7, 70, 100]], expected / expected.sum(), atol=0.015)
    assert counts[[7, 70, 100]].sum() == 1  # the fourth best is filtered out
