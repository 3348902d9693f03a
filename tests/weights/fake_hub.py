"""A hub on loopback: what its client says to it when a folder is uploaded in a commit, and downloaded.

Files are kept by repository and revision in memory.  `cut` ends the next download of a file after so many bytes, as a
network does; `asked` has every request.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_test"


class FakeHub(ThreadingHTTPServer):
    """Attributes:
    repositories: {name: {commit: {path: bytes}}}, the newest commit last.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by their hash
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.cut: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        revision = hashlib.sha1(repr((name, sorted(files), len(self.repositories[name]))).encode()).hexdigest()
        self.repositories[name][revision] = files
        return revision


@contextlib.contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *_):
        pass

    def _answer(self, status=200, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, code="RepoNotFound"):
        self._answer(404, {"error": "not found"}, X_Error_Code=code, X_Error_Message="not found")

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _note(self):
        path = urlsplit(self.path).path
        self.server.asked.append((self.command, path, self.headers.get("Range", "")))
        return path

    def _repository(self, name, revision):
        """(commit, files), or None after an answer that says that there is none."""
        commits = self.server.repositories.get(name)
        if not commits:
            return self._missing()
        revision = list(commits)[-1] if revision == "main" else revision
        if revision not in commits:
            return self._missing("RevisionNotFound")
        return revision, commits[revision]

    def do_POST(self):
        path, body = self._note(), self._body()
        if path == "/api/validate-yaml":
            return self._answer(body={"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
            about = {"url": f"{self.server.address}/{name}", "name": name}
            if name in self.server.repositories:
                return self._answer(409, about | {"error": "exists"})
            self.server.repositories[name] = {}
            return self._answer(body=about)
        if found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            if found[1] not in self.server.repositories:
                return self._missing()
            files = [
                {"path": one["path"], "shouldIgnore": False, "uploadMode": "lfs"}
                | ({"uploadMode": "regular"} if not one["path"].endswith(".safetensors") else {})
                for one in json.loads(body)["files"]
            ]
            return self._answer(body={"files": files})
        if re.fullmatch(r"/.+\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            upload = [
                one | {"actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}} for one in objects
            ]
            return self._answer(body={"transfer": "basic", "objects": upload})
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            lines = [json.loads(line) for line in body.decode().splitlines()]
            files = {one["value"]["path"]: self._committed(one) for one in lines if one["key"] != "header"}
            revision = self.server.commit(found[1], files)
            address = f"{self.server.address}/{found[1]}/commit/{revision}"
            return self._answer(body={"commitUrl": address, "commitOid": revision, "pullRequestUrl": None})
        self._missing()

    def _committed(self, line):
        if line["key"] == "lfsFile":
            return self.server.objects[line["value"]["oid"]]
        return base64.b64decode(line["value"]["content"])

    def do_PUT(self):
        oid, data = self._note().removeprefix("/lfs/"), self._body()
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.objects[oid] = data
        self._answer()

    def do_GET(self):
        path = self._note()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if at := self._repository(found[1], found[2] or "main"):
                revision, files = at
                siblings = [{"rfilename": name} for name in files]
                self._answer(body={"id": found[1], "sha": revision, "siblings": siblings, "private": False, "tags": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if at := self._repository(found[1], found[2]):
                self._answer(
                    body=[
                        {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                        for name, data in at[1].items()
                    ]
                )
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if at := self._repository(found[1], found[2]):
                self._file(*at, found[3])
        else:
            self._missing()

    do_HEAD = do_GET

    def _file(self, revision, files, name):
        if name not in files:
            return self._missing("EntryNotFound")
        data = files[name]
        about = {"ETag": f'"{_etag(data)}"', "X_Repo_Commit": revision, "Accept_Ranges": "bytes"}
        if self.command == "HEAD":
            return self._answer(**about, Content_Length=str(len(data)))
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        if begin:
            about["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        rest, most = data[begin:], self.server.cut.pop(name, None)
        self._answer(206 if begin else 200, rest[:most], **about, Content_Length=str(len(rest)))
        self.close_connection = most is not None


def _etag(data):
    return hashlib.sha256(data).hexdigest()
