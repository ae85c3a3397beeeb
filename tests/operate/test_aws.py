"""What of the person's environment reaches local AWS: nothing that could lead a client elsewhere."""

import pytest

from operate.aws import local_environ, without_aws
from operate.errors import OperateError
from operate.settings import environment_named, read_settings

HOSTILE = {
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_SAGEMAKER": "https://elsewhere.example",
    "AWS_CA_BUNDLE": "/nonexistent",
    "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/real",
    "CDK_NEW_BOOTSTRAP": "1",
    "HTTPS_PROXY": "http://elsewhere.example:3128",
    "http_proxy": "http://elsewhere.example:3128",
    "NO_PROXY": "nothing",
    "PATH": "/usr/bin",
    "HOME": "/home/ada",
}
OURS = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ACCESS_KEY_ID": "123456789012", "NO_PROXY": "127.0.0.1"}


def test_local_aws_is_reached_with_its_own_settings_and_none_of_the_persons() -> None:
    assert local_environ(HOSTILE, OURS) == {"PATH": "/usr/bin", "HOME": "/home/ada", **OURS}


def test_pip_keeps_the_persons_proxy_and_gets_no_credentials() -> None:
    found = without_aws(HOSTILE, proxies=True)
    assert found["HTTPS_PROXY"] == HOSTILE["HTTPS_PROXY"]
    assert not [name for name in found if name.startswith("AWS_")]


def test_folders_are_the_projects_unless_the_variables_name_others(tmp_path) -> None:
    found = read_settings({"AMPLIFY_LOCAL_DIR": "there"}, tmp_path)
    assert found.state == tmp_path / "there"
    assert found.releases.name == "releases"
    assert (found.releases / "README.md").exists()


def test_commands_are_the_administrators_unless_a_variable_names_a_user(tmp_path) -> None:
    assert read_settings({}, tmp_path).local_user is None
    assert read_settings({"AMPLIFY_LOCAL_USER": "trainer"}, tmp_path).local_user == "trainer"


def test_an_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OperateError, match="no environment 'prd'") as caught:
        environment_named("prd")
    assert "local or dev or staging or prod" in caught.value.todo
