"""What stands in front of every request: how much of it is read, and what is counted of it."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
_ROWS = (1, 2, 4, 8, 16, 32)


class Meters:
    """The figures of /metrics, by Prometheus' own client."""

    def __init__(self):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter("metis_requests", "Requests, by path and status.", ("path", "status"), **own)
        self.seconds = Histogram("metis_request_seconds", "Until the answer.", ("path",), buckets=_SECONDS, **own)
        self.batch = Histogram("metis_batch_size", "Requests decoded together.", buckets=_ROWS, **own)
        self.audio = Counter("metis_audio_seconds", "Seconds of speech made.", **own)
        self.waiting = Gauge("metis_waiting", "Requests that wait for the models.", **own)


class Metered:
    """Counts requests, and times them; paths that are not `known` are one."""

    def __init__(self, app: ASGIApp, meters: Meters, known: frozenset[str]):
        self._app, self._meters, self._known = app, meters, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"] if scope["path"] in self._known else "other"
        begin = time.perf_counter()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._meters.requests.labels(path, str(message["status"])).inc()
                self._meters.seconds.labels(path).observe(time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, sent)


class Bounded:
    """Reads at most `most` bytes of a body, whatever its header says of its length."""

    def __init__(self, app: ASGIApp, most: int):
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def received() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise HTTPException(413, f"the request has more than {self._most} bytes")
            return message

        await self._app(scope, received, send)
