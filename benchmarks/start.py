"""What the first and the second start of `metis-infer se` cost, by the length of the sound.

    python benchmarks/start.py --seconds=3,10,60,300

The first one finds empty caches.  Seconds are those of the CPU, of all threads, from the command to its end; the sound
is that of the package, as often as it takes.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from importlib import resources

import measure
import numpy as np
import soundfile
from absl import app, flags

_SECONDS = flags.DEFINE_list("seconds", ["3", "10", "60", "300"], "of the sounds")


def cost(source: pathlib.Path, caches: pathlib.Path) -> tuple[float, float]:
    """CPU seconds and MB of memory at the most."""
    environment = os.environ | {"XDG_CACHE_HOME": str(caches)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "metis_jax.cli.infer", "se", str(source)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise ValueError(f"{' '.join(command)}: ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main(_) -> None:
    noisy, rate = soundfile.read(str(resources.files("metis_jax") / "assets" / "noisy.flac"))
    print(f"{measure.environment()}\n\n| sound | first start | second start |\n|---|---|---|")
    for seconds in map(float, _SECONDS.value):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "noisy.flac")
            soundfile.write(source, np.resize(noisy, int(seconds * rate)), rate)
            starts = [cost(source, pathlib.Path(folder)) for _ in range(2)]
        told = " | ".join(f"{cpu:.1f} s, {memory:.0f} MB" for cpu, memory in starts)
        print(f"| {seconds:g} s | {told} |", flush=True)


if __name__ == "__main__":
    app.run(main)
