"""The server as a process of its own, for everything that asks it over a real socket."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

MODEL_CODE = Path(__file__).parents[2] / "model_code"


class Server:
    """A started server process; its port is its own choice."""

    def __init__(self, base: Path, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "serve.py"],
            cwd=MODEL_CODE,
            env=os.environ | {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.event("listening")["port"])
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def event(self, name: str) -> dict[str, Any]:
        """The log line of an event, once it is there."""
        return wait_for(lambda: next((one for one in self.events() if one["event"] == name), None))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    def ready(self) -> "Server":
        wait_for(lambda: self.client.get("/ping").status_code == 200)
        return self

    def ask(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        sent = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.post("/invocations", content=content, headers=sent)

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"amplify_{name} ")))

    def peak_memory_mb(self) -> float | None:
        """The most that the process has held in memory so far; None where the system has no /proc."""
        status = Path(f"/proc/{self.process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)

    def ended(self) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        code = self.process.wait(40)
        self._reader.join(5)
        return code, "".join(self.lines)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


def wait_for(value: Callable[[], Any], seconds: float = 40) -> Any:
    """The value, once it is true; the time is for a crowded machine."""
    deadline = time.monotonic() + seconds
    while not (found := value()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def serving(base: Path, **environment: str) -> Iterator[Server]:
    server = Server(base, **environment)
    try:
        yield server
    finally:
        server.close()
