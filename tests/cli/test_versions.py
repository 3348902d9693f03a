"""Processes of one run have one version of everything that computes, or say which one has not."""

import pytest

from metis_jax.cli.processes import check_same_versions, own_versions


def test_equal_versions_pass():
    own = own_versions()
    assert {"metis_jax", "jax", "jaxlib", "flax"} <= set(own) and own == own_versions()
    check_same_versions(own, dict(own), 1)


@pytest.mark.parametrize("name", ["metis_jax", "jax"])
def test_another_version_is_named_with_its_process(name):
    own = own_versions()
    with pytest.raises(ValueError) as caught:
        check_same_versions(own, own | {name: "0.1"}, 3)
    assert str(caught.value) == f"process 3 has {name} {own[name]}, process 0 has 0.1; install the same on all hosts"


def test_sources_count_where_the_number_is_the_same(tmp_path, monkeypatch):
    """As of clones at different commits."""
    before = own_versions()["metis_jax"]
    (tmp_path / "new.py").write_text("x = 1\n")
    monkeypatch.setattr("metis_jax.__file__", str(tmp_path / "__init__.py"))
    assert own_versions()["metis_jax"] != before
