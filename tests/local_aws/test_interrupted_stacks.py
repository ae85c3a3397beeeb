"""Stacks whose server ended in the midst of their work: what the next server does with them, and that no state of them
keeps anybody from going on."""

import json
import random
import time

import pytest

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, push_image, put_archive

# Serves the text of its model, after a while; "stubborn" does not let itself be ended for another while.
SERVE = """
import http.server, os, pathlib, signal, time
answer = (pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model" / "text").read_bytes()
if answer == b"slow":
    time.sleep(3)
if answer == b"stubborn":
    signal.signal(signal.SIGTERM, lambda *_: time.sleep(4) or os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def do_POST(self):
        self.do_GET()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
STACK = "stack"
SMALL = {
    "Group": {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": {"ModelPackageGroupName": "fixed"}},
    "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "fixed"}},
    "Role": {
        "Type": "AWS::IAM::Role",
        "Properties": {"RoleName": "fixed", "AssumeRolePolicyDocument": {"Statement": []}},
    },
    "Log": {"Type": "AWS::EC2::FlowLog", "Properties": {"ResourceType": "VPC", "ResourceId": "vpc-1"}},
}


@pytest.fixture
def life(own_folder, clients_of, kill_9):
    """A local AWS that can be ended in two ways, and comes back."""
    return Life(own_folder, clients_of, kill_9)


class Life:
    def __init__(self, folder, clients_of, kill_9):
        self._folder, self._clients_of, self._kill_9 = folder, clients_of, kill_9
        self.start()

    def start(self):
        self._running = server.start(self._folder)
        self.aws = self._clients_of(self._running)

    def interrupt(self, how="kill"):
        if how == "kill":
            self._kill_9(self._running)
        else:
            server.stop(self._folder)
        self.start()

    def resources(self, text, *others):
        """A served model, and more endpoints of other models beside it."""
        found = {}
        for number, model in enumerate((text, *others)):
            found |= endpoint(f"e{number}", f"{number}", self.image(), self.model(model))
        return found

    def image(self):
        return push_image(self.aws, "interrupted", SERVE)

    def model(self, text):
        return put_archive(self.aws, "models", f"{text}.tar.gz", text=text)

    def begin(self, action, resources=None):
        """Ask for a stack's creation, update or deletion, and do not wait."""
        request = {"StackName": STACK}
        if resources is not None:
            request |= {"TemplateBody": json.dumps({"Resources": resources}), "Capabilities": ["CAPABILITY_NAMED_IAM"]}
        getattr(self.aws("cloudformation"), f"{action}_stack")(**request)

    def status(self):
        stacks = [one for one in self.aws("cloudformation").describe_stacks()["Stacks"] if one["StackName"] == STACK]
        return stacks[0]["StackStatus"] if stacks else None

    def end_of(self, action, resources=None):
        """The same, and wait; returns the status."""
        self.begin(action, resources)
        assert wait_until(lambda: not (self.status() or "").endswith("IN_PROGRESS"), 60)
        return self.status()

    def made(self):
        """The names of SageMaker's resources."""
        sagemaker = self.aws("sagemaker")
        return (
            {one["ModelName"] for one in sagemaker.list_models()["Models"]}
            | {one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]}
            | {one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]}
            | {
                one["ModelPackageGroupName"]
                for one in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
            }
        )

    def recorded(self):
        """The physical ids that the stack holds."""
        listed = self.aws("cloudformation").list_stack_resources(StackName=STACK)["StackResourceSummaries"]
        return {one["PhysicalResourceId"].rpartition("/")[2] for one in listed}

    def endpoint_is(self, name, *statuses):
        found = self.aws("sagemaker").list_endpoints()["Endpoints"]
        return any(one["EndpointName"] == name and one["EndpointStatus"] in statuses for one in found)

    def answer(self, name="e0"):
        assert wait_until(lambda: not self.endpoint_is(name, "SystemUpdating"), 30)
        return self.aws("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"x")["Body"].read().decode()


def endpoint(name, suffix, image, url):
    model, config = f"Model{suffix}", f"Config{suffix}"
    variant = {"VariantName": "v", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    return {
        model: {
            "Type": "AWS::SageMaker::Model",
            "Properties": {"ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image, "ModelDataUrl": url}},
        },
        config: {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {"ProductionVariants": [{**variant, "ModelName": {"Fn::GetAtt": [model, "ModelName"]}}]},
        },
        f"Endpoint{suffix}": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {"EndpointName": name, "EndpointConfigName": {"Fn::GetAtt": [config, "EndpointConfigName"]}},
        },
    }


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_interrupted_creation_is_rolled_back_and_can_be_begun_again(life, how):
    resources = life.resources("slow")
    life.begin("create", resources)
    assert wait_until(lambda: life.endpoint_is("e0", "Creating"), 20)
    life.interrupt(how)
    assert life.status() == "ROLLBACK_COMPLETE"
    assert wait_until(lambda: life.made() == set(), 20)
    life.end_of("delete")
    assert life.end_of("create", resources) == "CREATE_COMPLETE"
    assert life.answer() == "slow"


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_interrupted_update_is_rolled_back_and_can_be_begun_again(life, how):
    assert life.end_of("create", life.resources("first")) == "CREATE_COMPLETE"
    before = life.made()
    life.begin("update", life.resources("slow"))
    assert wait_until(lambda: life.endpoint_is("e0", "Updating"), 20)
    life.interrupt(how)
    assert life.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert life.answer() == "first"
    assert life.made() == before == life.recorded()
    assert life.end_of("update", life.resources("slow")) == "UPDATE_COMPLETE"
    assert life.answer() == "slow"
    assert len(life.made()) == len(before)


def test_an_update_that_is_interrupted_after_one_of_two_endpoints_brings_back_both(life):
    assert life.end_of("create", life.resources("first", "second")) == "CREATE_COMPLETE"
    before = life.made()
    life.begin("update", life.resources("third", "slow"))
    assert wait_until(lambda: life.endpoint_is("e0", "Updating") or life.answer("e0") == "third", 20)
    assert wait_until(lambda: life.endpoint_is("e1", "Updating"), 30)
    life.interrupt()
    assert life.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert (life.answer("e0"), life.answer("e1")) == ("first", "second")
    assert life.made() == before == life.recorded()


def test_an_update_that_is_interrupted_while_it_cleans_up_is_carried_on(life):
    assert life.end_of("create", life.resources("first", "stubborn")) == "CREATE_COMPLETE"
    life.begin("update", life.resources("second"))
    assert wait_until(lambda: life.endpoint_is("e1", "Deleting"), 30)
    life.interrupt()
    assert life.status() == "UPDATE_COMPLETE"
    assert life.answer() == "second"
    assert len(life.made()) == 3
    assert life.made() == life.recorded()


def test_an_interrupted_deletion_is_carried_on(life):
    assert life.end_of("create", life.resources("first", "stubborn")) == "CREATE_COMPLETE"
    life.begin("delete")
    assert wait_until(lambda: life.endpoint_is("e1", "Deleting"), 30)
    life.interrupt()
    assert life.status() is None
    assert life.made() == set()


def test_a_stack_that_was_seen_complete_is_complete_after_kill_9_with_all_it_made(life):
    assert life.end_of("create", SMALL) == "CREATE_COMPLETE"
    life.interrupt()
    assert life.status() == "CREATE_COMPLETE"
    assert life.recorded() >= {"fixed"}
    assert life.made() == {"fixed"}
    assert life.aws("iam").get_role(RoleName="fixed")
    assert life.aws("s3").head_bucket(Bucket="fixed")
    life.end_of("delete")
    life.interrupt()
    assert life.status() is None
    assert life.made() == set()
    assert life.end_of("create", SMALL) == "CREATE_COMPLETE"


def sweep(life, moments):
    """End the server so many seconds after each kind of work began; whatever is then there, the work can be done."""
    resources = SMALL | life.resources("first")
    changed = {**SMALL, "Bucket": SMALL["Bucket"] | {"Properties": {"BucketName": "other"}}} | life.resources("second")
    for moment in moments:
        for action, given in (("create", resources), ("update", changed), ("delete", None)):
            life.begin(action, given)
            time.sleep(moment)
            life.interrupt()
            status = life.status()
            where = f"{action}, interrupted after {moment:.2f} s: {status}"
            assert not (status or "").endswith("IN_PROGRESS"), where
            if action == "create":
                assert status in (None, "ROLLBACK_COMPLETE", "CREATE_COMPLETE"), where
                if status != "CREATE_COMPLETE":
                    assert wait_until(lambda: life.made() == set(), 20), (where, life.made())
                    life.end_of("delete")
                    assert life.end_of("create", resources) == "CREATE_COMPLETE", where
            elif action == "update":
                assert status in ("CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE"), where
                if status != "UPDATE_COMPLETE":
                    assert life.answer() == "first", where
                    assert life.end_of("update", changed) == "UPDATE_COMPLETE", where
                assert life.answer() == "second", where
                assert life.made() == {"fixed"} | {one for one in life.recorded() if one in life.made()}, where
            elif status is not None:
                assert life.end_of("delete") is None, where
            assert action != "delete" or life.made() == set(), where


def test_a_server_that_is_killed_at_any_moment_keeps_no_stack_from_its_work(life):
    sweep(life, [random.uniform(0.0, 0.6)])


@pytest.mark.proof
def test_a_server_that_is_killed_at_forty_moments_keeps_no_stack_from_its_work(life):
    sweep(life, [number * 0.05 for number in range(40)])
