"""What runs in the private network, what it reaches from there, and who may make network interfaces in it."""

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from environments import ENVIRONMENTS
from stacks.config.network import INTERFACE_ENDPOINTS
from stacks.pipeline_definition import registration_definition, training_definition
from stacks.vpc_config import VpcConfig
from tests.stacks.readable import plain
from tests.stacks.request_check import faults
from tests.stacks.synthesis import VARIANTS, Template, all_templates, only, resources
from tests.stacks.test_pipeline_definition import AROUND, TRAININGS, resolved, steps
from tests.stacks.test_roles import may, statements

PRIVATE = [name for name, settings in (ENVIRONMENTS | VARIANTS).items() if settings.network is not None]
OUTSIDE = {"Fetch"}  # it brings models in from the Hub
INTERFACE_ACTIONS = {
    *("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission"),
    *("ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"),
    *("ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs", "ec2:DescribeDhcpOptions"),
    *("ec2:DescribeSubnets", "ec2:DescribeSecurityGroups"),
}


# ---- jobs and endpoints run inside -----------------------------------------------------------------------------------


def outside_of_the_network(template: Template) -> Iterable[str]:
    """Models, and jobs of pipelines, that do not run in subnets and a group of this environment's network stack."""
    for id_, model in resources(template, "AWS::SageMaker::Model").items():
        if not _is_inside(model["Properties"].get("VpcConfig"), "ServingGroup"):
            yield id_
    for id_, pipeline in resources(template, "AWS::SageMaker::Pipeline").items():
        for step in plain(pipeline["Properties"]["PipelineDefinition"])["PipelineDefinitionBody"]["Steps"]:
            if step["Type"] not in ("Training", "Processing") or step["Name"] in OUTSIDE:
                continue
            arguments = step["Arguments"]
            where = arguments if step["Type"] == "Training" else arguments["NetworkConfig"]
            if not _is_inside(where.get("VpcConfig"), "JobsGroup"):
                yield f"{id_}.{step['Name']}"


def _is_inside(config: Any, group: str) -> bool:
    if config is None:
        return False
    config = plain(config)
    subnets, groups = config["Subnets"], config["SecurityGroupIds"]
    of_the_network = all("-network:" in one for one in (*subnets, *groups))
    return of_the_network and len(set(subnets)) >= 2 and len(groups) == 1 and group in groups[0]


@pytest.mark.parametrize("environment", PRIVATE)
def test_every_job_and_model_runs_in_the_network_where_there_is_one(environment: str) -> None:
    of_it = {stack: one for stack, one in all_templates().items() if stack.startswith(f"{environment}/")}
    assert {stack: found for stack, one in of_it.items() if (found := list(outside_of_the_network(one)))} == {}
    assert f"{environment}/endpoint" in of_it


def without_vpc_config(kind: str, step: str = "") -> Callable[[Template], None]:
    def breakage(template: Template) -> None:
        [(_, resource)] = list(resources(template, kind).items())[:1]
        if not step:
            del resource["Properties"]["VpcConfig"]
            return
        body = json.loads(plain(resource["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"]))
        [found] = [one for one in body["Steps"] if one["Name"] == step]
        del (found["Arguments"] if step == "Train" else found["Arguments"]["NetworkConfig"])["VpcConfig"]
        resource["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"] = json.dumps(body)

    return breakage


@pytest.mark.parametrize(
    ("stack", "breakage", "found"),
    [
        ("prod/endpoint", without_vpc_config("AWS::SageMaker::Model"), "Model"),
        ("private-dev/training", without_vpc_config("AWS::SageMaker::Pipeline", "Train"), ".Train"),
        ("private-dev/training", without_vpc_config("AWS::SageMaker::Pipeline", "Prepare"), ".Prepare"),
        ("private-dev/training", without_vpc_config("AWS::SageMaker::Pipeline", "Evaluate"), ".Evaluate"),
    ],
)
def test_one_that_runs_outside_is_noticed(stack: str, breakage: Callable[[Template], None], found: str) -> None:
    broken = copy.deepcopy(all_templates()[stack])
    breakage(broken)
    [outside] = outside_of_the_network(broken)
    assert found in outside


@pytest.mark.parametrize("stack", ["local/training", "dev/training", "dev/endpoint", "local/endpoint"])
def test_where_there_is_no_network_nothing_names_one(stack: str) -> None:
    assert "VpcConfig" not in json.dumps(all_templates()[stack])
    assert "NetworkInterface" not in json.dumps(all_templates()[stack])


def test_jobs_in_a_network_are_requests_that_sagemaker_takes() -> None:
    vpc = VpcConfig(subnets=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"), security_group="sg-01234567")
    around = type(AROUND)(**{**vars(AROUND), "vpc": vpc})
    definition = training_definition(TRAININGS["dev"], around)
    for step, operation, name in (
        ("Prepare", "CreateProcessingJob", "ProcessingJobName"),
        ("Train", "CreateTrainingJob", "TrainingJobName"),
        ("Evaluate", "CreateProcessingJob", "ProcessingJobName"),
    ):
        request = resolved(steps(definition)[step]["Arguments"], definition) | {name: f"pipelines-k3x9-{step}"}
        assert faults(operation, request) == []
        assert "subnet-0123456789abcdef1" in json.dumps(request)


def test_the_one_job_outside_is_the_one_that_fetches_and_the_one_that_might_ask_the_hub_is_told_not_to() -> None:
    vpc = VpcConfig(subnets=("subnet-1", "subnet-2"), security_group="sg-1")
    around = type(AROUND)(**{**vars(AROUND), "vpc": vpc})
    registration = steps(registration_definition(TRAININGS["dev"], around))
    assert "VpcConfig" not in registration["Fetch"]["Arguments"]["NetworkConfig"]
    assert "Environment" not in registration["Fetch"]["Arguments"]
    prepare = steps(training_definition(TRAININGS["dev"], around))["Prepare"]["Arguments"]
    assert prepare["Environment"] == {"HF_HUB_OFFLINE": "1"}
    assert "Environment" not in steps(training_definition(TRAININGS["dev"], AROUND))["Prepare"]["Arguments"]


# ---- who may make network interfaces ---------------------------------------------------------------------------------


def may_of_interfaces(stack: str, role: str) -> set[str]:
    """The actions on networks that a role may do."""
    return {action for action in INTERFACE_ACTIONS if may(stack, role, action)}


@pytest.mark.parametrize(
    ("stack", "role"),
    [
        *(("private-dev/training", role) for role in ("PrepareRole", "TrainRole", "EvaluateRole")),
        *((f"{environment}/endpoint", "Role") for environment in ("private-dev", "staging", "prod")),
    ],
)
def test_a_role_that_runs_in_the_network_may_do_exactly_what_sagemaker_documents(stack: str, role: str) -> None:
    assert may_of_interfaces(stack, role) == INTERFACE_ACTIONS
    group = "JobsGroup" if stack.endswith("training") else "ServingGroup"
    [made] = [
        plain(statement["Resource"])
        for statement in statements(stack, role)
        if statement["Action"] == "ec2:CreateNetworkInterface"
    ]
    kinds = sorted(resource.split(":")[5].split("/")[0] for resource in made)
    assert kinds == ["network-interface", "security-group", "subnet", "subnet", "subnet"]
    assert [group in resource for resource in made if ":security-group/" in resource] == [True]


@pytest.mark.parametrize("role", ["FetchRole", "TrainingPipelineRole", "RegistrationPipelineRole"])
def test_a_role_that_runs_nothing_in_the_network_may_do_nothing_there(role: str) -> None:
    assert may_of_interfaces("private-dev/training", role) == set()


# ---- what is reached from inside -------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", PRIVATE)
def test_s3_is_reached_by_the_gateway_for_the_environments_own_buckets_code_and_image_layers(environment: str) -> None:
    settings = (ENVIRONMENTS | VARIANTS)[environment]
    endpoints = resources(all_templates()[f"{environment}/network"], "AWS::EC2::VPCEndpoint").values()
    [gateway] = [one["Properties"] for one in endpoints if one["Properties"]["VpcEndpointType"] == "Gateway"]
    reached = {statement["Sid"]: plain(statement["Resource"]) for statement in gateway["PolicyDocument"]["Statement"]}
    assert set(reached) == {"BucketsOfThisEnvironment", "ObjectsOfThisEnvironment", "CodeBundles", "ImageLayers"}
    for sid in ("BucketsOfThisEnvironment", "ObjectsOfThisEnvironment"):
        names = [resource.split(":")[1] for resource in reached[sid]]
        assert [name.startswith("ExportsOutputFnGetAtt") for name in names] == [True, True]
        assert {"ArtifactBucket" in name for name in names} == {True, False}
    assert reached["CodeBundles"] == f"arn:aws:s3:::cdk-hnb659fds-assets-{settings.account}-{settings.region}/*"
    assert reached["ImageLayers"] == f"arn:aws:s3:::prod-{settings.region}-starport-layer-bucket/*"
    assert len(gateway["RouteTableIds"]) == len(settings.network.availability_zones)  # type: ignore[union-attr]


def test_nothing_is_ever_deleted_through_the_network() -> None:
    template = json.dumps(all_templates()["prod/network"])
    assert "s3:Delete" not in template
    assert "kms:CreateGrant" not in template


def test_the_endpoints_are_those_of_the_settings_in_every_zone() -> None:
    template = all_templates()["prod/network"]
    interfaces = [
        one["Properties"]
        for one in resources(template, "AWS::EC2::VPCEndpoint").values()
        if one["Properties"]["VpcEndpointType"] == "Interface"
    ]
    names = {one["ServiceName"] for one in interfaces}
    assert names == {f"com.amazonaws.us-east-1.{service}" for service in INTERFACE_ENDPOINTS}
    assert {len(one["SubnetIds"]) for one in interfaces} == {3}


def test_models_are_asked_through_the_network_by_their_own_name_only() -> None:
    template = all_templates()["prod/network"]
    [runtime] = [
        one["Properties"]["PolicyDocument"]["Statement"]
        for one in resources(template, "AWS::EC2::VPCEndpoint").values()
        if str(one["Properties"]["ServiceName"]).endswith("sagemaker.runtime")
    ]
    [statement] = runtime
    assert statement["Resource"] == [
        f"arn:aws:sagemaker:us-east-1:333333333333:{kind}/amplify-prod" for kind in ("endpoint", "inference-component")
    ]


def test_subnets_share_the_addresses_out_among_the_named_zones() -> None:
    subnets = resources(all_templates()["prod/network"], "AWS::EC2::Subnet").values()
    assert [(one["Properties"]["AvailabilityZone"], one["Properties"]["CidrBlock"]) for one in subnets] == [
        ("us-east-1a", "10.30.0.0/22"),
        ("us-east-1b", "10.30.4.0/22"),
        ("us-east-1c", "10.30.8.0/22"),
    ]


def test_groups_reach_s3_and_endpoints_by_https_and_jobs_their_own_kind_and_nothing_else() -> None:
    template = all_templates()["prod/network"]
    groups = {id_: id_.removeprefix("Private")[:-8] for id_ in resources(template, "AWS::EC2::SecurityGroup")}

    def group(reference: Any) -> str:
        return groups[reference["Fn::GetAtt"][0]]

    entering = {
        (group(rule["SourceSecurityGroupId"]), group(rule["GroupId"]), rule.get("ToPort"))
        for one in resources(template, "AWS::EC2::SecurityGroupIngress").values()
        for rule in [one["Properties"]]
    }
    leaving = {
        (group(rule["GroupId"]), group(rule["DestinationSecurityGroupId"]), rule.get("ToPort"))
        for one in resources(template, "AWS::EC2::SecurityGroupEgress").values()
        for rule in [one["Properties"]]
    }
    assert (
        entering
        == leaving
        == {
            ("JobsGroup", "EndpointsGroup", 443),
            ("ServingGroup", "EndpointsGroup", 443),
            ("WorkbenchGroup", "EndpointsGroup", 443),
            ("JobsGroup", "JobsGroup", None),
        }
    )
    for id_, name in groups.items():
        own = template["Resources"][id_]["Properties"]["SecurityGroupEgress"]
        lists = [rule.get("DestinationPrefixListId") for rule in own]
        assert lists == ([None] if name == "EndpointsGroup" else ["pl-63a5400a"])


# ---- the record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", PRIVATE)
def test_the_record_is_kept_when_the_network_goes_and_the_key_lets_cloudwatch_logs_write_it(environment: str) -> None:
    network, storage = (all_templates()[f"{environment}/{stack}"] for stack in ("network", "storage"))
    [group] = resources(network, "AWS::Logs::LogGroup").values()
    assert group["DeletionPolicy"] == "Retain"
    assert "LogGroupName" not in group["Properties"]  # generated, so that what was retained is in nobody's way
    [statement] = [
        one
        for one in only(storage, "AWS::KMS::Key")["KeyPolicy"]["Statement"]
        if str(one["Principal"]).startswith("{'Service': 'logs.")
    ]
    settings = (ENVIRONMENTS | VARIANTS)[environment]
    assert statement["Principal"] == {"Service": f"logs.{settings.region}.amazonaws.com"}
    # CloudFormation begins a generated name with that of the stack.
    pattern = f"arn:aws:logs:{settings.region}:{settings.account}:log-group:{settings.resource_name}-*"
    assert plain(statement["Condition"]) == {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": pattern}}


def test_the_role_of_the_record_writes_to_its_log_group_and_nowhere_else() -> None:
    policy = only(all_templates()["prod/network"], "AWS::IAM::Policy")["PolicyDocument"]["Statement"]
    [statement] = policy
    assert plain(statement["Resource"]).startswith("${FlowLogLogGroup")
    assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}
