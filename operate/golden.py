"""Golden requests: asked where a release comes from, kept with the answers, and asked again wherever it goes.

An endpoint that nobody asks raises no alarm, whatever it would answer. So these are sent while a new release takes
over, and its numbers are held to the recorded ones.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError

from operate import releases
from operate.errors import OperateError
from operate.releases import Pin

# Human ubiquitin (UniProt P0CG48, residues 1-76), insulin B chain (P01308, 25-54), E. coli CspA (P0A9X9): short, and of
# folds that differ. https://www.uniprot.org
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
INSULIN_B = "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"
CSP_A = "MSGKMTGIVKWFNADKGFGFITPDDGSKDVFVHFSAIQNDGYKSLDEGQKVSFTIESGAKGPAAGNVTSL"

REQUESTS: tuple[dict[str, Any], ...] = (
    {"task": "perplexity", "inputs": [UBIQUITIN, INSULIN_B, CSP_A]},
    {"task": "embed", "inputs": [INSULIN_B, CSP_A]},
    {"task": "logits", "inputs": [INSULIN_B]},
    {"task": "score_variants", "inputs": [{"sequence": UBIQUITIN, "variants": ["K48R", "I44A", "K6A:K48A"]}]},
)
PATIENCE_S = 60.0  # for an endpoint that says it is busy


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Requests with their answers, of one artefact run by one image."""

    artifact_sha256: str
    image_digest: str
    endpoint: str
    recorded_at: str
    requests: tuple[dict[str, Any], ...]
    answers: tuple[Any, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Golden":
        return cls(**{**told, "requests": tuple(told["requests"]), "answers": tuple(told["answers"])})

    def is_of(self, pin: Pin) -> bool:
        return (self.artifact_sha256, self.image_digest) == (pin["artifact"]["sha256"], pin["image_digest"])


class WrongAnswerError(OperateError):
    """An endpoint answers other than was recorded, or not at all."""


def key_of(pin: Pin) -> str:
    """Where the golden answers of a release lie in an artifact bucket: by what identifies it, so that a copy fits."""
    return f"releases/golden/{pin['artifact']['sha256']}-{pin['image_digest'].removeprefix('sha256:')[:12]}.json"


def record(runtime: Any, endpoint: str, pin: Pin) -> Golden:
    """Ask every request and keep what comes. Raises WrongAnswerError where the endpoint fails to answer one."""
    answers = tuple(ask(runtime, endpoint, request) for request in REQUESTS)
    return Golden(
        artifact_sha256=pin["artifact"]["sha256"],
        image_digest=pin["image_digest"],
        endpoint=endpoint,
        recorded_at=releases.now(),
        requests=REQUESTS,
        answers=answers,
    )


def ask(runtime: Any, endpoint: str, request: dict[str, Any]) -> Any:
    """One answer, as JSON. A full queue is waited for. Raises WrongAnswerError for what is no answer."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint, ContentType="application/json", Body=json.dumps(request).encode()
            )
            return json.loads(answer["Body"].read())
        except ClientError as error:
            status = error.response.get("OriginalStatusCode")
            if status == 429 and time.monotonic() < give_up:
                time.sleep(1)
                continue
            said = error.response["Error"]["Message"]
            raise WrongAnswerError(f"{endpoint} does not answer {request['task']}: {status or ''} {said}") from None


def difference(answer: Any, golden: Any, tolerance: float) -> str | None:
    """Where an answer is not the recorded one, in words; None where they agree.

    Numbers may differ by `tolerance` of the largest in their list: small ones beside it are rounding.
    """
    for where, found, wanted in _leaves(answer, golden, ""):
        if isinstance(wanted, tuple):
            scale = max((abs(one) for one in wanted), default=0.0) or 1.0
            worst = max((abs(one - other) for one, other in zip(found, wanted, strict=True)), default=0.0)
            if not worst <= tolerance * scale:  # written so that nan is wrong
                return f"{where or 'it'} is off by {worst / scale:.2g}; {tolerance:g} is tolerated"
        elif found != wanted:
            return f"{where or 'it'} is {str(found)[:60]}, not {str(wanted)[:60]}"
    return None


def _leaves(answer: Any, golden: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The parts of two documents side by side: numbers and lists of them as tuples, all else one by one."""
    if _is_number(golden) and _is_number(answer):
        yield where, (float(answer),), (float(golden),)
    elif isinstance(golden, dict) and isinstance(answer, dict) and golden.keys() == answer.keys():
        for name in golden:
            yield from _leaves(answer[name], golden[name], f"{where}.{name}".lstrip("."))
    elif isinstance(golden, list) and isinstance(answer, list) and len(golden) == len(answer):
        if golden and all(map(_is_number, golden)) and all(map(_is_number, answer)):
            yield where, tuple(map(float, answer)), tuple(map(float, golden))
        else:
            for number, (one, other) in enumerate(zip(answer, golden, strict=True)):
                yield from _leaves(one, other, f"{where}[{number}]")
    else:
        yield where, answer if not _is_number(answer) else repr(answer), golden


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def agree(answers: Sequence[Any], golden: Golden, tolerance: float) -> str | None:
    """The first difference of a whole set; None where all agree."""
    for request, answer, wanted in zip(golden.requests, answers, golden.answers, strict=True):
        if told := difference(answer, wanted, tolerance):
            return f"{request['task']}: {told}"
    return None


def is_finite(answer: Any) -> bool:
    """Whether every number of an answer is one."""
    if isinstance(answer, dict):
        return all(is_finite(one) for one in answer.values())
    if isinstance(answer, list):
        return all(is_finite(one) for one in answer)
    return not isinstance(answer, float) or math.isfinite(answer)
