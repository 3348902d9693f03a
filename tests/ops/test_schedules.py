import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metis_jax.ops import schedules


def test_decoding_times_and_rates_end_at_zero():
    times = schedules.decoding_times(4)
    np.testing.assert_array_equal(times, np.float32([1, 0.75, 0.5, 0.25, 0]))
    rates = schedules.decoding_rates(times)
    np.testing.assert_allclose(rates, np.sin(np.pi / 2 * times), atol=1e-7)
    assert rates[0] == 1 and rates[-1] == 0


def test_host_and_device_rates_agree():
    times = schedules.decoding_times(100)
    np.testing.assert_allclose(schedules.mask_rate(jnp.asarray(times)), schedules.decoding_rates(times), atol=2e-7)


def test_a_third_of_the_way_half_is_masked():
    # sin(pi/6) is the one rational value of the grid: a rate just below one half would re-mask one frame too few.
    rates = schedules.decoding_rates(schedules.decoding_times(12))
    assert rates[8] == 0.5
    assert jax.jit(schedules.masked_count)(rates[8], jnp.int32(100)) == 50


def test_masked_count_floors():
    count = schedules.masked_count(jnp.float32([0.5, 0.999, 0.0]), jnp.int32([5, 1, 9]))
    np.testing.assert_array_equal(count, [2, 0, 0])


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="steps is 0"):
        schedules.decoding_times(0)
