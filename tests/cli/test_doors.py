"""Installed commands whose packages are not all there."""

import pytest

from metis_jax.cli import doors


@pytest.mark.parametrize(
    ("command", "extra", "package"),
    [("app", "app", "gradio"), ("serve", "serve", "uvicorn"), ("train", "train", "grain"), ("evaluate", "eval", "x")],
)
def test_a_missing_extra_is_one_line(command, extra, package, monkeypatch, capsys):
    def without(module):
        assert module == f"metis_jax.cli.{command}"
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(doors.importlib, "import_module", without)
    assert getattr(doors, command)() == 2
    assert capsys.readouterr().err == f"{command}: {package} is not installed; pip install 'metis_jax[{extra}]'\n"


def test_a_missing_part_of_the_package_is_not_told_as_an_extra(monkeypatch):
    def without(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(doors.importlib, "import_module", without)
    with pytest.raises(ModuleNotFoundError):
        doors.train()


def test_what_only_the_started_processes_import_is_missed_at_once(monkeypatch, capsys):
    monkeypatch.setattr(doors.importlib.util, "find_spec", lambda package: None)
    assert doors.launch() == 2
    assert capsys.readouterr().err == "launch: ml_collections is not installed; pip install 'metis_jax[train]'\n"
