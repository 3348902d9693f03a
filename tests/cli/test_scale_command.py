"""The scaling command: what it refuses, and a small sweep from end to end."""

import json
from pathlib import Path

import jax
import pytest

from metis_jax.cli.scale import main
from metis_jax.scaling import plan, topologies
from metis_jax.scaling.fit import Law
from metis_jax.scaling.program import DoesNotFit

PRETRAIN = "--config=configs/pretrain.py:tiny"
SWEEP = ["sweep", PRETRAIN, "--workdir=x"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "scale: nothing was asked for; use one of plan, sweep, fit, see --help"),
        (["plane"], "scale: there is no 'plane'; use one of plan, sweep, fit, see --help"),
        (["plan", PRETRAIN], "scale plan: give --topology=…; see --help"),
        (["plan", PRETRAIN, "--topology=v9x:2x2"], "scale plan: topology 'v9x:2x2' is not known; give CHIP:AxB"),
        (
            ["plan", PRETRAIN, "--topology=v5e:2x2", "--bucket=7"],
            "scale plan: --bucket=7; the experiment's are 100, 200",
        ),
        (
            [*SWEEP, "--sizes=64", "--budgets=1e12"],
            "scale sweep: --sizes=64: give WIDTHxLAYERS",
        ),
        ([*SWEEP, "--sizes=64x2", "--budgets=nan"], "scale sweep: --budgets=nan: expected a"),
        (
            [*SWEEP, "--sizes=64x2", "--budgets=1"],
            "scale sweep: a budget of 1 is less than a step",
        ),
        (
            ["sweep", "--config", "configs/pretrain.py:tiny", "--workdir=x", "--sizes=64x2", "--budgets=1e12"],
            "scale sweep: give the experiment as --config=FILE, in one word",
        ),
        (["fit", "--runs=x"], "scale fit: x: 0 runs have ended; a law of five numbers wants 6 or more"),
        (["fit", "--runs=x", "--draws=1"], "scale fit: --draws is 1; expected 10 to"),
    ],
)
def test_what_is_refused(capsys, arguments, line):
    assert main(arguments) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
    assert not Path("x").exists()


def test_plans_that_can_not_be_made(monkeypatch, capsys):
    monkeypatch.setattr(topologies, "devices_of", lambda _: jax.devices())
    arguments = ["plan", PRETRAIN, "--topology=v5e:2x4"]
    assert main([*arguments, "--config.mesh.fsdp=3"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("scale plan: mesh (data, fsdp, tensor) = (-1, 3, 1) does not divide 8 devices; choose")
    monkeypatch.setattr(plan, "compile_step", too_large)
    line = "a step needs 31.0 of 16 GiB a device, 1.0 of it for its state; lower config.tokens_per_device from 1600 to"
    assert main(arguments) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"scale plan: mesh (data, fsdp, tensor) = (8, 1, 1): {line}")
    assert main([*arguments, "--search"]) == 2
    *each, said = capsys.readouterr().err.splitlines()
    assert sum(line in one for one in each) == len(list(plan.meshes(8)))
    assert "meshes fits; lower config.tokens_per_device, or take more devices" in said


def too_large(*_, **__):
    raise DoesNotFit(2**30, 31 * 2**30)


@pytest.mark.extra("tpu", "libtpu")
def test_a_topology_that_does_not_exist(capsys):
    assert main(["plan", PRETRAIN, "--topology=v5e:3x5"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("scale plan: topology 'v5e:3x5': no slice of v5e has this shape (")


def test_help(capsys):
    assert main(["--help"]) == 0 and "metis-scale plan" in capsys.readouterr().out


def test_a_sweep_writes_the_commands_of_its_runs(tmp_path, capsys):
    arguments = [
        "sweep",
        PRETRAIN,
        f"--workdir={tmp_path}",
        "--sizes=64x2,128x2",
        "--budgets=1e12,4e12",
        "--config.seed=3",
    ]
    assert main(arguments) == 0
    commands = (tmp_path / "commands.txt").read_text().splitlines()
    assert len(commands) == 4 and all("--config.seed=3" in line for line in commands)
    run = json.loads((tmp_path / "64x2_1e+12" / "sweep.json").read_text())
    assert f"--config.steps={run['steps']}" in commands[0] and run["parameters"] > 100_000


def test_a_folder_of_another_sweep_is_refused(tmp_path, capsys):
    arguments = ["sweep", PRETRAIN, f"--workdir={tmp_path}", "--budgets=1e12"]
    assert main([*arguments, "--sizes=64x2"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main([*arguments, "--sizes=32x1,64x2", "--config.tokens_per_device=400"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said == f"scale sweep: {tmp_path}/64x2_1e+12: holds another run, of other flags; use a new --workdir"
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


@pytest.mark.parametrize(
    ("statuses", "status", "said"),
    [
        ([0, 2, 137, 0], 1, ["64x2_4e+12 failed; the same", "128x2_1e+12 failed; the same command tries it again"]),
        ([0, 143], 143, []),
    ],
)
def test_runs_that_fail_are_named_and_a_signal_ends_the_sweep(tmp_path, capsys, monkeypatch, statuses, status, said):
    left = list(statuses)
    monkeypatch.setattr("metis_jax.cli.scale.run_together", lambda commands: left.pop(0))
    arguments = ["sweep", PRETRAIN, f"--workdir={tmp_path}", "--sizes=64x2,128x2", "--budgets=1e12,4e12", "--run"]
    assert main(arguments) == status and not left
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said) and all(part in line for part, line in zip(said, lines, strict=True))


def test_a_law_and_its_picture(tmp_path, capsys):
    law = Law(e=3.0, a=40.0, b=300.0, alpha=0.35, beta=0.4)
    for parameters in (10**6, 10**7):
        for tokens in (10**6, 10**7, 10**8):
            folder = tmp_path / f"{parameters}_{tokens}"
            folder.mkdir()
            run = {"parameters": parameters, "tokens": tokens, "steps": 10}
            (folder / "sweep.json").write_text(json.dumps(run))
            row = {"step": 10, "split": "validation", "loss": law.loss(parameters, tokens)}
            (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    left = tmp_path / "left"
    left.mkdir()
    (left / "sweep.json").write_text(json.dumps(run))
    plot = tmp_path / "law.png"
    assert main(["fit", f"--runs={tmp_path}", "--draws=10", "--budget=1e14,1e15,1e20", f"--plot={plot}"]) == 0
    out, error = capsys.readouterr()
    assert error == "scale fit: left out, for they have not ended: left\n"
    assert "6 runs: loss = E" in out and "NOT IDENTIFIED" not in out
    assert [out.count(f"no run had such a {what}") for what in ("size", "budget")] == [
        1,
        1,
    ] and plot.stat().st_size > 10_000


@pytest.mark.slow
def test_a_swept_run_is_trained(tmp_path):
    arguments = ["sweep", "--config=configs/pretrain.py:quicktest", f"--workdir={tmp_path}", "--run"]
    assert main([*arguments, "--sizes=16x1", "--budgets=2e9", "--config.sample_every=0"]) == 0
    [run] = tmp_path.glob("*/sweep.json")
    rows = [json.loads(line) for line in (run.parent / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["split"] == "validation" and rows[-1]["step"] == json.loads(run.read_text())["steps"]
