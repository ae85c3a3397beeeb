"""Whose tokens an account trusts, as a stack's resource: IAM tells of it, and there is one a URL."""

import json

import pytest
from botocore.exceptions import ClientError

URL = "https://tokens.example.org"


def provider(url=URL, *audiences):
    return {"P": {"Type": "AWS::IAM::OIDCProvider", "Properties": {"Url": url, "ClientIdList": [*audiences]}}}


OUTPUTS = {"Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["P", "Arn"]}}, "Ref": {"Value": {"Ref": "P"}}}}


def told(aws, arn):
    return aws("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def test_a_provider_is_made_changed_replaced_and_gone_with_its_stack(aws, deploy):
    made = deploy(aws("cloudformation"), "tokens", provider(URL, "a"), **OUTPUTS)
    assert made["StackStatus"] == "CREATE_COMPLETE"
    [arn] = {output["OutputValue"] for output in made["Outputs"]}
    assert arn.endswith(":oidc-provider/tokens.example.org")
    assert told(aws, arn)["ClientIDList"] == ["a"]

    assert deploy(aws("cloudformation"), "tokens", provider(URL, "a", "b"), **OUTPUTS)["Outputs"] == made["Outputs"]
    assert told(aws, arn)["ClientIDList"] == ["a", "b"]

    moved = deploy(aws("cloudformation"), "tokens", provider(f"{URL}/ours", "a"), **OUTPUTS)
    assert {output["OutputValue"] for output in moved["Outputs"]} == {f"{arn}/ours"}
    with pytest.raises(ClientError, match="NoSuchEntity"):
        told(aws, arn)

    aws("cloudformation").delete_stack(StackName="tokens")
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName="tokens", WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError, match="NoSuchEntity"):
        told(aws, f"{arn}/ours")


def test_a_second_provider_of_one_url_is_refused_as_by_iam(aws, deploy):
    first = f"{URL}/first"
    aws("iam").create_open_id_connect_provider(Url=first, ClientIDList=["a"])
    failed = deploy(aws("cloudformation"), "second", provider(first, "a"))
    assert failed["StackStatus"] == "ROLLBACK_COMPLETE"
    events = aws("cloudformation").describe_stack_events(StackName="second")["StackEvents"]
    assert "EntityAlreadyExists" in json.dumps([event.get("ResourceStatusReason", "") for event in events])
    arn = next(
        one["Arn"]
        for one in aws("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
        if one["Arn"].endswith("/first")
    )
    assert told(aws, arn)["ClientIDList"] == ["a"]
