"""Questions to a served model, as plain Python: embeddings, perplexity, mutation scans.

    client = AmplifyClient("amplify-local")
    client.embed(["MKTAYIAKQR", "MLEGKVKWF"])      # float32 [2, hidden size]

Wherever InvokeEndpoint can be called: a notebook, a service, the `amplify` command. The endpoint's errors arrive as
exceptions that carry its own code, message and place; a full queue is waited for.
"""

import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import ClientError
from numpy.typing import NDArray

Protein = str | Mapping[str, str]
"""A sequence, or `{"id": …, "sequence": …}`: errors then name it."""

PATIENCE_S = 120.0
"""How long in all a call waits for an endpoint that says it is busy."""

BUSY = {429, 503}


class EndpointError(Exception):
    """The endpoint refused or failed. `where` names the part of the request at fault, such as `inputs[2]`."""

    def __init__(
        self, status: int, code: str, message: str, where: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after_s = retry_after_s


class RefusedError(EndpointError):
    """4xx: the request must be changed."""


class BusyError(EndpointError):
    """429 or 503, for longer than the client was willing to wait: the queue is full, or the server comes or goes."""


class FailedError(EndpointError):
    """The server failed: 5xx that is not 503, or an answer that is not of our contract."""


@dataclass(frozen=True, slots=True)
class Scan:
    """All single substitutions of one protein."""

    sequence: str
    letters: str
    """The columns of `scores`: the 20 amino acids in the server's order."""
    scores: NDArray[np.float32]
    """[L, 20] log-likelihood ratios in nats; 0 at the wild type, NaN where the model does not know the residue."""


class AmplifyClient:
    """Calls one endpoint. Thread-safe, as boto3's clients are."""

    def __init__(
        self,
        endpoint_name: str,
        *,
        inference_component: str | None = None,
        runtime: Any = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`runtime`: a boto3 `sagemaker-runtime` client; the default takes boto3's usual settings.

        `inference_component`: the model's name on an endpoint of mode inference_components, where requests name it.
        """
        self.endpoint_name = endpoint_name
        self._target = {"EndpointName": endpoint_name}
        if inference_component:
            self._target["InferenceComponentName"] = inference_component
        # boto3 would send a request again that timed out, and the server then works twice.
        config = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=70)
        self._runtime = runtime or boto3.client("sagemaker-runtime", config=config)
        self._patience_s = patience_s

    def embed(self, proteins: Sequence[Protein], *, normalize: bool = False) -> NDArray[np.float32]:
        """Mean embedding of each protein, [n, hidden size]. Raises EndpointError."""
        arrays = self._arrays("embed", proteins, {"normalize": normalize})
        return arrays["embedding"]

    def perplexity(self, proteins: Sequence[Protein], *, exact: bool = False) -> NDArray[np.float64]:
        """Perplexity of each protein, [n]; `exact`: masking each residue in turn. Raises EndpointError."""
        return self._arrays("perplexity", proteins, {"exact": exact})["perplexity"]

    def scan(self, protein: Protein, *, method: str = "masked_marginal") -> Scan:
        """Score every single substitution of one protein. Raises EndpointError."""
        [output] = self._json("score_variants", [protein], {"scan": True, "method": method})
        scores = np.array(output["scores"], dtype=np.float32)  # null, where the model has no opinion, becomes NaN
        written = protein if isinstance(protein, str) else protein["sequence"]
        sequence = "".join(written.split()).upper().removesuffix("*")  # as the server reads it, a row for each residue
        return Scan(sequence=sequence, letters="".join(output["letters"]), scores=scores)

    def invoke(self, body: bytes, *, content_type: str = "application/json", accept: str = "application/json") -> bytes:
        """Any request of the serving contract. Waits while the endpoint is busy; raises EndpointError."""
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                answer = self._runtime.invoke_endpoint(
                    **self._target, Body=body, ContentType=content_type, Accept=accept
                )
                return answer["Body"].read()
            except ClientError as error:
                failure = read_error(error.response)
                wait_s = 1.0 if failure.retry_after_s is None else failure.retry_after_s
                if not isinstance(failure, BusyError) or time.monotonic() + wait_s > give_up:
                    raise failure from None
                time.sleep(wait_s)

    def _arrays(self, task: str, proteins: Sequence[Protein], parameters: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        answer = self.invoke(_request(task, proteins, parameters), accept="application/x-npz")
        with np.load(io.BytesIO(answer), allow_pickle=False) as arrays:
            return dict(arrays)

    def _json(self, task: str, proteins: Sequence[Protein], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return json.loads(self.invoke(_request(task, proteins, parameters)))["outputs"]


def read_error(response: Mapping[str, Any]) -> EndpointError:
    """The exception that an error response of InvokeEndpoint stands for.

    The container's own refusal is inside a ModelError: its status as OriginalStatusCode, its body as OriginalMessage.
    Everything else is SageMaker's: no such endpoint, no permission, throttling.
    """
    kind: type[EndpointError]
    if "OriginalStatusCode" not in response:
        error, status = response.get("Error", {}), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        kind = BusyError if error.get("Code") in ("ThrottlingException", "ServiceUnavailable") else RefusedError
        return kind(status, error.get("Code", "unknown"), error.get("Message", "no message"))
    status = int(response["OriginalStatusCode"])
    body = _object(response.get("OriginalMessage", ""))
    code, message = body.get("code", "unknown"), body.get("message", response.get("OriginalMessage", ""))
    kind = BusyError if status in BUSY else RefusedError if 400 <= status < 500 else FailedError
    return kind(status, code, message, body.get("where", ""), body.get("retry_after_s"))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _request(task: str, proteins: Sequence[Protein], parameters: Mapping[str, Any]) -> bytes:
    if isinstance(proteins, str):
        raise TypeError("one protein was given; give a list of them")
    return json.dumps({"task": task, "inputs": list(proteins), "parameters": dict(parameters)}).encode()
