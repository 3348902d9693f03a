"""Several processes of one run: how they find each other, and how they end together.

A process that fails says why, and tells the others, which end with one line and exit code 3; so they do where one of
them is killed.  The same command goes on from the last checkpoint afterwards, on as many processes as there then are.

JAX's runtime notices a lost process by its missing heartbeats, or by the closed connection to the first one, and then
calls abort() from a thread of its own; the handler of SIGABRT here makes the one line of that.
"""

import ctypes
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import jax
from jax._src import distributed  # the one way to the key-value store that the processes share; Orbax takes it too
from jax._src.lib import utils

import metis_jax
from metis_jax.cli import command

LOST = 3  # exit status where another process ended this one
HEARTBEAT_SECONDS = 30  # without a sign of life for so long, a process counts as lost
GRACE_SECONDS = 5  # in which a process may find by itself what ended another one
FAILED, VERSIONS = "metis_jax/failed", "metis_jax/versions"  # keys in the store that the processes share
SILENT = 4  # above FATAL, in Abseil's counting

_AGAIN = "start all processes again, and the run goes on from its last checkpoint"
# What the runtime says where a collective operation or a barrier misses a process.
_STATUS = re.compile(
    r"[A-Z_]+: .*(gloo|nccl|peer|barrier|coordination|heartbeat|connection|timed out)", re.IGNORECASE | re.DOTALL
)

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")  # that compute, save and feed alike
_VERSIONS_SECONDS = 60

_ending = threading.Lock()
_heard: list[str] = []  # what another process has said of its failure; process 0 ends before all have acted upon it


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Meets the other processes; before any device is used.  ValueError where they can not be found.

    Args:
      coordinator: HOST:PORT that process 0 listens on; None: the cluster (TPU pod, Slurm, ...) says all three.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":
        # One line about a lost process instead of pages.  JAX has read the variable when it was imported.
        utils.absl_set_min_log_level(SILENT)
    by_hand = {"cluster_detection_method": "deactivate"} if coordinator else {}
    try:
        jax.distributed.initialize(coordinator, count, index, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **by_hand)
    except (ValueError, RuntimeError) as error:
        where = coordinator or "no cluster found"
        raise ValueError(
            f"the processes of this run do not find each other ({where}: {error}); outside TPU pods and Slurm "
            "give each one --coordinator=HOST:PORT --processes=N --process=I"
        ) from error
    ctypes.CDLL(None).signal(signal.SIGABRT, _aborted)
    threading.Thread(target=_listen, args=(distributed.global_state.client,), daemon=True).start()


def together(body: Callable[[], int | None], refusals: tuple[type[Exception], ...]) -> NoReturn:
    """Ends this process, which has joined, with the exit status of `body` (see `command.exit_status`).

    Python's own way out would wait for the others, also where these wait for this process.
    """

    def told() -> int | None:
        try:
            _check_versions()
            status = body()
            jax.distributed.shutdown()
            return status
        except BaseException as error:
            if lost := missing_another(error):
                time.sleep(GRACE_SECONDS)  # time for `_listen` to say why
                _end(f"another process of this run was lost ({_first_line(lost)}); {_AGAIN}")
            _tell(f"process {distributed.global_state.process_id} failed: {_first_line(error)}")
            raise

    try:
        status = command.exit_status("train", told, refusals=refusals)
    except BaseException as error:
        traceback.print_exception(error)
        status = 1
    with _ending:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def own_versions() -> dict[str, str]:
    """{package: version} of what all processes must have alike; our own with its sources, for clones may differ."""
    root, sources = Path(metis_jax.__file__).parent, hashlib.blake2b(digest_size=6)
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] != "configs":  # in a clone a link, which is not followed
            sources.update(place.as_posix().encode() + path.read_bytes())
    own = f"{metis_jax.__version__} with sources {sources.hexdigest()}"
    return {"metis_jax": own} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def check_same_versions(own: Mapping[str, str], first: Mapping[str, str], index: int) -> None:
    """ValueError for a package of which process `index` has another version than process 0."""
    for name, version in own.items():
        if first.get(name) != version:
            raise ValueError(
                f"process {index} has {name} {version}, process 0 has {first.get(name, 'none')}; "
                "install the same on all hosts"
            )


def _check_versions() -> None:
    """Before any device is used: other versions may wait for each other in vain, or compute something else."""
    state, own = distributed.global_state, own_versions()
    if state.process_id == 0:
        state.client.key_value_set(VERSIONS, json.dumps(own))
    else:
        first = json.loads(state.client.blocking_key_value_get(VERSIONS, _VERSIONS_SECONDS * 1000))
        check_same_versions(own, first, state.process_id)


def missing_another(error: BaseException | None) -> BaseException | None:
    """Of an error and what caused it the one that misses another process.

    What comes of that one would mislead, as that a checkpoint is damaged which can not be read without the other.
    """
    while error is not None and not _STATUS.match(str(error)):
        error = error.__cause__ or error.__context__
    return error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _tell(reason: str) -> None:
    try:
        distributed.global_state.client.key_value_set(FAILED, reason, allow_overwrite=True)
    except Exception:  # whoever can not be told notices by the heartbeat
        return
    if distributed.global_state.process_id == 0:
        time.sleep(1)  # the store ends with its process: let the others read it


def _listen(client: object) -> None:
    """Ends this process some seconds after another one has said that it failed."""
    while distributed.global_state.client is client:
        try:
            reason = client.blocking_key_value_get(FAILED, 10_000)
        except Exception:  # nothing was said so far
            time.sleep(0.1)
            continue
        _heard.append(reason)
        time.sleep(GRACE_SECONDS)
        _end(f"{reason}; {_AGAIN}")


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    unknown = "another process of this run was lost (TF_CPP_MIN_LOG_LEVEL=0 shows what JAX's runtime says)"
    _end(f"{_heard[0] if _heard else unknown}; {_AGAIN}")


def _end(reason: str) -> NoReturn:
    """Ends this process with one line, from whichever thread is first to know."""
    with _ending:
        os.write(2, f"train: {reason}\n".encode())
        os._exit(LOST)
