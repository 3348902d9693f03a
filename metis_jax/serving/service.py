"""The server's doors (extra `serve`, FastAPI): a POST for each task, one in the form of OpenAI's speech, and figures.

A recording goes in as a file of a multipart form and comes back as the body of the answer.  What is wrong with a
request is `{"error": {"message": …}}` with one line and a status from 400 to 499.
"""

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as AnyUploadFile
from starlette.exceptions import HTTPException as AnyHTTPException

import metis_jax
from metis_jax.audio import files
from metis_jax.audio.files import Wave
from metis_jax.faults import in_one_line
from metis_jax.inference.metis import MAXIMUM_PROMPT_SECONDS, Metis
from metis_jax.inference.script import Script
from metis_jax.inference.voices import Voices
from metis_jax.serving.batches import Batcher, Closed, Full
from metis_jax.serving.gates import Bounded, Metered, Meters
from metis_jax.serving.models import Models, Order
from metis_jax.tasks import TASKS

_KINDS = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg", "pcm": "audio/pcm"}
Kind = Literal["wav", "flac", "mp3", "ogg", "pcm"]
_GLANCE = 0.5  # seconds after which is looked whether a client still listens
_GONE = 499  # nobody reads it; the figures do


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may take.

    Attributes:
      most_bytes: of its body.
      most_seconds: of a recording.
      most_characters: of a text.
      most_waiting: requests that wait; more are refused.
      patience: seconds from the end of a body to the answer.
    """

    most_bytes: int = 50 << 20
    most_seconds: float = 300.0
    most_characters: int = 4096
    most_waiting: int = 64
    patience: float = 300.0


class SpeechRequest(BaseModel):
    """The body of OpenAI's `/v1/audio/speech`; `voice` is the name of a kept one."""

    model_config = ConfigDict(extra="ignore")

    input: str
    voice: str
    model: str = "metis"
    response_format: Kind = "mp3"
    speed: float = 1.0


def make_service(metis: Metis, voices: Voices, limits: Limits = Limits(), *, largest_batch: int = 8) -> FastAPI:
    """The application; it takes nothing more when it ends, and answers all that it has taken."""
    models, meters = Models(metis), Meters()
    batcher = Batcher(models.make, largest=largest_batch, most_waiting=limits.most_waiting, heard=meters.batch.observe)
    meters.waiting.set_function(lambda: batcher.waiting)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(batcher.close)

    # Its pages of documentation would load scripts from elsewhere.
    service = FastAPI(title="Metis", version=metis_jax.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    async def made(request: Request, task: str, order: Order, kind: str, **changes: Any) -> Response:
        """The answer to an order."""
        if task not in models.tasks:
            able = ", ".join(TASKS[name].title for name in models.tasks)
            raise HTTPException(404, f"these models are not for {TASKS[task].title}; they are for {able}")
        try:
            settings = metis.settings(task, **changes)
            waiting = batcher.submit(models.group(task, settings, order), order)
        except Full:
            told = {"Retry-After": "10"}
            raise HTTPException(503, f"{limits.most_waiting} requests are waiting; try again", told) from None
        except Closed:
            raise HTTPException(503, "the server is ending") from None
        wave = await _awaited(request, asyncio.wrap_future(waiting), limits.patience)
        meters.audio.inc(wave.seconds)
        return Response(await run_in_threadpool(_body, wave, kind), media_type=_KINDS[kind])

    async def read(upload: UploadFile, name: str, most: float = limits.most_seconds) -> Wave:
        return await run_in_threadpool(_read, upload, name, most)

    async def voice_of(upload: UploadFile | None, name: str) -> tuple[Wave, str]:
        """A voice and what is known of its words, from an upload or by the name of a kept one."""
        if upload is not None:
            return await read(upload, "prompt", MAXIMUM_PROMPT_SECONDS), ""
        if not name:
            raise ValueError("prompt is missing; send a recording of the voice, or voice=NAME of a kept one")
        return await run_in_threadpool(files.read_wave, voices.path(name)), voices.words(name)

    def script(text: str, words: str, **said: Any) -> Script:
        if len(text) > limits.most_characters:
            raise ValueError(f"the text has {len(text)} characters; at most {limits.most_characters} are said")
        if not text.strip():
            raise ValueError("the text is empty")
        if not words.strip():
            raise ValueError("prompt_text is missing; send what the recording of the voice says")
        return Script(text=text, prompt_text=words, **said)

    @service.post("/enhance")
    async def enhance(
        request: Request,
        source: UploadFile,
        seed: Annotated[int, Form()] = 0,
        steps: Annotated[int | None, Form()] = None,
        format: Annotated[Kind, Form()] = "wav",
    ) -> Response:
        """A noisy recording to a clean one."""
        return await made(request, "se", Order(await read(source, "source")), format, seed=seed, steps=steps)

    async def in_a_voice(
        task: str,
        request: Request,
        source: UploadFile,
        prompt: UploadFile | None,
        voice: str,
        seed: int,
        steps: int | None,
        format: Kind,
    ) -> Response:
        wave, _ = await voice_of(prompt, voice)
        return await made(request, task, Order(await read(source, "source"), wave), format, seed=seed, steps=steps)

    @service.post("/extract")
    async def extract(
        request: Request,
        source: UploadFile,
        prompt: UploadFile | None = None,
        voice: Annotated[str, Form()] = "",
        seed: Annotated[int, Form()] = 0,
        steps: Annotated[int | None, Form()] = None,
        format: Annotated[Kind, Form()] = "wav",
    ) -> Response:
        """What the speaker of the prompt says in a recording of several."""
        return await in_a_voice("tse", request, source, prompt, voice, seed, steps, format)

    @service.post("/convert")
    async def convert(
        request: Request,
        source: UploadFile,
        prompt: UploadFile | None = None,
        voice: Annotated[str, Form()] = "",
        seed: Annotated[int, Form()] = 0,
        steps: Annotated[int | None, Form()] = None,
        format: Annotated[Kind, Form()] = "wav",
    ) -> Response:
        """The words of a recording in the voice of the prompt."""
        return await in_a_voice("vc", request, source, prompt, voice, seed, steps, format)

    @service.post("/speak")
    async def speak(
        request: Request,
        text: Annotated[str, Form()],
        prompt: UploadFile | None = None,
        prompt_text: Annotated[str, Form()] = "",
        voice: Annotated[str, Form()] = "",
        language: Annotated[str, Form()] = "auto",
        seconds: Annotated[float | None, Form()] = None,
        speed: Annotated[float, Form()] = 1.0,
        seed: Annotated[int, Form()] = 0,
        steps: Annotated[int | None, Form()] = None,
        format: Annotated[Kind, Form()] = "wav",
    ) -> Response:
        """A text in the voice of the prompt."""
        wave, words = await voice_of(prompt, voice)
        said = script(text, prompt_text or words, language=language, seconds=seconds, speed=speed)
        return await made(request, "tts", Order(said, wave), format, seed=seed, steps=steps)

    @service.post("/v1/audio/speech")
    async def speech(request: Request, asked: SpeechRequest) -> Response:
        """As OpenAI has it."""
        wave, words = await voice_of(None, asked.voice)
        said = script(asked.input, words, speed=asked.speed)
        return await made(request, "tts", Order(said, wave), asked.response_format)

    @service.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": metis_jax.__version__, "tasks": models.tasks, "waiting": batcher.waiting}

    @service.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)

    @service.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> JSONResponse:
        return _fault(error.status_code, str(error.detail), error.headers)

    @service.exception_handler(RequestValidationError)
    async def misshapen(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _fault(422, f"the body is no JSON ({first['ctx']['error']}); send an object")
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return _fault(422, f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}")

    @service.exception_handler(ValueError)
    async def senseless(_: Request, error: ValueError) -> JSONResponse:
        return _fault(400, in_one_line(error))

    @service.exception_handler(ImportError)
    async def unequipped(_: Request, error: ImportError) -> JSONResponse:
        return _fault(501, in_one_line(error))

    paths = frozenset(route.path for route in service.routes)
    service.add_middleware(Bounded, most=limits.most_bytes)
    service.add_middleware(Metered, meters=meters, known=paths)
    return service


def _fault(status: int, message: str, headers: Any = None) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind}}, status, headers)


async def _awaited(request: Request, waiting: "asyncio.Future[Wave]", patience: float) -> Wave:
    """The result, while somebody listens and for as long as is patient; then what has not begun is taken back."""
    clock = asyncio.get_running_loop().time
    end = clock() + patience
    while not waiting.done():
        await asyncio.wait([waiting], timeout=min(_GLANCE, max(end - clock(), 0)))
        if waiting.done():
            break
        if await request.is_disconnected():
            waiting.cancel()
            raise HTTPException(_GONE, "the client has gone")
        if clock() >= end:
            waiting.cancel()
            raise HTTPException(504, f"not done within {patience:g} s; send less, or later")
    return waiting.result()


def _read(upload: AnyUploadFile, name: str, most_seconds: float) -> Wave:
    """The recording in an upload; AudioError, called `name`, for what is none."""
    with tempfile.NamedTemporaryFile(prefix="metis_serve") as file:
        while block := upload.file.read(1 << 20):
            file.write(block)
        file.flush()
        try:
            return files.read_wave(file.name, maximum_seconds=most_seconds)
        except ValueError as error:
            raise ValueError(str(error).replace(file.name, name)) from None


def _body(wave: Wave, kind: str) -> bytes:
    if kind == "pcm":
        return (np.clip(wave.samples, -1, 1) * 32767).round().astype("<i2").tobytes()
    return files.encoded(wave, f".{kind}")
