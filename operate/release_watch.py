"""A deployment of a release, watched: looked at before, asked golden requests meanwhile, judged and recorded after.

SageMaker says InService after a roll-back, and CloudFormation may say green. So what counts is which configuration the
endpoint has, and what it answers.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from operate import deployment, golden, pin_check
from operate.aws import Aws
from operate.errors import OperateError
from operate.golden import Golden, WrongAnswerError
from operate.ledger import Ledger, read_json, release_id
from operate.pin_check import Found
from operate.releases import Pin, split_uri

POLL_SECONDS = 1.0
MOVING = ("Creating", "Updating", "RollingBack", "SystemUpdating")
METRIC = "WrongAnswers"

Say = Callable[[str], None]


@dataclass
class Seen:
    """What was seen of an endpoint while a release went live."""

    asked: Counter[str] = field(default_factory=Counter)
    """By what an answer was: `new` and `old` release's, `wrong`, `none`."""
    states: list[str] = field(default_factory=list)
    first_wrong: str = ""

    @property
    def moved(self) -> bool:
        return any(state in MOVING for state in self.states)

    @property
    def text(self) -> str:
        counts = ", ".join(f"{self.asked[kind]} {kind}" for kind in ("new", "old", "wrong", "none") if self.asked[kind])
        return f"{self.asked.total()} golden requests answered while it went over: {counts or 'none'}"


def check_before(aws: Aws, ledger: Ledger, pin: Pin) -> Found:
    """Raises OperateError for a release that failed before, one that nobody approves any more, changed bytes, and
    copies without the answers that they were promoted with."""
    env = aws.environment.name
    if reason := ledger.failure_of(pin):
        raise OperateError(
            f"Release {release_id(pin)} of {env} failed when it was deployed: {reason}",
            todo="It is not deployed again as it is. Mend the cause and promote or approve anew, or "
            f"`amplify rollback --env {env}`: then the pin is another.",
        )
    found = pin_check.check(aws, pin)
    if pin["promoted_from"] is not None and golden_of(aws, pin) is None:
        raise OperateError(
            f"The golden answers of release {release_id(pin)} are gone: {golden.key_of(pin)}.",
            todo="Bring that object's last version back: recorded anew here, nobody would see a difference.",
        )
    return found


class Watch:
    """Sends golden requests in the background, from the moment that the endpoint begins to move."""

    def __init__(self, aws: Aws, new: Golden | None, old: Golden | None, tolerance: float) -> None:
        self._aws, self._new, self._old, self._tolerance = aws, new, old, tolerance
        self._name = aws.environment.resource_name
        self._runtime, self._over = aws.runtime(), threading.Event()
        self.seen = Seen()

    @contextlib.contextmanager
    def going_on(self) -> Iterator[Seen]:
        """While the block runs."""
        thread = threading.Thread(target=self._run, name="golden requests", daemon=True)
        thread.start()
        try:
            yield self.seen
        finally:
            self._over.set()
            thread.join(timeout=90)

    def _run(self) -> None:
        sagemaker = self._aws.client("sagemaker")
        while not self._over.wait(POLL_SECONDS):
            try:
                state = sagemaker.describe_endpoint(EndpointName=self._name)["EndpointStatus"]
            except ClientError:
                continue  # not there yet
            if self.seen.states[-1:] != [state]:
                self.seen.states.append(state)
            if state in ("Updating", "RollingBack") and self._new is not None:
                self._ask_all()

    def _ask_all(self) -> None:
        """Old and new fleet answer in turns: an answer has to be one of either's."""
        assert self._new is not None
        for number, request in enumerate(self._new.requests):
            if self._over.is_set():
                return
            kind, why = self._kind_of(number, request)
            self.seen.asked[kind] += 1
            if kind in ("wrong", "none"):
                self.seen.first_wrong = self.seen.first_wrong or f"{request['task']}: {why}"
                self._tell_the_alarm()

    def _kind_of(self, number: int, request: dict[str, Any]) -> tuple[str, str]:
        assert self._new is not None
        try:
            answer = golden.ask(self._runtime, self._name, request)
        except WrongAnswerError as error:
            return "none", error.message
        why = golden.difference(answer, self._new.answers[number], self._tolerance)
        if why is None:
            return "new", ""
        old = self._old
        if old is None:  # nobody recorded what was there before: what is not new may be that
            return "old", ""
        known = [recorded for asked, recorded in zip(old.requests, old.answers, strict=True) if asked == request]
        # What was never asked of the old release may be its answer too.
        same = not known or golden.difference(answer, known[0], self._tolerance) is None
        return ("old", "") if same else ("wrong", why)

    def _tell_the_alarm(self) -> None:
        """SageMaker takes the release back itself: the alarm is one of those that its deployment names."""
        metric = {"MetricName": METRIC, "Value": 1.0, "Unit": "Count"}
        metric["Dimensions"] = [{"Name": "EndpointName", "Value": self._name}]
        namespace = self._aws.environment.metric_namespace
        with contextlib.suppress(ClientError):
            self._aws.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[metric])


def deploy(aws: Aws, pin: Pin, by: str, go: Callable[[], None], say: Say, shadow: Pin | None = None) -> None:
    """Run `go`, which deploys, under a watch; then keep the release as live or failed. `aws` is in its release role.

    Raises OperateError where the release is not to be deployed, does not go live, or answers other than it should.
    """
    ledger, env = Ledger.of(aws), aws.environment.name
    settle(aws, say)
    found = check_before(aws, ledger, pin)
    beside = pin_check.check(aws, shadow) if shadow is not None else None
    live = ledger.live_in_bucket()
    again = live is not None and live["release"] == release_id(pin)
    promotion = aws.environment.promotion
    tolerance = promotion.tolerance if promotion else 0.0
    new, old = golden_of(aws, pin), _golden_of_the_endpoint(aws, ledger)
    watch = Watch(aws, new, old, tolerance)
    failure: OperateError | None = None
    with watch.going_on() as seen:
        try:
            go()
        except OperateError as error:
            failure = error
    if seen.asked:
        say(seen.text)
    settle(aws, say)  # a deployment whose command has died goes on: while it does, there is no verdict

    def fail(what: str, reason: str, todo: str) -> NoReturn:
        if again:  # the release is not at fault, but the settings that it was deployed with
            todo = f"Mend what was changed with it, or take that back: `git revert`, `amplify deploy --env {env}`."
        else:
            ledger.write(pin, "failed", by, reason)
        log_tail = failure.log_tail if failure else ""
        raise OperateError(f"Release {release_id(pin)} {what}: {reason}", todo=todo, log_tail=log_tail)

    if reason := _why_not_live(aws, pin, seen, failure):
        back = f"What was there before answers on. `amplify rollback --env {env}` writes its pin again; this one is not"
        fail("did not go live", reason, f"{back} deployed a second time as it is.")
    if failure is not None:  # the stacks failed, and not by this release: it was not touched
        raise failure
    try:
        pin_check.check_again(aws, pin, found)
        if shadow is not None and beside is not None:
            pin_check.check_again(aws, shadow, beside)
        smoke = _answers_as_recorded(aws, pin, new, tolerance, ledger) if seen.moved or not again else None
    except OperateError as error:
        back = f"Take it back now: `amplify rollback --env {env}`, commit, deploy."
        fail("is in service, and is not what it should be", error.message, back)
    if smoke is not None:
        say(smoke)
    if not again:
        ledger.write(pin, "live", by, smoke=smoke or "")
        say(f"release {release_id(pin)} is live")


def settle(aws: Aws, say: Say) -> None:
    """Wait until nobody changes the endpoint any more: a deployment that was killed here goes on there."""
    sagemaker, name, told = aws.client("sagemaker"), aws.environment.resource_name, False
    while True:
        try:
            state = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
        except ClientError:
            return  # there is none, or it cannot be looked at: the deployment itself will say
        if state not in MOVING:
            return
        if not told:
            say(f"{name} is {state}: what began before goes on, and is waited for")
            told = True
        time.sleep(POLL_SECONDS)


def _golden_of_the_endpoint(aws: Aws, ledger: Ledger) -> Golden | None:
    """The kept answers of what the endpoint serves now, whatever the record says is live; None where nobody knows."""
    try:
        package = deployment.served_package(aws)
    except (OperateError, ClientError):
        return None
    pins = [entry["pin"] for entry in ledger.entries() if entry["pin"]["model_package_arn"] == package]
    return golden_of(aws, pins[0]) if pins else None


def _why_not_live(aws: Aws, pin: Pin, seen: Seen, failure: OperateError | None) -> str | None:
    """Why the endpoint does not serve the release that a deployment was for; None where it does, or was not touched."""
    if failure is not None and not seen.moved:
        return None
    try:
        deployment.check_serves(aws, pin["model_package_arn"])
        deployment.check_configuration(aws)
    except (OperateError, ClientError) as error:
        wrong = f" ({seen.first_wrong})" if seen.first_wrong else ""
        return f"{_failure_reason(aws) or getattr(error, 'message', str(error))}{wrong}"
    return None


def _failure_reason(aws: Aws) -> str | None:
    try:
        endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=aws.environment.resource_name)
    except ClientError:
        return None
    reason: str | None = endpoint.get("FailureReason")
    return reason


def _answers_as_recorded(aws: Aws, pin: Pin, new: Golden | None, tolerance: float, ledger: Ledger) -> str:
    """Ask everything once more of the whole new fleet, and say what came; where the model was made, that is the
    recording. Raises WrongAnswerError."""
    name, runtime = aws.environment.resource_name, aws.runtime()
    if new is None:
        recorded = golden.record(runtime, name, pin)
        if not golden.is_finite(list(recorded.answers)):
            raise WrongAnswerError("answers hold numbers that are none")
        bucket, _ = split_uri(pin["artifact"]["s3_uri"])
        ledger.keep(golden.key_of(pin), recorded.as_json())
        return f"{name} answered {len(recorded.answers)} golden requests, which are kept in {bucket}"
    told = golden.agree([golden.ask(runtime, name, one) for one in new.requests], new, tolerance)
    if told is not None:
        raise WrongAnswerError(told)
    return f"{name} answered {len(new.requests)} golden requests as {new.endpoint} did"


def golden_of(aws: Aws, pin: Pin) -> Golden | None:
    """The kept answers of a release; None where nobody has recorded any."""
    bucket, _ = split_uri(pin["artifact"]["s3_uri"])
    told = read_json(aws.client("s3").get_object, bucket, golden.key_of(pin))
    return Golden.from_json(told) if told else None
