"""The page as a program sees it, through Gradio's own client."""

import base64
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mini_chain import CountingEngine

from metis_jax.app.studio import Asked, Studio
from metis_jax.inference.metis import Metis
from metis_jax.inference.voices import Voices
from metis_jax.weights.bundle import Bundle

pytestmark = pytest.mark.extra("app", "gradio", "gradio_client")


class _SlowEngine(CountingEngine):
    """Decodes when it is let, and says that it has begun."""

    def __init__(self):
        self.bundle = Bundle("nano")
        self.began, self.let = threading.Event(), threading.Event()
        self.let.set()

    def semantic_stage(self, task, jobs, settings, progress):
        self.began.set()
        assert self.let.wait(60)
        progress(1)
        return super().semantic_stage(task, jobs, settings, progress)


@pytest.fixture(scope="module")
def engine():
    return _SlowEngine()


@pytest.fixture(scope="module")
def address(engine, tmp_path_factory):
    from metis_jax.app.page import launch, make_page

    page = make_page(Studio(Metis(engine), Voices(tmp_path_factory.mktemp("voices"))))
    yield launch(page)
    page.close()


@pytest.fixture
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)


@pytest.fixture
def noise(tmp_path):
    from gradio_client import handle_file

    soundfile.write(tmp_path / "noise.flac", 0.1 * np.random.default_rng(0).normal(size=16000), 16000)
    return handle_file(tmp_path / "noise.flac")


def test_a_recording_is_enhanced_and_a_voice_converted(client, noise):
    after, picture, before, _ = client.predict(noise, api_name="/enhance")  # 0 steps, as the page comes
    assert Path(after).name == "noise.se.wav" and soundfile.info(after).frames == 24000
    assert soundfile.info(before).frames == 16000 and "Spectrogram, After: 1.0 s" in picture
    base64.b64decode(picture.partition("base64,")[2].partition('"')[0], validate=True)
    after, *_ = client.predict(noise, noise, 1, 3, api_name="/convert")
    assert Path(after).name == "noise.vc.wav"
    # What these models do not do has no button.
    assert {"/enhance", "/extract", "/convert", "/speak"} == set(
        client.view_api(return_format="dict")["named_endpoints"]
    )


def test_a_bad_upload_is_one_clear_message(client, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "book.txt").write_text("It was the best of times. " * 1000)
    with pytest.raises(AppError, match=r"^book.txt: is not audio that libsndfile can read \([^\n]*$"):
        client.predict(handle_file(tmp_path / "book.txt"), 0, None, api_name="/enhance")
    with pytest.raises(AppError, match="^there is no recording yet; record or upload one$"):
        client.predict(None, 0, None, api_name="/enhance")


def test_two_at_once_queue(client, address, engine, noise):
    from gradio_client import Client

    engine.let.clear()
    engine.began.clear()
    first = client.submit(noise, 0, None, api_name="/enhance")
    assert engine.began.wait(60)
    second = Client(address, verbose=False).submit(noise, 0, None, api_name="/enhance")
    assert not second.done()
    engine.let.set()
    assert soundfile.info(first.result(60)[0]).frames == soundfile.info(second.result(60)[0]).frames == 24000


def test_what_is_stopped_ends_at_its_next_steps(engine, noise, tmp_path):
    import gradio

    from metis_jax.app.page import _Desk

    desk, request = _Desk(Studio(Metis(engine), Voices(tmp_path))), gradio.Request(session_hash="one")
    engine.let.clear()
    engine.began.clear()
    said = []

    def ask():
        try:
            desk.make(Asked(task="se", source=noise["path"]), request, gradio.Progress())
        except gradio.Error as error:
            said.append(error.message)

    asking = threading.Thread(target=ask)
    asking.start()
    assert engine.began.wait(60)
    desk.stop(gradio.Request(session_hash="another"))
    desk.stop(request)
    engine.let.set()
    asking.join(60)
    assert said == ["Stopped."]


def test_the_page_is_told_to_load_nothing_from_elsewhere(address):
    import httpx

    answer = httpx.get(address)
    assert answer.headers["content-security-policy"].startswith("default-src 'self' ")
    assert "fonts.googleapis" not in answer.text and address.startswith("http://127.0.0.1:")


def test_an_upload_that_is_too_large_is_refused_and_not_kept(engine, tmp_path, monkeypatch):
    import httpx

    from metis_jax.app import page

    monkeypatch.setattr(page, "LARGEST_UPLOAD", 100_000)
    small = page.make_page(Studio(Metis(engine), Voices(tmp_path / "voices")))
    address = page.launch(small)

    def upload(name, size):
        return httpx.post(f"{address}gradio_api/upload", files={"files": (name, bytes(size))})

    [kept] = map(Path, upload(f"{tmp_path.name}.flac", 50_000).json())
    assert kept.stat().st_size == 50_000
    assert upload(f"{tmp_path.name}_long.flac", 1 << 20).status_code == 413
    assert not list(kept.parents[1].rglob(f"{tmp_path.name}_long.flac"))
    small.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser, chromium")
def test_a_browser_shows_a_tab_for_each_task_and_loads_nothing_from_elsewhere(address, tmp_path):
    """What the scripts of the page have made of it, under what it is told to load."""
    browser = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    asked = [*browser, "--virtual-time-budget=30000", "--dump-dom", address]
    shown = subprocess.run(asked, capture_output=True, text=True, timeout=300).stdout
    tabs = re.findall(r'<button role="tab"[^>]*>\s*(\w+)', shown)
    assert tabs == ["Enhance", "Extract", "Convert", "Speak", "Lips"]
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+)', shown)
    assert loaded and all(place.startswith(address) for place in loaded)
