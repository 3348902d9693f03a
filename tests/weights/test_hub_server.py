"""Bundles to the hub and back, by its real client and a server on loopback that speaks what the client does."""

import pytest
from fake_hub import TOKEN, fake_hub
from mini_chain import write_mini_bundle

from metis_jax.cli import hub as command
from metis_jax.weights.bundle import CONFIG_FILE, Bundle
from metis_jax.weights.tensor_files import WeightsError

pytestmark = pytest.mark.extra("hub", "huggingface_hub")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_mini_bundle(tmp_path_factory.mktemp("bundle") / "mini", tasks=("se",))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub without repositories, and a client that knows no other and has an empty cache."""
    from huggingface_hub import constants

    with fake_hub() as running:
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield running


def pushed(bundle, *flags):
    return command.main(["push", str(bundle), "somebody/voices", *flags])


def test_what_was_pushed_is_opened_by_its_name_and_again_without_a_network(hub, bundle, capsys, monkeypatch):
    from huggingface_hub import constants

    (bundle / "diary.txt").write_text("not for others")
    assert pushed(bundle) == 0
    [revision] = hub.repositories["somebody/voices"]
    assert capsys.readouterr().out == f"{hub.address}/somebody/voices/commit/{revision}\n"
    files = hub.repositories["somebody/voices"][revision]
    assert set(files) == {"README.md", CONFIG_FILE, *(f"{name}.safetensors" for name in Bundle(bundle).components)}
    for name in ("hub:somebody/voices", f"hub:somebody/voices@{revision}"):
        found = Bundle(name)
        assert all((found.path / one).read_bytes() == data for one, data in files.items() if one != "README.md")
    count = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Bundle("hub:somebody/voices").tasks.keys() == {"se"} and len(hub.asked) == count


def test_a_new_push_is_a_new_revision_and_the_old_one_stays(hub, bundle, tmp_path):
    assert pushed(bundle) == pushed(write_mini_bundle(tmp_path / "other", tasks=("se", "vc"))) == 0
    first, second = hub.repositories["somebody/voices"]
    assert Bundle("hub:somebody/voices").tasks.keys() == {"se", "vc"}
    assert Bundle(f"hub:somebody/voices@{first}").tasks.keys() == {"se"}
    with pytest.raises(WeightsError, match="^hub:somebody/voices@gone: download failed") as raised:
        Bundle("hub:somebody/voices@gone")
    assert "\n" not in str(raised.value)


def test_a_download_that_broke_off_goes_on_where_it_was(hub, bundle, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # what is written at once
    assert pushed(bundle) == 0
    [(revision, files)] = hub.repositories["somebody/voices"].items()
    name = "acoustic_codec.safetensors"
    hub.cut[name] = 1000
    found = Bundle("hub:somebody/voices")
    assert (found.path / name).read_bytes() == files[name]
    assert [part for method, path, part in hub.asked if method == "GET" and path.endswith(name)] == ["", "bytes=1000-"]


def test_the_card_says_what_the_bundle_says(bundle, capsys, tmp_path):
    (tmp_path / "figures.md").write_text("| WER | 5 |")
    assert command.main(["card", str(bundle), "somebody/voices", f"--figures={tmp_path}/figures.md"]) == 0
    card = capsys.readouterr().out
    assert card.startswith("---\nlicense: other\n") and "pipeline_tag: audio-to-audio" in card
    for said in ("for speech enhancement; not for", "random weights", 'from_pretrained("hub:somebody/voices")'):
        assert said in card
    assert "| semantic_generator | semantic_generator | " in card and "## Figures\n\n| WER | 5 |\n" in card


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["push", "BUNDLE"], "give push or card, BUNDLE and OWNER/NAME"),
        (["pull", "BUNDLE", "somebody/voices"], "give push or card"),
        (["push", "BUNDLE", "voices"], "voices: expected OWNER/NAME of a repository"),
        (["push", "BUNDLE", "somebody/voices@v1"], "voices@v1: expected OWNER/NAME of"),
        (["push", "nothing", "somebody/voices"], "nothing: not a bundle"),
    ],
)
def test_a_push_that_makes_no_sense_is_one_line(hub, bundle, words, reason, capsys):
    assert command.main([str(bundle) if word == "BUNDLE" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hub: ") and reason in said and said.count("\n") == 1 and not hub.asked


def test_what_the_hub_refuses_is_one_line(hub, bundle, monkeypatch, capsys):
    with pytest.raises(WeightsError, match="^hub:somebody/nothing: download failed") as raised:
        Bundle("hub:somebody/nothing")
    assert "\n" not in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert pushed(bundle) == 2
    said = capsys.readouterr().err
    assert said.startswith("hub: hub:somebody/voices: upload failed (") and said.count("\n") == 1
    hub.shutdown()
    hub.server_close()
    with pytest.raises(WeightsError, match="^hub:somebody/voices: download failed") as raised:
        Bundle("hub:somebody/voices")
    assert "\n" not in str(raised.value)
