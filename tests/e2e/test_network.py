"""The private network, deployed for real on local AWS: by the CDK command line, as staging's; and with jobs in it."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from environments import STAGING
from local_aws import server, settings
from stacks.config.network import INTERFACE_ENDPOINTS
from tests.e2e.conftest import LEARNING, ROOT, SECONDS, Project, Trap, clone, proteins
from tests.stacks.synthesis import assembly

pytestmark = pytest.mark.e2e

NETWORK = "amplify-staging-network"


class Account:
    """An AWS account of a local AWS: a key of twelve digits is that account's own."""

    def __init__(self, running: server.LocalAws, account: str) -> None:
        self._endpoint_url = running.endpoint_url
        root = settings.administrator(running.settings, account)
        aws = settings.client_environment(running.endpoint_url, running.region, root)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._environ = kept | aws | {"CDK_DISABLE_CLI_TELEMETRY": "1", "NODE_NO_WARNINGS": "1", "CI": "1"}
        self._session = boto3.Session(aws_access_key_id=account, aws_secret_access_key="x", region_name=running.region)

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self._endpoint_url, config=Config(proxies={}))

    def cdk(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(ROOT / "node_modules" / ".bin" / "cdk"), "--app", str(assembly()), *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def output(self, key: str) -> str:
        [stack] = self.client("cloudformation").describe_stacks(StackName=NETWORK)["Stacks"]
        return next(one["OutputValue"] for one in stack["Outputs"] if one["OutputKey"] == key)


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Staging's account, with its network deployed."""
    folder = tmp_path_factory.mktemp("network")
    account = Account(server.start(folder), STAGING.account)
    try:
        account.cdk("bootstrap", f"aws://{STAGING.account}/{STAGING.region}")
        account.cdk("deploy", "staging/network", "--require-approval", "never")
        yield account
    finally:
        server.stop(folder)


def test_the_network_of_staging_is_deployed_as_its_settings_say(staging: Account) -> None:
    ec2, vpc, network = staging.client("ec2"), staging.output("VpcId"), STAGING.network
    assert network is not None
    [found] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert found["CidrBlock"] == network.cidr
    of_it = [{"Name": "vpc-id", "Values": [vpc]}]
    subnets = ec2.describe_subnets(Filters=of_it)["Subnets"]
    assert sorted(one["AvailabilityZone"] for one in subnets) == sorted(network.availability_zones)

    services = {one["ServiceName"] for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["VpcId"] == vpc}
    assert services == {f"com.amazonaws.{STAGING.region}.{name}" for name in ("s3", *INTERFACE_ENDPOINTS)}


def test_no_route_and_no_rule_leads_out_of_it(staging: Account) -> None:
    ec2, vpc = staging.client("ec2"), staging.output("VpcId")
    of_it = [{"Name": "vpc-id", "Values": [vpc]}]
    routes = [route for table in ec2.describe_route_tables(Filters=of_it)["RouteTables"] for route in table["Routes"]]
    assert {route["GatewayId"] for route in routes} == {"local"}
    gateways = ec2.describe_internet_gateways()["InternetGateways"]
    assert vpc not in {one["VpcId"] for gateway in gateways for one in gateway["Attachments"]}

    groups = ec2.describe_security_groups(Filters=of_it)["SecurityGroups"]
    assert len(groups) == 5
    rules = [rule for group in groups for side in ("IpPermissions", "IpPermissionsEgress") for rule in group[side]]
    addresses = {one["CidrIp"] for rule in rules for one in rule["IpRanges"]}
    assert addresses == {"255.255.255.255/32"}  # the CDK's rule that stands for none
    [default] = [group for group in groups if group["GroupName"] == "default"]
    assert default["IpPermissions"] == default["IpPermissionsEgress"] == []


def test_deployed_again_it_does_not_change_and_destroyed_it_leaves_only_the_record_of_its_traffic(
    staging: Account,
) -> None:
    vpc = staging.output("VpcId")
    staging.cdk("deploy", "staging/network", "--require-approval", "never")
    assert staging.output("VpcId") == vpc
    staging.cdk("destroy", "staging/network", "--force")
    ec2 = staging.client("ec2")
    assert vpc not in {one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]}
    assert vpc not in {one["VpcId"] for one in ec2.describe_vpc_endpoints()["VpcEndpoints"]}
    assert vpc not in {one.get("VpcId") for one in ec2.describe_security_groups()["SecurityGroups"]}
    groups = [one["logGroupName"] for one in staging.client("logs").describe_log_groups()["logGroups"]]
    assert [NETWORK in name for name in groups if "Lambda" not in name] == [True]
    staging.cdk("deploy", "staging/network", "--require-approval", "never")
    assert staging.output("VpcId") != vpc


# ---- a whole way in a network ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private_project(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[Project]:
    """The project of a person who gave `local` a network, deployed."""
    made = clone(tmp_path_factory.mktemp("private"), trap)
    file = made.root / "environments.py"
    local, rest = file.read_text().split("\nDEV = ", 1)
    assert "network=None,  # processes" in local
    zones = "availability_zones=('us-east-1a', 'us-east-1b')"
    written = f"network=Network(cidr='10.40.0.0/20', {zones}, s3_prefix_list='pl-63a5400a'),"
    file.write_text(local.replace("network=None,  # processes of this machine", written) + "\nDEV = " + rest)
    try:
        made.amplify("up")
        made.amplify("deploy")
        for name, count, seed, flags in (("known.fasta", 400, 1, ()), ("new.fasta", 60, 2, ("--held-out",))):
            (made.root / name).write_text(proteins(count, seed))
            made.amplify("data", "add", name, *flags)
        yield made
        assert trap.seen == [], "somebody met the person's own AWS"
    finally:
        server.stop(made.state)


@pytest.mark.proof
def test_in_a_network_models_are_made_and_served_and_every_job_says_that_it_ran_there(
    private_project: Project,
) -> None:
    project = private_project
    refused = project.amplify("train", "--init", "hf:owner/name@main", fails=True)
    assert "amplify register hf:owner/name@main" in " ".join(refused.split())
    project.amplify("train", *LEARNING, "--watch")
    project.amplify("approve", "--yes")
    project.amplify("deploy")

    ec2, sagemaker = project.aws("ec2"), project.aws("sagemaker")
    of_it = [{"Name": "vpc-id", "Values": [project.output("network", "VpcId")]}]
    subnets = {one["SubnetId"] for one in ec2.describe_subnets(Filters=of_it)["Subnets"]}
    places = [
        *(
            sagemaker.describe_training_job(TrainingJobName=one["TrainingJobName"])["VpcConfig"]
            for one in sagemaker.list_training_jobs()["TrainingJobSummaries"]
        ),
        *(
            sagemaker.describe_processing_job(ProcessingJobName=one["ProcessingJobName"])["NetworkConfig"]["VpcConfig"]
            for one in sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
        ),
        *(
            sagemaker.describe_model(ModelName=one["ModelName"])["VpcConfig"]
            for one in sagemaker.list_models()["Models"]
        ),
    ]
    assert [set(place["Subnets"]) for place in places] == [subnets] * 4  # Prepare, Train, Evaluate, the model

    # What was registered can be started from: what `hf:` would have fetched lies in S3 from then on.
    [run] = json.loads(project.amplify("runs", "--json"))
    project.amplify("train", *LEARNING, "--init", run["artifact"], "--watch")
