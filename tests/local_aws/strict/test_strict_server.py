"""The server in strict mode, from outside: https on one port of this machine, secrets for its user, and who is who."""

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from local_aws import server, tls, users
from local_aws.settings import Settings

ROOT = Path(server.__file__).parent.parent


def command(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "local_aws", *words, "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's table of sockets in /proc")
def test_all_that_listens_is_on_the_loopback_address_and_none_is_port_443(strict):
    inodes = {
        str(link.readlink()).removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{strict.running.pid}/fd").iterdir()
    }
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    listening = {fields[1] for fields in lines if fields[3] == "0A" and fields[9] in inodes}
    assert f"0100007F:{strict.running.port:04X}" in listening
    assert all(address.startswith("0100007F:") for address in listening)
    assert not any(address.endswith(":01BB") for address in listening)


def test_it_speaks_https_with_its_own_certificate_and_no_http(strict):
    port = strict.running.port
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.context(strict.running.settings.certificate).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET /_local_aws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")


def test_what_is_secret_is_for_the_eyes_of_its_user(strict):
    ours = strict.running.settings
    users_key = users.credentials(strict.running.folder, _new_user(strict))
    assert stat.S_IMODE(ours.strict_folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(ours.certificate_key.stat().st_mode) == 0o600
    assert len(ours.administrator_secret.read_text()) >= 30
    assert users_key.secret_key not in (strict.running.folder / "server.json").read_text()


def test_a_users_keys_are_made_once_and_again_where_they_are_gone(strict):
    name = _new_user(strict)
    first = users.credentials(strict.running.folder, name)
    assert users.credentials(strict.running.folder, name) == first
    strict.admin("iam").delete_access_key(UserName=name, AccessKeyId=first.access_key)
    second = users.credentials(strict.running.folder, name)
    assert second.access_key != first.access_key
    assert strict.clients(second)("sts").get_caller_identity()["Arn"].endswith(f":user/{name}")


@pytest.mark.parametrize(("name", "words"), [("nobody", "cannot be found"), ("../x", "is no name of an IAM user")])
def test_a_user_that_is_not_there_is_told(strict, name, words):
    with pytest.raises(server.LocalAwsError, match=words):
        users.credentials(strict.running.folder, name)


def test_the_environment_of_a_user_is_that_user(strict):
    name = _new_user(strict)
    printed = command(strict.running.folder, "env", "--user", name).stdout
    variables = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    assert set(variables) >= {"AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"}
    who = subprocess.run(
        [sys.executable, "-c", "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"],
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        | {key: value.strip("'") for key, value in variables.items()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert who.stdout.strip().endswith(f":user/{name}")


def test_the_calls_are_listed_for_people_and_for_machines(strict):
    name = _new_user(strict)
    somebody = strict.clients(users.credentials(strict.running.folder, name))
    with pytest.raises(Exception, match="ListModels"):
        somebody("sagemaker").list_models()
    lines = [line for line in command(strict.running.folder, "calls", "--denied").stdout.splitlines() if name in line]
    assert lines == [f"user/{name}\tsagemaker:ListModels\t*\tAccessDenied"]
    listed = [json.loads(line) for line in command(strict.running.folder, "calls", "--json").stdout.splitlines()]
    assert {"principal", "action", "resource", "context", "allowed", "time"} <= listed[0].keys()


def test_a_folder_keeps_its_mode_and_its_certificate_until_told_otherwise(own_folder):
    first = server.start(own_folder, strict=True)
    certificate = first.settings.certificate.read_bytes()
    with pytest.raises(server.LocalAwsError, match="in strict mode: stop it first"):
        server.start(own_folder, strict=False)
    server.stop(own_folder)
    again = server.start(own_folder)
    assert (again.strict, again.settings.certificate.read_bytes()) == (True, certificate)
    session = boto3.Session(again.account, again.settings.administrator_secret.read_text(), region_name="us-east-1")
    sts = session.client("sts", endpoint_url=again.endpoint_url, verify=str(again.settings.certificate))
    assert sts.get_caller_identity()["Account"] == again.account
    server.stop(own_folder)
    fast = server.start(own_folder, strict=False)
    assert (fast.strict, fast.endpoint_url.startswith("http:")) == (False, True)
    assert "AWS_CA_BUNDLE" not in server.client_environment(own_folder)
    with pytest.raises(server.LocalAwsError, match="strict mode"):
        users.credentials(own_folder, "anybody")


def test_a_certificate_that_ends_soon_is_made_anew(tmp_path, monkeypatch):
    ours = Settings(folder=tmp_path, port=1, strict=True)
    ours.strict_folder.mkdir()
    monkeypatch.setattr(tls, "DAYS", tls.RENEW_DAYS - 1)
    tls.ensure_certificate(ours)
    first = ours.certificate.read_bytes()
    monkeypatch.undo()
    tls.ensure_certificate(ours)
    second = ours.certificate.read_bytes()
    assert second != first
    tls.ensure_certificate(ours)
    assert ours.certificate.read_bytes() == second


def test_without_openssl_it_says_what_is_missing(own_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(server.LocalAwsError, match="needs the program openssl"):
        server.start(own_folder, strict=True)


def _new_user(strict):
    name = f"person-{os.urandom(4).hex()}"
    strict.admin("iam").create_user(UserName=name)
    return name
