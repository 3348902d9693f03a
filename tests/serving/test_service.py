"""The server over real HTTP; counting stands for the models."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine

from metis_jax.inference.metis import Metis, Speech
from metis_jax.inference.voices import Voices

pytestmark = pytest.mark.extra("serve", "fastapi", "uvicorn", "prometheus_client", "python_multipart", "httpx")
NOISE = (0.1 * np.random.default_rng(0).normal(size=16000)).astype(np.float32)


class _Bundle:
    tasks = ("se", "vc", "tts")


class _Engine(CountingEngine):
    """Decodes when it is let, and keeps how many at a time."""

    def __init__(self):
        self.bundle = _Bundle()
        self.began, self.let, self.batches = threading.Event(), threading.Event(), []
        self.let.set()

    def semantic_stage(self, task, jobs, settings, progress):
        self.began.set()
        assert self.let.wait(60)
        self.batches.append(len(jobs))
        return super().semantic_stage(task, jobs, settings, progress)

    def hold(self):
        self.let.clear()
        self.began.clear()
        self.batches.clear()


class _Metis(Metis):
    """Says a second for each word."""

    def speak(self, scripts, prompts, **how):
        return [
            Speech(
                self.enhance((np.tile(NOISE, len(one.text.split())), 16000)).wave,
                np.zeros(0, np.int32),
                np.zeros((0, 1), np.int32),
            )
            for one in scripts
        ]


def sound(seconds=1, rate=16000, kind="FLAC"):
    file = io.BytesIO()
    soundfile.write(file, np.tile(NOISE, seconds), rate, format=kind)
    return file.getvalue()


class _Running:
    """A server in a thread, and how to ask it."""

    def __init__(self, folder, **limits):
        import httpx
        import uvicorn

        from metis_jax.serving.service import Limits, make_service

        self.engine = _Engine()
        service = make_service(_Metis(self.engine), Voices(folder), Limits(**limits))
        self.server = uvicorn.Server(uvicorn.Config(service, port=0, log_level="critical"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def post(self, path="/enhance", files=None, **fields):
        files = {"source": sound()} if files is None else files
        return self.client.post(path, files=files, data=fields)

    def when_waiting(self, count):
        while self.client.get("/health").json()["waiting"] != count:
            time.sleep(0.01)

    def stop(self):
        self.engine.let.set()
        self.server.should_exit = True
        self.thread.join(60)
        self.client.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    soundfile.write(folder / "Ann.flac", NOISE, 16000)
    (folder / "Ann.txt").write_text("Good day.")
    running = _Running(folder, most_bytes=200_000, most_seconds=4.0, most_waiting=4, patience=30.0)
    yield running
    running.stop()


def test_a_recording_comes_back_in_the_form_that_was_asked_for(running):
    answer = running.post()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert soundfile.info(io.BytesIO(answer.content)).frames == 24000
    for kind in ("flac", "ogg", "mp3"):
        assert soundfile.info(io.BytesIO(running.post(format=kind).content)).format == kind.upper()
    assert len(running.post(format="pcm").content) == 48000
    converted = running.post("/convert", {"source": sound(2), "prompt": sound()}, seed=3, steps=2)
    assert soundfile.info(io.BytesIO(converted.content)).frames == 48000
    assert running.post("/convert", voice="Ann").status_code == 200


def test_texts_are_said_in_kept_voices(running):
    body = {"model": "any", "input": "one two", "voice": "Ann", "response_format": "wav", "unknown": 1}
    answer = running.client.post("/v1/audio/speech", json=body)
    assert soundfile.info(io.BytesIO(answer.content)).frames == 48000
    assert running.client.post("/speak", data={"text": "one", "voice": "Ann"}).status_code == 200
    told = running.post("/speak", {"prompt": sound()}, text="one", prompt_text="Good day.")
    assert told.status_code == 200


@pytest.mark.parametrize(
    ("path", "files", "fields", "status", "reason"),
    [
        ("/enhance", {}, {}, 422, "source: field required"),
        ("/enhance", {"source": b"It was the best of times. " * 99}, {}, 400, "source: is not audio that libsndfile"),
        ("/enhance", {"source": b""}, {}, 400, "source: is not audio"),
        ("/enhance", {"source": bytes(300_000)}, {}, 413, "the request has more than 200000 bytes"),
        ("/enhance", {"source": 5}, {}, 400, "source: 5.0 s of audio; at most 4 s"),
        ("/enhance", {"source": 1}, {"steps": "0"}, 400, "steps is"),
        ("/enhance", {"source": 1}, {"seed": "x"}, 422, "seed: input should be a valid integer"),
        ("/enhance", {"source": 1}, {"format": "doc"}, 422, "format: input should be 'wav'"),
        ("/convert", {"source": 1}, {}, 400, "prompt is missing; send"),
        ("/convert", {"source": 1}, {"voice": "../Ann"}, 400, "there is no voice '../Ann'; there is: Ann"),
        ("/extract", {"source": 1, "prompt": 1}, {}, 404, "these models are not for target speaker extraction"),
        ("/speak", {"prompt": 1}, {"text": "x" * 5000}, 400, "the text has 5000 characters; at most 4096"),
        ("/speak", {"prompt": 1}, {"text": "one"}, 400, "prompt_text is missing"),
        ("/nothing", {"source": 1}, {}, 404, "Not Found"),
    ],
)
def test_what_can_not_be_done_is_one_line(running, path, files, fields, status, reason):
    files = {name: sound(one) if isinstance(one, int) else one for name, one in files.items()}
    answer = running.post(path, files, **fields)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, message[: len(reason)]) == (status, reason) and "\n" not in message


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/enhance", b"", "source: field required"),
        ("/speak", b"", "text: field required"),
        ("/v1/audio/speech", b"", "body: field required"),
        ("/v1/audio/speech", b'{"input": ', "the body is no JSON (Expecting value); send an object"),
    ],
)
def test_a_request_without_a_body_is_one_line(running, path, body, reason):
    kind = {"Content-Type": "application/json"} if body else {}
    answer = running.client.post(path, content=body, headers=kind)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, reason)


def test_a_recording_with_a_wrong_rate_is_one_line(running):
    slow = sound(rate=100)
    told = bytearray(sound(kind="WAV"))
    told[24:28] = bytes(4)  # samples per second in the header
    for source, reason in (
        (slow, "source: has 100 samples per second; 1000 to 1000000 are read"),
        (bytes(told), "source: is not audio that libsndfile can read"),
    ):
        answer = running.post(files={"source": source})
        message = answer.json()["error"]["message"]
        assert (answer.status_code, message[: len(reason)]) == (400, reason) and "\n" not in message


def test_the_command_decodes_as_many_together_as_pay(monkeypatch, tmp_path):
    from metis_jax.cli import serve

    class Server:
        started = True

        def __init__(self, config):
            pass

        def run(self):
            pass

    asked = []
    monkeypatch.setattr(serve.uvicorn, "Server", Server)
    monkeypatch.setattr(serve.uvicorn, "Config", lambda *_, **__: None)
    monkeypatch.setattr(serve, "make_service", lambda *_, largest_batch: asked.append(largest_batch))
    monkeypatch.setattr(serve, "use_compilation_cache", lambda folder: None)
    for flags in ([], ["--rows=4"]):
        assert serve.main([*flags, "--nowarm_up", f"--voices={tmp_path}"]) == 0
    assert asked == [1, 4]


def test_requests_that_arrive_together_are_decoded_together(running):
    running.engine.hold()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(running.post)
        assert running.engine.began.wait(60)
        others = [pool.submit(running.post) for _ in range(3)] + [pool.submit(running.post, seed=1)]
        running.when_waiting(4)
        refused = running.post()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        assert refused.json()["error"]["message"] == "4 requests are waiting; try again"
        running.engine.let.set()
        assert [one.result().status_code for one in (first, *others)] == [200] * 5
    assert running.engine.batches[0] == 1 and sorted(running.engine.batches[1:]) == [1, 3]
    figures = running.client.get("/metrics").text
    assert 'metis_requests_total{path="/enhance",status="503"} 1.0' in figures
    assert "metis_waiting 0.0" in figures and 'metis_batch_size_bucket{le="4.0"}' in figures


def test_who_goes_away_is_not_waited_for(running):
    import httpx

    running.engine.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.post)
        assert running.engine.began.wait(60)
        with pytest.raises(httpx.ReadTimeout):
            running.client.post("/enhance", files={"source": sound()}, timeout=0.5)
        while 'path="/enhance",status="499"' not in running.client.get("/metrics").text:
            time.sleep(0.05)
        running.engine.let.set()
        assert first.result().status_code == 200
    assert running.post().status_code == 200 and running.engine.batches == [1, 1]


def test_patience_ends(tmp_path):
    running = _Running(tmp_path, patience=1.0)
    running.engine.hold()
    answer = running.post()
    assert (answer.status_code, answer.json()["error"]["message"]) == (504, "not done within 1 s; send less, or later")
    running.stop()


def test_nothing_is_lost_at_the_end(tmp_path):
    import httpx

    running = _Running(tmp_path)
    running.engine.hold()
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(running.post)]
        assert running.engine.began.wait(60)
        asked += [pool.submit(running.post) for _ in range(4)]
        running.when_waiting(4)
        running.server.should_exit = True
        while running.server.servers and running.server.servers[0].is_serving():
            time.sleep(0.01)
        running.engine.let.set()
        assert [one.result().status_code for one in asked] == [200] * 5
    running.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(str(running.client.base_url))
