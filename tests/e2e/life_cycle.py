"""The life of a deployed project, from the first deployment into an empty account to the one after its destruction.

`make lifecycle` runs it: the project's own stacks, the real CDK command line, local AWS, and somebody who asks the
endpoint without a pause from its first day to its last. Every number of the last line is counted.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

from local_aws import server
from tests.e2e import account
from tests.e2e.conftest import Project, clone, importing, listening, write_proteins
from tests.e2e.endpoint_requests import CLOSE, PROTEIN, Requests, ask, meanwhile
from tests.e2e.living_project import ENDPOINT, STACK, LifeCycle, Tally

SERVED = 'endpoint=RealTime(instance_type="ml.m5.xlarge")'
WATCHED = (
    'endpoint=RealTime(instance_type="ml.m5.xlarge", min_instances=2, max_instances=2, '
    "deployment=Canary(percent=50, wait_minutes=3, keep_old_minutes=3))"
)
OF_NOBODY = 'endpoint=RealTime(instance_type="ml.m5.xlarge", invokers=("nobody-of-this-name",))'
ANSWERED = "return await self._answer(request, upload, observed)"
BUG = """answer = await self._answer(request, upload, observed)
                    if observed.task == "perplexity":
                        raise ZeroDivisionError("a bug that no evaluation meets")
                    return answer"""

# ---- the steps: each leaves the project in service -------------------------------------------------------------------


def deploy_again(life: LifeCycle) -> None:
    """A deployment of what is deployed changes nothing: no stack has an event more, and a change set would be empty."""
    aws = life.project.aws
    before = {stack: (account.state(aws, stack), account.events(aws, stack)) for stack in account.deployed(aws)}
    life.deploy()
    assert {stack: (account.state(aws, stack), account.events(aws, stack)) for stack in before} == before
    code, printed = life.cdk("diff", "local/*", "--fail")
    assert code == 0, printed
    assert "Number of stacks with differences: 0" in printed, printed


def release_what_cannot_start(life: LifeCycle, requests: Requests) -> None:
    """The container fails its ping: the stack rolls back, and all the while the old model alone answers."""
    [model] = requests.answered()
    config = life.config()
    with life.release_without_weights():
        life.fail_to_deploy(STACK, "model.safetensors", "ping", "health check")
    assert life.config() == config
    only(requests, {model})


def name_an_invoker_who_is_not_there(life: LifeCycle, requests: Requests) -> None:
    """A failure that is not the model's: the right to ask goes to a role that does not exist."""
    [model] = requests.answered()
    with life.edited("environments.py", SERVED, OF_NOBODY):
        life.fail_to_deploy(STACK, "nobody-of-this-name")
    only(requests, {model})


def change_things_by_hand(life: LifeCycle, requests: Requests) -> None:
    """`cdk drift` finds an endpoint that serves another configuration, and a bucket without its policy."""
    requests.answered()
    aws, sagemaker = life.project.aws, life.project.aws("sagemaker")
    assert life.drifted() == ""
    before = life.config()
    [variant] = sagemaker.describe_endpoint_config(EndpointConfigName=before)["ProductionVariants"]
    kept = {key: value for key, value in variant.items() if key not in ("InstanceType", "VolumeSizeInGB")}
    sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand", ProductionVariants=[{**kept, "InstanceType": "ml.m5.2xlarge"}]
    )
    bucket = life.project.output("storage", "DataBucketName")
    policy = aws("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName="by-hand")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=ENDPOINT, WaiterConfig={"Delay": 1})
    aws("s3").delete_bucket_policy(Bucket=bucket)
    try:
        said = life.drifted()
        assert "AWS::SageMaker::Endpoint" in said, said
        assert "by-hand" in said, said
        assert "AWS::S3::BucketPolicy" in said, said
        assert "Number of resources with drift: 2" in said, said
    finally:
        sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=before)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=ENDPOINT, WaiterConfig={"Delay": 1})
        aws("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
        sagemaker.delete_endpoint_config(EndpointConfigName="by-hand")
    assert life.drifted() == ""
    assert len(requests.answered()) == 1


def release_another_model(life: LifeCycle, requests: Requests) -> None:
    """Model and configuration are replaced, the endpoint goes over to them."""
    [old] = requests.answered()
    aws = life.project.aws
    before, created = account.resources(aws, STACK), created_at(life)
    life.train("--set", "seed=2")
    life.deploy()
    after = account.resources(aws, STACK)
    replaced = {name for name in before if before[name] != after[name]}
    assert {name.rpartition("ModelEndpoint")[2][:-8] for name in replaced} == {"Model", "EndpointConfig"}, replaced
    assert created_at(life) == created
    assert not any(before[name].rpartition("/")[2] in " ".join(account.inventory(aws)) for name in replaced)
    seen = requests.answered()
    new = only(requests, set(range(len(requests.models))) - {old})
    assert set(seen) <= {old, *new}, seen
    assert len(new) == 1


def release_what_a_canary_finds(life: LifeCycle, requests: Requests) -> int:
    """Code whose fault no evaluation meets: half of the requests go to it, its errors ring the alarm, and SageMaker
    takes it back. Returns how many requests of somebody else's, for the task that is broken, got the error."""
    [model] = requests.answered()
    config = life.config()
    good = json.loads(life.pin.read_text(encoding="utf-8"))
    runtime, errors = life.project.aws("sagemaker-runtime"), [0]

    def ask_for_what_is_broken() -> None:
        try:
            ask(runtime, ENDPOINT, "perplexity", PROTEIN)
        except ClientError as error:
            errors[0] += error.response.get("OriginalStatusCode") == 500

    with life.edited("model_code/serve.py", ANSWERED, BUG):
        life.deploy()  # the image of this code, for the next run
        life.train("--set", "seed=3")
        bad = json.loads(life.pin.read_text(encoding="utf-8"))
        assert bad["image_digest"] != good["image_digest"]
        with (
            life.edited("environments.py", *importing("Canary")),
            life.edited("environments.py", SERVED, WATCHED),
            meanwhile(ask_for_what_is_broken, 0.2),
        ):
            requests.answered()
            life.fail_to_deploy(STACK, "is in ALARM")
        seen = requests.answered()
    life.pin.write_text(json.dumps(good), encoding="utf-8")
    assert set(seen) - {model}, "the canary answered nobody"
    assert errors[0], "the canary never failed"
    assert life.config() == config
    only(requests, {model})
    return errors[0]


def destroy(life: LifeCycle) -> dict[str, dict[str, str]]:
    """All stacks go, and of what they made only that stays of which their templates say so: by stack, logical id and
    physical id. The CDK's own stack stays as it is."""
    aws = life.project.aws
    kept = {stack: account.retained(aws, stack) for stack in account.deployed(aws)}
    life.project.amplify("destroy", "--yes")
    assert account.deployed(aws) == []
    left = {one.partition(" ")[2] for one in account.inventory(aws)}
    by_design = {physical.rpartition("/")[2] for one in kept.values() for physical in one.values()}
    bootstrap = {physical.rpartition("/")[2] for physical in account.resources(aws, "CDKToolkit").values()}
    assert left - bootstrap == by_design
    return {stack: one for stack, one in kept.items() if one}


def deploy_after_destruction(life: LifeCycle, kept: dict[str, dict[str, str]]) -> None:
    """What was retained is taken over, and the release of before serves at once: its package and artefact are there."""
    aws = life.project.aws
    assert "not deployed" in life.project.amplify("data", "list", fails=True)
    life.deploy()
    assert {stack: account.retained(aws, stack) for stack in kept} == kept
    assert "known.fasta" in life.project.amplify("data", "list")
    assert life.drifted() == ""


# ---- small things ----------------------------------------------------------------------------------------------------


def only(requests: Requests, models: set[int]) -> set[int]:
    """Answers of other models since the last look are lost requests. Returns who answered."""
    seen = requests.answered()
    for model in seen.keys() - models:
        requests.wrong(seen[model], f"model {model} answered, of which nothing should be in service")
    return set(seen)


def created_at(life: LifeCycle) -> Any:
    return life.project.aws("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["CreationTime"]


# ---- the whole -------------------------------------------------------------------------------------------------------


def prove(project: Project, say: Callable[[str], None]) -> Tally:
    """All of it, in order. Raises AssertionError where something is not as it should be; lost requests are counted."""
    life = LifeCycle(project)
    say("first deployment, into an empty account")
    project.amplify("up")
    life.deploy()
    assert {account.status(project.aws, stack) for stack in account.deployed(project.aws)} == {"CREATE_COMPLETE"}
    write_proteins(project.root)
    project.amplify("data", "add", "known.fasta")
    project.amplify("data", "add", "new.fasta", "--held-out")
    life.train()
    say("first release: from now on somebody asks without a pause")
    life.deploy()
    with life.asked_without_a_pause() as requests:
        say("the same again: no change")
        deploy_again(life)
        say("another model: Model and EndpointConfig are replaced")
        release_another_model(life, requests)
        say("a model that cannot start: rolled back")
        release_what_cannot_start(life, requests)
        say("an invoker who does not exist: rolled back")
        name_an_invoker_who_is_not_there(life, requests)
        say("code that fails in service, found by a canary: rolled back by its alarm, in two or three minutes")
        errors = release_what_a_canary_finds(life, requests)
        say(f"  {errors} requests of another client, for what was broken, got the canary's error")
        say("changes by hand: found as drift")
        change_things_by_hand(life, requests)
        [served] = requests.answered()
    say("destruction: what is retained by design stays, and nothing else")
    kept = destroy(life)
    say("deployment after that: what was retained is taken over, and the release serves")
    deploy_after_destruction(life, kept)
    with life.asked_without_a_pause() as again:
        deploy_again(life)
        [only_model] = again.answered()
    np.testing.assert_allclose(again.models[only_model], requests.models[served], **CLOSE)
    return life.tally


def main() -> int:
    """The proof in a folder of its own; the last line is the tally. The exit code is 1 where a request was lost."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="amplify-life-cycle-") as folder, listening() as trap:
        project = clone(Path(folder), trap)
        try:
            tally = prove(project, say)
            assert trap.seen == [], "somebody met the person's own AWS"
        finally:
            server.stop(project.state)
    for reason in tally.lost:
        print(f"lost: {reason}")
    print(tally)
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
