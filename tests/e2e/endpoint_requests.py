"""Requests to an endpoint without a pause, whatever is deployed meanwhile: which were lost, who answered the rest."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.processes import wait_until

PROTEIN = "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAANVTKEA"
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # a batch that others are in rounds otherwise

Answer = np.ndarray[Any, Any]


class Requests(threading.Thread):
    """Asks for one protein's embedding, again and again, without a second try.

    Models are told apart by what they answer: the first that is met is number 0, the next number 1, and so on.
    """

    def __init__(self, runtime: Any, endpoint: str) -> None:
        super().__init__(name="requests", daemon=True)
        self._runtime, self._endpoint = runtime, endpoint
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._window: Counter[int] = Counter()
        self.models: list[Answer] = []
        self.count = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                model = self._model_of(ask(self._runtime, self._endpoint, "embed", PROTEIN)["embedding"])
            except (ClientError, BotoCoreError, KeyError, ValueError) as error:
                model, reason = None, f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}"
            with self._lock:
                self.count += 1
                if model is None:
                    self.lost.append(reason)
                else:
                    self._window[model] += 1

    def answered(self) -> Counter[int]:
        """How often each model has answered since this was asked last, the request under way included."""
        seen = self.count
        assert wait_until(lambda: self.count >= seen + 2, 120), f"no answer came: {self.lost}"
        with self._lock:
            found, self._window = self._window, Counter()
        return found

    def wrong(self, answers: int, why: str) -> None:
        """Answers of a model that should not have answered are lost requests too."""
        with self._lock:
            self.lost += [why] * answers

    def stop(self) -> None:
        """The request under way is the last."""
        self._over.set()
        self.join(timeout=120)
        assert not self.is_alive(), "a request has no end"

    def _model_of(self, embedding: Any) -> int:
        answer = np.asarray(embedding, dtype=np.float64)
        for number, known in enumerate(self.models):
            if known.shape == answer.shape and np.allclose(known, answer, **CLOSE):
                return number
        if not np.isfinite(answer).all():
            raise ValueError(f"an answer that is none: {embedding}")
        self.models.append(answer)
        return len(self.models) - 1


def ask(runtime: Any, endpoint: str, task: str, sequence: str) -> dict[str, Any]:
    """The answer for one protein. Raises ClientError where the endpoint refuses or fails."""
    body = json.dumps({"task": task, "inputs": [{"sequence": sequence}]})
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)
    [found] = json.loads(answer["Body"].read())["outputs"]
    return dict(found)


@contextmanager
def meanwhile(work: Callable[[], None], pause_s: float) -> Iterator[None]:
    """Do `work` again and again beside what is in the context."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause_s):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=120)
