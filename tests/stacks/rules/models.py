"""What must hold of training jobs, models and endpoints."""

import json
from collections.abc import Iterable

from stacks.instance_types import has_gpu, has_local_disk
from tests.stacks.readable import plain
from tests.stacks.rules.reading import variants
from tests.stacks.synthesis import Template, resources


def training_jobs_are_isolated_encrypted_bounded_and_can_go_on(template: Template) -> Iterable[str]:
    for id_, pipeline in resources(template, "AWS::SageMaker::Pipeline").items():
        definition = plain(pipeline["Properties"]["PipelineDefinition"])["PipelineDefinitionBody"]
        for step in definition["Steps"]:
            if step["Type"] != "Training":
                continue
            job = step["Arguments"]
            for member in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"):
                if job.get(member) is not True:
                    yield f"{step['Name']} of {id_} lacks {member}"
            if "MaxRuntimeInSeconds" not in job["StoppingCondition"]:
                yield f"{step['Name']} of {id_} may run for ever"
            if "KmsKeyId" not in job["OutputDataConfig"]:
                yield f"{step['Name']} of {id_} writes without the key"
            if "S3Uri" not in job.get("CheckpointConfig", {}):
                yield f"{step['Name']} of {id_} begins anew after each spot interruption"


def models_are_cut_off_from_the_network(template: Template) -> Iterable[str]:
    """But those that serverless variants run, which SageMaker cannot isolate."""
    serverless = {
        json.dumps(variant["ModelName"]) for _, _, variant in variants(template) if "ServerlessConfig" in variant
    }
    for id_, model in resources(template, "AWS::SageMaker::Model").items():
        isolated = model["Properties"].get("EnableNetworkIsolation") is True
        if not isolated and json.dumps({"Fn::GetAtt": [id_, "ModelName"]}) not in serverless:
            yield f"{id_} has a network"
    for id_, config, variant in variants(template):
        if "ModelName" not in variant and config.get("EnableNetworkIsolation") is not True:
            yield f"{id_} gives inference components a network"


def replaced_resources_have_generated_names(template: Template) -> Iterable[str]:
    for type_, field in (
        ("AWS::SageMaker::Model", "ModelName"),
        ("AWS::SageMaker::EndpointConfig", "EndpointConfigName"),
    ):
        for id_, resource in resources(template, type_).items():
            if field in resource["Properties"]:
                yield f"{id_} has a fixed name: its replacement collides with it"


def endpoint_volumes_have_a_key_where_sagemaker_takes_one(template: Template) -> Iterable[str]:
    for id_, config, variant in variants(template):
        has_no_volume = "ServerlessConfig" in variant or has_local_disk(variant["InstanceType"])
        if ("KmsKeyId" in config) == has_no_volume:
            yield f"{id_} has the wrong encryption for {variant.get('InstanceType', 'serverless')}"


def what_people_send_is_kept_under_the_key(template: Template) -> Iterable[str]:
    for id_, config in resources(template, "AWS::SageMaker::EndpointConfig").items():
        queue = config["Properties"].get("AsyncInferenceConfig", {}).get("OutputConfig")
        for kept in (config["Properties"].get("DataCaptureConfig"), queue):
            if kept is not None and "KmsKeyId" not in kept:
                yield f"{id_} keeps requests or answers under no key of ours"


def gpu_fleets_name_their_machine_image(template: Template) -> Iterable[str]:
    for id_, _, variant in variants(template):
        if "InstanceType" in variant and has_gpu(variant["InstanceType"]) != ("InferenceAmiVersion" in variant):
            yield f"{id_} has the wrong machine image for {variant['InstanceType']}"


def deployments_leave_scaling_alone(template: Template) -> Iterable[str]:
    scaled = {
        target["Properties"]["ResourceId"].split("/")[1]
        for target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").values()
        if target["Properties"]["ResourceId"].startswith("endpoint/")
    }
    for id_, endpoint in resources(template, "AWS::SageMaker::Endpoint").items():
        if (endpoint["Properties"]["EndpointName"] in scaled) != bool(
            endpoint["Properties"].get("RetainAllVariantProperties")
        ):
            yield f"{id_} sets its fleet back to the first size with each release, or keeps a size that nothing changes"


def what_can_be_without_capacity_can_wake(template: Template) -> Iterable[str]:
    policies = resources(template, "AWS::ApplicationAutoScaling::ScalingPolicy")
    rung = {
        action["Ref"]
        for alarm in resources(template, "AWS::CloudWatch::Alarm").values()
        for action in alarm["Properties"]["AlarmActions"]
        if "Ref" in action
    }
    for id_, target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").items():
        hours = target["Properties"].get("ScheduledActions", [])
        lows = [target["Properties"]["MinCapacity"], *(hour["ScalableTargetAction"]["MinCapacity"] for hour in hours)]
        wakes = {
            policy_id
            for policy_id, policy in policies.items()
            if policy["Properties"]["PolicyType"] == "StepScaling"
            and policy["Properties"]["ScalingTargetId"] == {"Ref": id_}
        }
        if min(lows) == 0 and not wakes & rung:
            yield f"{id_} goes to zero and nothing brings it back"


def fleets_of_two_and_more_roll_back_by_alarm(template: Template) -> Iterable[str]:
    """Of an inference component: the copies, by its own deployment configuration."""
    most = max((variant.get("InitialInstanceCount", 0) for _, _, variant in variants(template)), default=0)
    fleets = [(id_, resource, most) for id_, resource in resources(template, "AWS::SageMaker::Endpoint").items()] + [
        (id_, resource, resource["Properties"]["RuntimeConfig"]["CopyCount"])
        for id_, resource in resources(template, "AWS::SageMaker::InferenceComponent").items()
    ]
    for id_, resource, size in fleets:
        deployment = resource["Properties"].get("DeploymentConfig", {})
        if size >= 2 and not deployment.get("AutoRollbackConfiguration", {}).get("Alarms"):
            yield f"{id_} has {size} instances or copies, and no alarm takes a bad release back"
