import jax.numpy as jnp
import numpy as np

from metis_jax.ops import lengths as ragged


def test_join_leaves_no_gap_and_take_undoes_it():
    generator = np.random.default_rng(0)
    first = jnp.asarray(generator.normal(size=(3, 4, 2)), jnp.float32)
    second = jnp.asarray(generator.normal(size=(3, 5, 2)), jnp.float32)
    first_lengths, second_lengths = jnp.array([4, 0, 2], jnp.int32), jnp.array([5, 3, 0], jnp.int32)
    joined, lengths = ragged.join(first, first_lengths, second, second_lengths)
    assert joined.shape == (3, 9, 2)
    np.testing.assert_array_equal(lengths, [9, 3, 2])
    for row, (p, n) in enumerate([(4, 5), (0, 3), (2, 0)]):
        expected = np.concatenate([first[row, :p], second[row, :n]])
        np.testing.assert_array_equal(joined[row, : p + n], expected)
    np.testing.assert_array_equal(ragged.take(joined, first_lengths, 5), second)


def test_masks_and_padding():
    lengths = jnp.array([0, 2, 3], jnp.int32)
    np.testing.assert_array_equal(ragged.valid_mask(lengths, 3), [[0, 0, 0], [1, 1, 0], [1, 1, 1]])
    zeroed = ragged.zero_padding(jnp.ones((3, 3, 1), jnp.float32), lengths)
    np.testing.assert_array_equal(zeroed.sum((1, 2)), [0, 2, 3])
