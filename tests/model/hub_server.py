"""A Hugging Face Hub of one repository on this machine: the few routes that downloading a checkpoint uses.

Answers as huggingface.co does (commit and digest in headers, byte ranges), and can break off a download half-way.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = "test/tiny"
COMMIT = "c0ffee" * 6 + "beef"


@dataclass
class Hub:
    folder: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    break_off_after: int | None = None  # bytes of the next large file, once
    let_go: threading.Event = field(default_factory=threading.Event)  # large files wait for it

    def __post_init__(self) -> None:
        self.let_go.set()

    def digest(self, name: str) -> str:
        content = (self.folder / name).read_bytes()
        if name.endswith(".safetensors"):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = []
        for path in sorted(self.folder.iterdir()):
            entry: dict[str, object] = {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            if path.suffix == ".safetensors":
                entry["lfs"] = {"oid": self.digest(path.name), "size": path.stat().st_size, "pointerSize": 134}
            else:
                entry["oid"] = self.digest(path.name)
            entries.append(entry)
        return entries


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append(f"{self.command} {path}")
            if path.startswith(f"/api/models/{REPOSITORY}/tree/{COMMIT}"):
                return self.answer_json(hub.tree())
            if path.startswith(f"/api/models/{REPOSITORY}"):
                siblings = [{"rfilename": entry["path"]} for entry in hub.tree()]
                return self.answer_json({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings})
            name = path.rpartition("/")[2]
            if path.startswith(f"/{REPOSITORY}/resolve/") and (hub.folder / name).is_file():
                return self.answer_file(name)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None

        def answer_json(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def answer_file(self, name: str) -> None:
            if name.endswith(".safetensors"):
                hub.let_go.wait()
            content = (hub.folder / name).read_bytes()
            start = 0
            if wanted := self.headers.get("Range"):
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                hub.ranges.append(wanted)
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hub.digest(name)}"')
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.break_off_after is not None and name.endswith(".safetensors"):
                body, hub.break_off_after = body[: hub.break_off_after], None
                self.close_connection = True
            self.wfile.write(body)

    return Handler


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.let_go.set()
            server.shutdown()
