"""Networks, seen from boto3: rules and closed groups that stacks make, and where a VpcConfig must lead."""

import uuid

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.small_images import ROLE, make_bucket, push_image

BUCKET = "network-tests"


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "network-test", "pass")


@pytest.fixture(scope="module")
def vpc(aws):
    """Two subnets and a security group of a VPC: a VpcConfig."""
    return make_vpc(aws, "10.9.0.0/16")


def make_vpc(aws, cidr):
    ec2 = aws("ec2")
    vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    start = cidr.rsplit(".", 2)[0]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"{start}.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)
    ]
    group = ec2.create_security_group(GroupName="jobs", Description="jobs", VpcId=vpc)["GroupId"]
    return {"Subnets": subnets, "SecurityGroupIds": [group]}


# ---- VpcConfig -------------------------------------------------------------------------------------------------------


def train(aws, image, config):
    name = f"job-{uuid.uuid4().hex[:8]}"
    aws("sagemaker").create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
        VpcConfig=config,
    )
    return aws("sagemaker").describe_training_job(TrainingJobName=name)["VpcConfig"]


def process(aws, image, config):
    name = f"job-{uuid.uuid4().hex[:8]}"
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
    aws("sagemaker").create_processing_job(
        ProcessingJobName=name,
        AppSpecification={"ImageUri": image, "ContainerArguments": ["prepare"]},
        RoleArn=ROLE,
        ProcessingResources={"ClusterConfig": cluster},
        NetworkConfig={"EnableNetworkIsolation": False, "VpcConfig": config},
    )
    return aws("sagemaker").describe_processing_job(ProcessingJobName=name)["NetworkConfig"]["VpcConfig"]


def model(aws, image, config):
    name = f"model-{uuid.uuid4().hex[:8]}"
    aws("sagemaker").create_model(
        ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=ROLE, VpcConfig=config
    )
    return aws("sagemaker").describe_model(ModelName=name)["VpcConfig"]


@pytest.mark.parametrize("create", [train, process, model])
def test_what_runs_in_a_vpc_is_taken_and_says_where(aws, image, vpc, create):
    assert create(aws, image, vpc) == vpc


@pytest.mark.parametrize("create", [train, process, model])
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"Subnets": ["subnet-00000000000000000"]}, "subnet-00000000000000000"),
        ({"SecurityGroupIds": ["sg-00000000000000000"]}, "sg-00000000000000000"),
    ],
)
def test_a_subnet_or_group_that_is_not_there_is_refused_by_name(aws, image, vpc, create, changed, words):
    with pytest.raises(ClientError) as error:
        create(aws, image, vpc | changed)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert words in error.value.response["Error"]["Message"]


def test_a_group_of_another_vpc_is_refused(aws, image, vpc):
    other = make_vpc(aws, "10.10.0.0/16")
    with pytest.raises(ClientError, match="of 2 VPCs"):
        train(aws, image, vpc | {"SecurityGroupIds": other["SecurityGroupIds"]})


# ---- CloudFormation --------------------------------------------------------------------------------------------------


def group(description="jobs"):
    egress = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "DestinationPrefixListId": "pl-63a5400a"}]
    return {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {"GroupDescription": description, "VpcId": {"Ref": "Vpc"}, "SecurityGroupEgress": egress},
    }


def rule(direction, port, description="of a test"):
    end = "SourceSecurityGroupId" if direction == "Ingress" else "DestinationSecurityGroupId"
    to_itself = {"Fn::GetAtt": ["Jobs", "GroupId"]}
    properties = {"GroupId": to_itself, "IpProtocol": "tcp", "FromPort": port, "ToPort": port, end: to_itself}
    return {"Type": f"AWS::EC2::SecurityGroup{direction}", "Properties": {**properties, "Description": description}}


def network(port, description="of a test"):
    return {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.11.0.0/16"}},
        "Jobs": group(),
        "In": rule("Ingress", port, description),
        "Out": rule("Egress", port, description),
        "Closed": {
            "Type": "Custom::VpcRestrictDefaultSG",
            "Properties": {
                "ServiceToken": "arn:aws:lambda:us-east-1:123456789012:function:not-here",
                "DefaultSecurityGroupId": {"Fn::GetAtt": ["Vpc", "DefaultSecurityGroup"]},
                "Account": "123456789012",
            },
        },
    }


def ports(aws, vpc_id, name):
    """(ports that are entered, ports that are left by) of a group."""
    found = aws("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["SecurityGroups"]
    [one] = [each for each in found if name in each["GroupName"]]
    return [[rule.get("FromPort") for rule in one[side]] for side in ("IpPermissions", "IpPermissionsEgress")]


def test_rules_of_a_stack_are_rules_of_its_groups_and_the_default_group_is_closed(aws, deploy):
    outputs = {"Outputs": {"Vpc": {"Value": {"Ref": "Vpc"}}, "In": {"Value": {"Ref": "In"}}}}
    made = deploy(aws("cloudformation"), "networks", network(80), **outputs)
    assert made["StackStatus"] == "CREATE_COMPLETE"
    values = {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}
    assert values["In"].startswith("sgr-")
    assert ports(aws, values["Vpc"], "Jobs") == [[80], [443, 80]]
    assert ports(aws, values["Vpc"], "default") == [[], []]

    assert deploy(aws("cloudformation"), "networks", network(81), **outputs)["StackStatus"] == "UPDATE_COMPLETE"
    assert ports(aws, values["Vpc"], "Jobs") == [[81], [443, 81]]
    described = deploy(aws("cloudformation"), "networks", network(81, "says more"), **outputs)
    assert described["StackStatus"] == "UPDATE_COMPLETE"
    assert ports(aws, values["Vpc"], "Jobs") == [[81], [443, 81]]

    without = {id_: one for id_, one in network(81).items() if id_ not in ("In", "Out")}
    deploy(aws("cloudformation"), "networks", without, Outputs={"Vpc": {"Value": {"Ref": "Vpc"}}})
    assert ports(aws, values["Vpc"], "Jobs") == [[], [443]]
