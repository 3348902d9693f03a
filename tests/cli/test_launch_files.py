"""The files of launch/ with stand-ins for Slurm, gcloud and the training: when a run is started again, and when not."""

import os
import re
import signal
import subprocess
import time

import pytest
import yaml
from commands import ROOT

from metis_jax.cli import launch, processes, train

FOLDER = ROOT / "launch"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
STOPPED = 128 + signal.SIGTERM  # of a training that was told to stop, and saved a checkpoint
# A stand-in writes its words, and acts by the number of its call so far; its own folder is $here.
BEGINNING = '#!/bin/bash\nhere=$(dirname "$0")\necho "$*" >> "$here/calls"\n'


@pytest.fixture
def stand_in(tmp_path):
    """Puts a program of this name first in PATH: `run` then gives status, output and the calls of all of them."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(name, body):
        (folder / name).write_text(BEGINNING.replace("echo ", f"echo {name} ") + body)
        (folder / name).chmod(0o755)

    def run(*command, **environment):
        given = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment
        done = subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, timeout=60)
        calls = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
        return done.returncode, done.stdout + done.stderr, calls

    put.run, put.folder = run, folder
    return put


def container():
    [jobs] = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())["spec"]["replicatedJobs"]
    [one] = jobs["template"]["spec"]["template"]["spec"]["containers"]
    return jobs["template"]["spec"], one


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""


def test_flags_of_the_training_exist():
    texts = [path.read_text() for path in FOLDER.iterdir()]
    commands = [
        re.sub(r"\\\n#?", " ", text[match.start() :]).split("\n")[0]
        for text in texts
        for match in re.finditer(
            r"train\.py --|metis-train --|sbatch .*slurm.sh RUN|launch/tpu_vm.sh NAME|  --coord", text
        )
    ]
    found = [flag for line in commands for flag in re.findall(r"--(\w+)[= ]", line.split("launch/")[-1])]
    known = set(train._flags()) | {"config"}
    assert set(found) <= known, sorted(set(found) - known)
    assert {"distributed", "workdir", "config", "coordinator", "processes", "process"} <= set(found)


# ---- Slurm


def slurm(stand_in, tmp_path, *, status, saves=False):
    run = tmp_path / "run"
    (run / "checkpoints" / "10").mkdir(parents=True)
    saved = f"mkdir {run}/checkpoints/20" if saves else ""
    stand_in("srun", f"{saved}\nexit {status}\n")
    stand_in("scontrol", "")
    status, _, calls = stand_in.run("bash", "launch/slurm.sh", run, "--config=X", SLURM_JOB_ID="7")
    assert f"python train.py --distributed --workdir={run} --config=X" in calls[0]
    return status, "scontrol requeue 7" in calls


def test_slurm_ends_with_the_run(stand_in, tmp_path):
    assert slurm(stand_in, tmp_path, status=0, saves=True) == (0, False)


def test_slurm_goes_on_after_the_limit_of_time(stand_in, tmp_path):
    assert slurm(stand_in, tmp_path, status=STOPPED, saves=True) == (STOPPED, True)


@pytest.mark.parametrize("status", [processes.LOST, 128 + signal.SIGKILL])
def test_slurm_goes_on_after_a_loss_where_something_was_saved(stand_in, tmp_path, status):
    assert slurm(stand_in, tmp_path, status=status, saves=True) == (status, True)


@pytest.mark.parametrize("status", [processes.LOST, 128 + signal.SIGKILL])
def test_slurm_ends_where_nothing_was_saved(stand_in, tmp_path, status):
    assert slurm(stand_in, tmp_path, status=status) == (status, False)


def test_slurm_ends_with_a_refusal(stand_in, tmp_path):
    assert slurm(stand_in, tmp_path, status=launch.REFUSED, saves=True) == (launch.REFUSED, False)


# ---- TPU VMs


def tpu_vm(stand_in, *, states, trainings):
    """Runs with a slice whose state is told in this order, and trainings that end with these statuses."""
    told = "\n".join(f"{number}) echo {state} ;;" for number, state in enumerate(states, 1))
    ends = "\n".join(f"{number}) exit {code} ;;" for number, code in enumerate(trainings, 1))
    count = 'echo x >> "$here/{0}"; case $(wc -l < "$here/{0}") in\n{1}\nesac'
    stand_in(
        "gcloud",
        f'case "$*" in\n*describe*) {count.format("looks", told)} ;;\n'
        f"*train.py*) {count.format('starts', ends)} ;;\nesac\n",
    )
    stand_in("git", "")
    given = dict(ZONE="z", TYPE="v6e-16", RUNTIME="v2-alpha-tpuv6e", SHARE="10.0.0.2:/metis", PAUSE="0")
    shards = """--config.data.shards=("/mnt/metis/a b",)"""
    status, output, calls = stand_in.run("bash", "launch/tpu_vm.sh", "pod", "--config=X", shards, **given)
    starts = [call for call in calls if "train.py" in call]
    assert all("--worker=all" in call and r"shards=\(\"/mnt/metis/a\ b\"\,\)" in call for call in starts)
    queued = [call.split()[4] for call in calls if "queued-resources" in call and "describe" not in call]
    return status, len(starts), queued, output


def test_a_slice_is_asked_for_and_waited_for(stand_in):
    states = ["", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    assert tpu_vm(stand_in, states=states, trainings=[0])[:3] == (0, 1, ["create"])


def test_a_slice_that_is_taken_away_is_replaced(stand_in):
    """Also where the processes were told before, and all have stopped."""
    states = ["ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "", "ACTIVE", "SUSPENDED", "SUSPENDED", "", "ACTIVE"]
    trainings = [STOPPED, 255, 0]
    assert tpu_vm(stand_in, states=states, trainings=trainings)[:3] == (0, 3, ["delete", "create"] * 2)


def test_a_refusal_on_a_slice_that_stands_ends(stand_in):
    assert tpu_vm(stand_in, states=["ACTIVE"] * 2, trainings=[launch.REFUSED])[:2] == (launch.REFUSED, 1)


def test_starts_that_come_to_nothing_end(stand_in):
    lost = [processes.LOST] * 9
    status, starts, _, output = tpu_vm(stand_in, states=["ACTIVE"] * 20, trainings=lost)
    assert (status, starts) == (processes.LOST, launch.MOST_IN_VAIN) and "nothing more is tried" in output


def test_a_request_that_fails_ends(stand_in):
    status, starts, _, output = tpu_vm(stand_in, states=["FAILED"], trainings=[])
    assert (status, starts) == (2, 0) and "the request for pod failed" in output


def test_ctrl_c_ends_the_run_on_all_hosts(stand_in):
    ready = stand_in.folder / "ready"
    stand_in("git", "")
    stand_in("gcloud", f'case "$*" in *describe*) echo ACTIVE ;; *--distributed*) touch {ready}; sleep 60 ;; esac\n')
    given = os.environ | {"PATH": f"{stand_in.folder}:{os.environ['PATH']}"}
    given |= dict(ZONE="z", TYPE="v6e-16", RUNTIME="v2-alpha-tpuv6e", SHARE="10.0.0.2:/metis")
    process = subprocess.Popen(["bash", "launch/tpu_vm.sh", "pod"], cwd=ROOT, env=given, start_new_session=True)
    while not ready.exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    [last] = (stand_in.folder / "calls").read_text().splitlines()[-1:]
    assert "--worker=all --command=pkill -TERM -f [t]rain.py" in last


# ---- Kubernetes


def test_a_refusal_ends_the_set_and_a_lost_process_does_not():
    job, one = container()
    [rule] = job["podFailurePolicy"]["rules"]
    codes = rule["onExitCodes"]
    assert rule["action"] == "FailJob" and codes["operator"] == "In" and codes["containerName"] == one["name"]
    assert codes["values"] == [launch.REFUSED] != [processes.LOST]
    assert job["completionMode"] == "Indexed" and job["parallelism"] == job["completions"] and job["backoffLimit"] == 0


@pytest.mark.parametrize("status", [0, 1, launch.REFUSED, processes.LOST])
def test_a_container_ends_as_its_training(stand_in, status):
    stand_in("metis-train", f"exit {status}\n")
    _, one = container()
    assert stand_in.run(*one["command"], *one["args"])[0] == status


def test_a_container_tells_its_training_to_stop(stand_in):
    ready = stand_in.folder / "ready"
    stand_in("metis-train", f"trap 'sleep 0.3; exit {STOPPED}' TERM\ntouch {ready}\nwhile true; do sleep 0.1; done\n")
    _, one = container()
    given = os.environ | {"PATH": f"{stand_in.folder}:{os.environ['PATH']}"}
    process = subprocess.Popen([*one["command"], *one["args"]], env=given)
    while not ready.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == STOPPED
