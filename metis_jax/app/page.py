"""The page of `metis-app` (extra `app`): a tab for each task, by Gradio.  Everything it shows comes from this machine.

Several people may use one page: what they ask for is done in turn, and each sees how many are before them.
"""

import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metis_jax.app.spectrogram import figure
from metis_jax.app.studio import MOST_CHARACTERS, MOST_SECONDS, Asked, Made, Studio
from metis_jax.audio.files import Wave, write_wave
from metis_jax.faults import in_one_line
from metis_jax.inference.jobs import MOST_STEPS
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS
from metis_jax.tasks import TASKS
from metis_jax.text.languages import AUTO, LANGUAGES
from metis_jax.weights.card import described

LARGEST_UPLOAD = 200 << 20  # bytes
_MOST_WAITING = 16
_KEPT = 16  # results that Gradio may not have copied yet
# What a browser may load: nothing from elsewhere.  Gradio's page has scripts and styles in it, and evaluates templates.
_FROM_HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

_PROGRESS = gr.Progress()

_CSS = """
.gradio-container { max-width: 60rem !important; min-width: 0 !important; width: 100%; margin: auto }
footer { display: none !important }
:focus-visible { outline: 3px solid var(--color-accent) !important; outline-offset: 2px }
.controls button, .timestamps { color: var(--body-text-color) !important }
@media (max-width: 30rem) {
  .app { padding: 1rem !important }
  .tab-container button { padding: 0 0.4rem !important }
}
"""


class _Stopped(Exception):
    """Somebody has pressed Stop."""


class _Desk:
    """Between Gradio's functions and the studio: who may be stopped, and files to show."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._stops: dict[str, threading.Event] = {}
        self._results: deque[Path] = deque()
        self._folder = tempfile.TemporaryDirectory(prefix="metis_app")

    def stop(self, request: gr.Request) -> None:
        """Ends what a session waits for, at its next steps."""
        if stop := self._stops.get(request.session_hash or ""):
            stop.set()

    def make(self, asked: Asked, request: gr.Request, progress: gr.Progress) -> list[Any]:
        """Sound and picture of after, then of before."""
        session, stop = request.session_hash or "", threading.Event()
        self._stops[session] = stop

        def heard(share: float) -> None:
            if stop.is_set():
                raise _Stopped
            progress(share, desc=TASKS[asked.task].title)

        try:
            made = self.studio.make(asked, heard)
        except _Stopped:
            raise gr.Error("Stopped.", title="Stopped", duration=5, print_exception=False) from None
        except Exception as error:  # whatever it is, the page goes on
            raise gr.Error(in_one_line(error), title="Not done", duration=None, print_exception=False) from None
        finally:
            self._stops.pop(session, None)
        return self._shown(made)

    def _shown(self, made: Made) -> list[Any]:
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        self._results.append(folder)
        if len(self._results) > _KEPT:
            shutil.rmtree(self._results.popleft(), ignore_errors=True)
        shown = [_written(made.after, folder / made.name), figure(made.after, "After")]
        if made.before is not None:
            shown += [_written(made.before, folder / "before.wav"), figure(made.before, "Before")]
        return shown


def _written(wave: Wave, path: Path) -> str:
    with write_wave(path, wave.rate) as writer:
        writer.write(wave.samples)
    return str(path)


def _enhance(desk: _Desk) -> list[gr.Dropdown]:
    source, (seed, steps) = _recording("Noisy recording"), _more()

    def enhance(source: str | None, seed: int, steps: int | None, request: gr.Request, progress=_PROGRESS):
        return desk.make(_asked("se", source, seed, steps), request, progress)

    _button(desk, enhance, [source, seed, steps])
    return []


def _extract(desk: _Desk) -> list[gr.Dropdown]:
    source = _recording("Recording of several people")
    voice, _, saved = _voice(desk)
    seed, steps = _more()

    def extract(
        source: str | None, voice: str | None, seed: int, steps: int | None, request: gr.Request, progress=_PROGRESS
    ):
        return desk.make(_asked("tse", source, seed, steps, voice=voice), request, progress)

    _button(desk, extract, [source, voice, seed, steps])
    return [saved]


def _convert(desk: _Desk) -> list[gr.Dropdown]:
    source = _recording("Recording of the words")
    voice, _, saved = _voice(desk)
    seed, steps = _more()

    def convert(
        source: str | None, voice: str | None, seed: int, steps: int | None, request: gr.Request, progress=_PROGRESS
    ):
        return desk.make(_asked("vc", source, seed, steps, voice=voice), request, progress)

    _button(desk, convert, [source, voice, seed, steps])
    return [saved]


def _speak(desk: _Desk) -> list[gr.Dropdown]:
    text = gr.Textbox(label=f"Text, up to {MOST_CHARACTERS} characters", lines=3)
    voice, words, saved = _voice(desk, has_words=True)
    with gr.Accordion("More", open=False):
        language = gr.Dropdown([AUTO, *LANGUAGES], value=AUTO, label="Language")
        speed = gr.Slider(0.5, 2.0, value=1.0, step=0.05, label="Speed, times that of the voice")
        seed, steps = _numbers()

    def speak(
        text: str,
        voice: str | None,
        words: str,
        language: str,
        speed: float,
        seed: int,
        steps: int | None,
        request: gr.Request,
        progress=_PROGRESS,
    ):
        said = {"text": text, "language": language, "speed": speed}
        return desk.make(_asked("tts", "", seed, steps, voice=voice, voice_words=words, **said), request, progress)

    _button(desk, speak, [text, voice, words, language, speed, seed, steps], has_before=False)
    return [saved]


def _lips(desk: _Desk) -> list[gr.Dropdown]:
    video = gr.Video(sources=["upload", "webcam"], label="Video of a face")
    voice, _, saved = _voice(desk)
    with gr.Accordion("More", open=False):
        face = gr.Number(1, label="Face: of several, the most prominent is 1", precision=0, minimum=1, maximum=99)
        seed, steps = _numbers()

    def lips(
        video: str | None,
        voice: str | None,
        face: int | None,
        seed: int,
        steps: int | None,
        request: gr.Request,
        progress=_PROGRESS,
    ):
        return desk.make(_asked("l2s", video, seed, steps, voice=voice, face=face or 1), request, progress)

    _button(desk, lips, [video, voice, face, seed, steps], has_before=False)
    return [saved]


_TABS = (
    ("se", "Enhance", _enhance),
    ("tse", "Extract", _extract),
    ("vc", "Convert", _convert),
    ("tts", "Speak", _speak),
    ("l2s", "Lips", _lips),
)


def _asked(task: str, source: str | None, seed: int, steps: int | None, voice: str | None = None, **said: Any) -> Asked:
    return Asked(task=task, source=source or "", voice=voice or "", seed=seed, steps=steps or None, **said)


def _recording(label: str) -> gr.Audio:
    label = f"{label}, up to {MOST_SECONDS / 60:g} min"
    return gr.Audio(sources=["upload", "microphone"], type="filepath", label=label, buttons=[])


def _voice(desk: _Desk, *, has_words: bool = False) -> tuple[gr.Audio, gr.Textbox, gr.Dropdown]:
    """The recording of a voice, what it says, and the voices that were kept."""
    voices = desk.studio.voices
    label = f"Voice, 3 to 10 s of one speaker, up to {MAXIMUM_PROMPT_SECONDS:g} s"
    voice = gr.Audio(sources=["upload", "microphone"], type="filepath", label=label, buttons=[])
    words = gr.Textbox(label="What the voice says, all of it", visible=has_words)
    with gr.Row(equal_height=True):
        saved = gr.Dropdown(voices.names(), value=None, label="Kept voices", min_width=200)
        name = gr.Textbox(label="Keep this voice as", max_length=60, min_width=200)
        keep = gr.Button("Keep", scale=0, min_width=90)

    def choose(name: str | None) -> tuple[str | None, str]:
        return (str(voices.path(name)), voices.words(name)) if name else (None, "")

    def add(voice: str | None, name: str, words: str) -> Any:
        try:
            voices.add(name.strip(), voice, words)
        except (ValueError, OSError) as error:
            said = in_one_line(error).replace(voice or "", Path(voice or "").name)
            raise gr.Error(said, title="Not kept", duration=None, print_exception=False) from None
        return gr.Dropdown(choices=voices.names(), value=name.strip())

    private = {"api_visibility": "private", "queue": False}
    saved.input(choose, saved, [voice, words], **private)
    keep.click(add, [voice, name, words], saved, **private)
    return voice, words, saved


def _more() -> tuple[gr.Number, gr.Number]:
    with gr.Accordion("More", open=False):
        return _numbers()


def _numbers() -> tuple[gr.Number, gr.Number]:
    with gr.Row():
        seed = gr.Number(
            0, label="Seed: another one, another try", precision=0, minimum=0, maximum=2**31 - 1, min_width=200
        )
        # Not empty: a number without a value becomes 0 once it is shown, and one that is not allowed.
        steps = gr.Number(
            0, label="Steps: 0 for what these models want", precision=0, minimum=0, maximum=MOST_STEPS, min_width=200
        )
    return seed, steps


def _button(desk: _Desk, function: Callable[..., Any], inputs: Sequence[Any], *, has_before: bool = True) -> None:
    """A button that does it, one that stops it, and where the result is shown."""
    name = function.__name__
    with gr.Row():
        start = gr.Button({"lips": "Speak"}.get(name, name.capitalize()), variant="primary")
        stop = gr.Button("Stop")
    with gr.Row(visible=False) as results:
        parts = []
        for label in ("Before", "After")[not has_before :]:
            with gr.Column(min_width=280):
                picture = gr.HTML()
                parts = [gr.Audio(label=label, interactive=False, buttons=["download"]), picture, *parts]
    # One of all tabs at a time: the models take turns anyway, and who waits is told the place in the queue.
    done = start.click(function, inputs, parts, api_name=name, concurrency_id="models", show_progress_on=start)
    done.success(lambda: gr.Row(visible=True), None, results, api_visibility="private", queue=False)
    stop.click(desk.stop, None, None, cancels=[done], api_visibility="private", queue=False)


def make_page(studio: Studio) -> gr.Blocks:
    """The page; `launch` shows it."""
    desk = _Desk(studio)
    with gr.Blocks(title="Metis", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown("# Metis")
        gr.Markdown(described(studio.metis.engine.bundle))
        voices: list[gr.Dropdown] = []
        for task, name, tab in _TABS:
            with gr.Tab(name, id=task):
                if task in studio.tasks:
                    voices += tab(desk)
                else:
                    gr.Markdown(f"These models are not for {TASKS[task].title}. `metis-app --bundle=…` shows others.")
        if voices:
            page.load(
                lambda: [gr.Dropdown(choices=studio.voices.names())] * len(voices),
                None,
                voices,
                api_visibility="private",
            )
    return page


def launch(page: gr.Blocks, port: int | None = None, *, opens_browser: bool = False) -> str:
    """Serves the page to this machine alone, until `page.close()`; its address.  OSError for a port that is taken."""
    page.queue(max_size=_MOST_WAITING, default_concurrency_limit=1)
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        inbrowser=opens_browser,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=LARGEST_UPLOAD,
        footer_links=[],
        ssr_mode=False,
        app_kwargs={"middleware": [Middleware(_Headers)]},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=_CSS,
    )
    return address


class _Headers:
    """Tells browsers where they may load from."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", _FROM_HERE.encode())]
            await send(message)

        await self._app(scope, receive, sent)
