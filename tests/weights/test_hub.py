"""Bundles of the hub, by its real client and without a network: what its cache holds."""

import shutil
import sys

import pytest
from mini_chain import write_mini_bundle

from metis_jax.weights.bundle import Bundle
from metis_jax.weights.tensor_files import WeightsError

needs_client = pytest.mark.extra("hub", "huggingface_hub")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The cache after somebody has downloaded hub:somebody/voices; its folder of the bundle."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--somebody--voices"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    return write_mini_bundle(repository / "snapshots" / REVISION, tasks=("se",))


@needs_client
@pytest.mark.parametrize("name", ["hub:somebody/voices", f"hub:somebody/voices@{REVISION}"])
def test_a_bundle_is_opened_by_its_name_offline(cached, name):
    assert Bundle(name).path == cached and set(Bundle(name).tasks) == {"se"}


@needs_client
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hub:somebody/others", "hub:somebody/others: download failed"),
        ("hub:somebody/voices@v2", "hub:somebody/voices@v2: download failed"),
        ("hub:voices", "expected hub:OWNER/NAME"),
        ("hub:somebody/voices@", "expected hub:OWNER/NAME"),
        ("hub:../../etc", "expected hub:OWNER/NAME"),
    ],
)
def test_what_the_hub_has_not_is_one_line(cached, name, reason):
    with pytest.raises(WeightsError, match=reason) as raised:
        Bundle(name)
    assert "\n" not in str(raised.value)


@needs_client
def test_a_repository_that_holds_no_bundle_is_named(cached):
    shutil.rmtree(cached)
    cached.mkdir()
    (cached / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="not a bundle, config.json is missing"):
        Bundle("hub:somebody/voices")


def test_a_client_that_is_not_there_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"needs huggingface_hub; pip install 'metis_jax\[hub\]'"):
        Bundle("hub:somebody/voices")
