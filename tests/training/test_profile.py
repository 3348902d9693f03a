"""A trace of steps is written where it should be, and of those that were asked for."""

import jax
import jax.numpy as jnp
import pytest

from metis_jax.training.profile import Profile


def traces(folder):
    return list((folder / "profile").rglob("*.xplane.pb"))


def steps(profile, count):
    work = jax.jit(lambda x: x @ x)
    with profile:
        for _ in range(count):
            profile.step(work(jnp.ones((8, 8))))


def test_steps_are_traced(tmp_path):
    steps(Profile.parse("1:2", tmp_path), 4)
    assert len(traces(tmp_path)) == 1


def test_a_run_that_ends_meanwhile_keeps_its_trace_and_one_that_ends_before_has_none(tmp_path):
    steps(Profile.parse("1:100", tmp_path / "ends"), 3)
    assert len(traces(tmp_path / "ends")) == 1
    steps(Profile.parse("5", tmp_path / "short"), 3)
    assert not traces(tmp_path / "short")


@pytest.mark.parametrize("text", ["0", "a", "1:", "1:0", "-1:2", "1:2:3"])
def test_what_is_no_number_of_steps_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="give COUNT or FIRST:COUNT"):
        Profile.parse(text, tmp_path)
