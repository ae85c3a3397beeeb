"""Types kept on record only: their stacks live and go as on AWS, and survive a killed server."""

import json

from local_aws import server
from local_aws.processes import wait_until


def flow_log(resource_id):
    properties = {"ResourceId": resource_id, "ResourceType": "VPC", "TrafficType": "ALL"}
    return {"Log": {"Type": "AWS::EC2::FlowLog", "Properties": properties}}


def records(folder):
    files = (folder / "sagemaker").glob("*/*/recorded-resource/*.json")
    return [json.loads(file.read_text())["record"] for file in files]


def test_a_recorded_resource_is_made_changed_and_gone_with_its_stack(own_folder, clients_of, deploy, kill_9, on_disk):
    running = server.start(own_folder)
    aws = clients_of(running)
    outputs = {"Outputs": {"Id": {"Value": {"Ref": "Log"}}}}
    made = deploy(aws("cloudformation"), "records", flow_log("vpc-1"), **outputs)
    assert made["StackStatus"] == "CREATE_COMPLETE"
    [output] = made["Outputs"]
    assert output["OutputValue"].startswith("fl-")
    assert [record["Properties"]["ResourceId"] for record in records(own_folder)] == ["vpc-1"]
    assert deploy(aws("cloudformation"), "records", flow_log("vpc-2"), **outputs)["Outputs"] == [output]
    assert [record["Properties"]["ResourceId"] for record in records(own_folder)] == ["vpc-2"]

    on_disk(aws)
    kill_9(running)
    aws = clients_of(server.start(own_folder))
    aws("cloudformation").delete_stack(StackName="records")
    assert wait_until(lambda: records(own_folder) == [], 20)


def test_a_budget_is_known_by_its_name(aws, deploy):
    budget = {"BudgetName": "amplify-x", "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    resources = {"Budget": {"Type": "AWS::Budgets::Budget", "Properties": {"Budget": budget}}}
    made = deploy(aws("cloudformation"), "budgets", resources, Outputs={"Name": {"Value": {"Ref": "Budget"}}})
    assert [output["OutputValue"] for output in made["Outputs"]] == ["amplify-x"]
