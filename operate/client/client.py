"""The client: a method for each task."""

import json
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import boto3
import numpy as np
from botocore.config import Config
from numpy.typing import NDArray

from operate.batch_tasks import Question
from operate.portions import portions

from .errors import TOO_LARGE, BusyError, EndpointError, FailedError
from .outputs import MaskedPositions, Output, Scan, read_npz
from .proteins import Protein, as_read, check_list, size
from .ways import AtOnce, Later, Queue

PATIENCE_S = 120.0
"""How long in all a request waits for an endpoint that says it is busy."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 20.0
"""Between two attempts, where the endpoint names no time; twice as long after each."""
NPZ = "application/x-npz"
NO_STREAMS = ("ValidationError", "ValidationException")
"""What SageMaker says where a mode, as serverless, has none."""

Numbers = NDArray[np.float32]
Layer = int | Sequence[int] | str
Progress = Callable[[int, int], None]
"""Told how many proteins (of a long scan: positions) of how many are done."""
T = TypeVar("T")


class AmplifyClient:
    """Calls one endpoint. Thread-safe, as boto3's clients are.

    Its methods raise RefusedError for what must be changed, BusyError where patience ran out, FailedError where the
    server failed; all are EndpointErrors. A protein at fault refuses the whole call and is named.
    """

    def __init__(
        self,
        endpoint_name: str,
        *,
        inference_component: str | None = None,
        runtime: Any = None,
        queue: Queue | None = None,
        patience_s: float = PATIENCE_S,
        concurrent_requests: int = 4,
        progress: bool | Progress = False,
    ) -> None:
        """`runtime`: a boto3 `sagemaker-runtime` client; the default takes boto3's usual settings.

        `inference_component`: the model's name on an endpoint of mode inference_components, where requests name it.
        `queue`: of an endpoint of mode async. `progress`: True for a bar, or whom to tell.
        """
        if concurrent_requests < 1:
            raise ValueError(f"concurrent_requests is {concurrent_requests}; 1 or more are wanted")
        if queue is not None and inference_component is not None:
            raise ValueError("an endpoint has a queue or inference components, not both")
        self.endpoint_name = endpoint_name
        # boto3 would send a request again that timed out, and the server then works twice.
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            read_timeout=70,
            max_pool_connections=concurrent_requests,
        )
        runtime = runtime or boto3.client("sagemaker-runtime", config=config)
        target = {"EndpointName": endpoint_name}
        if inference_component:
            target["InferenceComponentName"] = inference_component
        self._way: AtOnce | Later = (
            AtOnce(runtime=runtime, target=target)
            if queue is None
            else Later(runtime=runtime, endpoint_name=endpoint_name, queue=queue)
        )
        self._patience_s = patience_s
        self._concurrent_requests = concurrent_requests
        self._progress = progress

    def embed(
        self, proteins: Sequence[Protein], *, pooling: str = "mean", layer: Layer = -1, normalize: bool = False
    ) -> Numbers:
        """Embedding of each protein by `mean` over its residues, or of `bos`: [n, hidden size].

        `layer`: 1 is the first block, -1 the last; a list of them, or "all", gives [n, layers, hidden size].
        """
        if pooling == "per_residue":
            raise ValueError("proteins differ in length: embed_residues gives an array for each")
        return np.stack(self._embeddings(proteins, pooling, layer, normalize))

    def embed_residues(
        self, proteins: Sequence[Protein], *, layer: Layer = -1, normalize: bool = False
    ) -> list[Numbers]:
        """Embeddings of each protein's residues, [L, hidden size]; with layers, [layers, L, hidden size]."""
        return self._embeddings(proteins, "per_residue", layer, normalize)

    def logits(self, proteins: Sequence[Protein]) -> list[Numbers]:
        """Of each protein [L + 2, 27], from `<bos>` to `<eos>`."""
        return [output["logits"] for output in self._ask("logits", proteins)]

    def fill_mask(self, proteins: Sequence[Protein], *, top_k: int = 5) -> list[MaskedPositions]:
        """The likeliest residues at each `_` or `<mask>`."""
        outputs = self._ask("fill_mask", proteins, top_k=top_k)
        return [MaskedPositions(one["positions"], one["residues"], one["probabilities"]) for one in outputs]

    def perplexity(self, proteins: Sequence[Protein], *, exact: bool = False) -> NDArray[np.float64]:
        """Perplexity of each protein, [n]; `exact`: masking each residue in turn."""
        outputs = self._ask("perplexity", proteins, exact=exact)
        return np.array([one["perplexity"] for one in outputs], dtype=np.float64)

    def score_variants(
        self, protein: Protein, variants: Sequence[str], *, method: str = "masked_marginal"
    ) -> NDArray[np.float32]:
        """Log-likelihood ratio in nats of each variant, `A42G` or `A42G:L50P`, [n]."""
        check_list(variants)
        [output] = self._ask("score_variants", [protein], variants=list(variants), method=method)
        return output["scores"]

    def scan(self, protein: Protein, *, method: str = "masked_marginal") -> Scan:
        """Score every single substitution of one protein."""
        question = Question("score_variants", {"scan": True, "method": method})
        output, way = None, self._way
        if isinstance(way, AtOnce) and size(question, protein).tokens > way.most.tokens:
            output = self._patiently(lambda: self._streamed(way, question, protein))
        if output is None:
            [output] = self._ask("score_variants", [protein], scan=True, method=method)
        scores = output["scores"].astype(np.float32)
        return Scan(sequence=as_read(protein), letters=str(output["letters"]), scores=scores)

    def contacts(self, proteins: Sequence[Protein], *, layer: Layer = "all") -> list[Numbers]:
        """Scores of each protein's pairs of residues, [L, L]."""
        return [output["contacts"] for output in self._ask("contacts", proteins, layer=_plain(layer))]

    def invoke(self, body: bytes, *, content_type: str = "application/json", accept: str = "application/json") -> bytes:
        """Any request of the serving contract, as it is. Waits while the endpoint is busy."""
        return self._patiently(lambda: self._way.send(body, content_type=content_type, accept=accept))

    # ---- one call, some requests -------------------------------------------------------------------------------------

    def _embeddings(self, proteins: Sequence[Protein], pooling: str, layer: Layer, normalize: bool) -> list[Numbers]:
        outputs = self._ask("embed", proteins, pooling=pooling, layer=_plain(layer), normalize=normalize)
        return [output["embedding"] for output in outputs]

    def _ask(self, task: str, proteins: Sequence[Protein], **parameters: Any) -> list[Output]:
        """An output for each protein, in their order."""
        check_list(proteins)
        question = Question(task, parameters)
        cut = portions(enumerate(size(question, one) for one in proteins), self._way.most)
        outputs: list[Output] = []
        with ThreadPoolExecutor(max(1, min(self._concurrent_requests, len(cut)))) as pool:
            answers = pool.map(lambda one: self._portion(question, proteins, one), cut or [[]])
            for answered in self._watched(answers, len(cut), task):
                outputs += answered
                self._tell(len(outputs), len(proteins))
        return outputs

    def _portion(self, question: Question, proteins: Sequence[Protein], numbers: Sequence[int]) -> list[Output]:
        """Of one request; of two, where it was too much after all."""
        body = _body(question, [proteins[number] for number in numbers])
        try:
            return read_npz(self.invoke(body, accept=NPZ), len(numbers))
        except EndpointError as error:
            if error.code not in TOO_LARGE or len(numbers) < 2:
                raise error.counted_from(numbers[0] if numbers else 0) from None
        half = len(numbers) // 2
        return [
            *self._portion(question, proteins, numbers[:half]),
            *self._portion(question, proteins, numbers[half:]),
        ]

    def _streamed(self, way: AtOnce, question: Question, protein: Protein) -> Output | None:
        """A scan that takes longer than a whole answer may, by positions as they come; None where nothing streams."""
        parts, length = [], len(as_read(protein))
        try:
            for line in way.lines(_body(question, [protein], stream=True)):
                part = json.loads(line)
                if "error" in part:
                    raise BusyError(503, "broken_stream", part["error"].get("message", "the server ended"))
                parts.append(np.array(part["scores"], dtype=np.float32))  # null becomes NaN
                self._tell(sum(map(len, parts)), length)
        except EndpointError as error:
            if error.code in NO_STREAMS:
                return None
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise FailedError(502, "bad_answer", f"the answer is not one of this API: {error}") from None
        if (rows := sum(map(len, parts))) != length:
            raise BusyError(503, "broken_stream", f"the stream ended after {rows} of {length} positions")
        return {"scores": np.concatenate(parts), "letters": np.array(part["letters"])}

    def _patiently(self, call: Callable[[], T]) -> T:
        """Again and again while the endpoint is busy, for as long as patience lasts."""
        give_up = time.monotonic() + self._patience_s
        own_wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except BusyError as error:
                named_s = error.retry_after_s
                wait_s = own_wait_s if named_s is None else named_s
                # Else all who were refused together come back together.
                wait_s *= random.uniform(1, 1.25)  # noqa: S311
                if time.monotonic() + wait_s > give_up:
                    raise
                time.sleep(wait_s)
                own_wait_s = min(2 * own_wait_s, LONGEST_WAIT_S)

    def _watched(self, answers: Any, total: int, task: str) -> Any:
        if self._progress is not True or total < 2:
            return answers
        from rich.progress import track  # not everybody who asks has it, as in a notebook

        return track(answers, description=task, total=total)

    def _tell(self, done: int, total: int) -> None:
        if callable(self._progress):
            self._progress(done, total)


def _body(question: Question, proteins: Sequence[Protein], **more: bool) -> bytes:
    body = {"task": question.task, "inputs": list(proteins), "parameters": dict(question.parameters), **more}
    return json.dumps(body, default=dict).encode()


def _plain(layer: Layer) -> int | list[int] | str:
    return layer if isinstance(layer, int | str) else list(layer)
