import threading

import jax
import jax.numpy as jnp
import pytest

from metis_jax.cli import runtime


def test_the_clock_counts_compiling_alone():
    with runtime.compile_clock() as clock:
        jax.jit(lambda x: jnp.sin(x) * 3.5)(jnp.ones(17)).block_until_ready()
        compiled = clock.seconds
    jax.jit(lambda x: jnp.sin(x) * 4.5)(jnp.ones(17)).block_until_ready()
    assert clock.seconds == compiled > 0


def test_a_program_that_takes_long_to_compile_is_announced_once(monkeypatch):
    monkeypatch.setattr(runtime, "_PATIENCE", 0.01)
    said = threading.Event()
    calls = []
    with runtime.compile_clock(announce=lambda: (calls.append(1), said.set())) as clock:
        for _ in range(2):  # as JAX reports a program that is read from the cache, and one that is compiled
            clock(runtime._LOWERED, 0.1)
            clock(runtime._COMPILED, 0.1)
        assert not calls
        for _ in range(2):
            clock(runtime._LOWERED, 0.1)
            assert said.wait(30)
            clock(runtime._COMPILED, 0.1)
    assert calls == [1] and clock.seconds == pytest.approx(0.8)
