"""The server of `metis-serve`, on loopback: requests a second, and how long clients wait.

    python benchmarks/server.py --requests=16 --clients=8 --rows=1,8

A server is started in this process for each number of rows, warmed up, and asked for the enhancement of the same few
seconds: by one client, one request after the other, then by several at once.  Last it is told to end while several
wait, of which none may be lost.  Needs the extra `serve`, and httpx.
"""

import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import httpx
import measure
import numpy as np
import uvicorn
from absl import app, flags

from metis_jax.audio.files import Wave, encoded, read_wave
from metis_jax.inference.metis import Metis
from metis_jax.inference.voices import Voices, default_folder
from metis_jax.serving.service import make_service

_BUNDLE = flags.DEFINE_string("bundle", "nano", "the models")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "of the recording", 0.5, 7.0)
_REQUESTS = flags.DEFINE_integer("requests", 16, "in each run", 1, 1000)
_CLIENTS = flags.DEFINE_integer("clients", 8, "at once, in the second run of each server", 1, 64)
_ROWS = flags.DEFINE_list("rows", ["1", "8"], "requests that a server decodes together")


def ask(address: str, recording: bytes, clients: int) -> tuple[float, np.ndarray]:
    """Requests a second, and the seconds that each took."""

    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(clients) as pool:

        def one(_: int) -> float:
            start = time.perf_counter()
            client.post(f"{address}/enhance", files={"source": recording}).raise_for_status()
            return time.perf_counter() - start

        start = time.perf_counter()
        waited = list(pool.map(one, range(_REQUESTS.value)))
        return _REQUESTS.value / (time.perf_counter() - start), np.array(waited)


def lost_at_the_end(address: str, recording: bytes, clients: int, server: uvicorn.Server) -> str:
    """Ends the server while half of `clients` requests wait at least; how many were answered, refused and lost."""

    def one(_: int) -> str:
        try:
            answer = client.post(f"{address}/enhance", files={"source": recording})
        except httpx.ConnectError:
            return "refused"
        except httpx.HTTPError:
            return "lost"
        return {200: "answered", 503: "refused"}.get(answer.status_code, "lost")

    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(clients) as pool:
        ends = [pool.submit(one, index) for index in range(clients)]
        while client.get(f"{address}/health").json()["waiting"] < clients // 2 and not any(end.done() for end in ends):
            time.sleep(0.01)
        server.should_exit = True
        counts = Counter(end.result() for end in ends)
    return ", ".join(f"{counts[what]} {what}" for what in ("answered", "refused", "lost"))


def main(_) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    noisy = read_wave(resources.files("metis_jax") / "assets" / "noisy.flac")
    recording = encoded(Wave(noisy.samples[: int(_SECONDS.value * noisy.rate)], noisy.rate), ".flac")
    print(f"{measure.environment()}; {_SECONDS.value:g} s of sound, {_REQUESTS.value} requests a run\n")
    print("| rows | clients | requests/s | median s | 90 % s | longest s | CPU s a request | mean batch | at the end |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rows in map(int, _ROWS.value):
        metis = Metis.from_pretrained(_BUNDLE.value, rows=rows)
        for count in {1, rows}:  # the programs of a batch alone, and of a full one
            metis.enhance([(noisy.samples[: int(_SECONDS.value * noisy.rate)], noisy.rate)] * count)
        service = make_service(metis, Voices(default_folder()), largest_batch=rows)
        server = uvicorn.Server(uvicorn.Config(service, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        answered, decoded = 0.0, 0.0
        for clients, is_last in ((1, False), (_CLIENTS.value, True)):
            before = time.process_time()  # of all threads, the clients' too
            rate, waited = ask(address, recording, clients)
            spent = (time.process_time() - before) / _REQUESTS.value
            figures = httpx.get(f"{address}/metrics").text
            now = [_figure(figures, f"metis_batch_size_{what}") for what in ("sum", "count")]
            mean, answered, decoded = (now[0] - answered) / (now[1] - decoded), *now
            late = np.quantile(waited, [0.5, 0.9, 1])
            cells = [f"{rate:.2f}", *(f"{x:.2f}" for x in (*late, spent)), f"{mean:.1f}"]
            cells.append(lost_at_the_end(address, recording, clients, server) if is_last else "")
            print(f"| {rows} | {clients} | {' | '.join(cells)} |", flush=True)
        thread.join()


def _figure(text: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


if __name__ == "__main__":
    app.run(main)
