"""Whatever AWS the person at the keyboard uses, nothing local uses it: not its keys, not its endpoints, not its proxy.

The user of these tests has everything that could lead a client astray: a profile and credentials, endpoints, a
program that gives out keys, an instance's metadata service, a certificate bundle, proxies. All addresses lead to one
trap, which remembers who connected; a hook of the interpreter remembers where our processes connected to.
"""

import json
import os
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local_aws import server
from local_aws.processes import wait_until
from local_aws.settings import scrubbed

ROOT = Path(server.__file__).parent.parent

REMEMBER_CONNECTIONS = """
import json, os, sys
def remember(event, arguments, file=os.environ["CONNECTIONS"]):
    if event == "socket.connect":
        with open(file, "a") as stream:
            stream.write(json.dumps(arguments[1]) + "\\n")
sys.addaudithook(remember)
"""

# Each kind of call that people make; the account says whose keys were used.
CLIENT = """
import boto3, json
boto3.client("s3").create_bucket(Bucket="mine")
boto3.client("s3").put_object(Bucket="mine", Key="k", Body=b"x")
boto3.client("logs").describe_log_groups()
boto3.client("ecr").describe_repositories()
boto3.client("cloudformation").describe_stacks()
print(boto3.client("sts").get_caller_identity()["Account"])
"""

# A server whose parts use its own AWS (a bucket's properties), and which starts a container that uses it too.
SERVER = """
from pathlib import Path
from local_aws import containers, host, lifecycle, settings
def start_a_container():
    global container
    ours = settings.current()
    container = containers.Container.start(
        [sys.executable, "-c", given["CODE"]], folder=ours.folder / "of-the-test",
        environment={**containers.aws_environment(ours.account, ours.region), "CONNECTIONS": given["CONNECTIONS"]},
        log_group="g", log_stream="s", account=ours.account, region=ours.region)
given = dict(os.environ)
lifecycle.on_start.append(start_a_container)
host.serve(settings.Settings(folder=Path(sys.argv[1]), port=int(sys.argv[2])))
"""


@pytest.fixture
def trap():
    """(its port, the first bytes that each connection sent)"""
    caught: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            caught.append(self.request.recv(200))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        yield listener.server_address[1], caught
        listener.shutdown()
        thread.join()


@pytest.fixture
def users_environment(trap, tmp_path):
    """The environment of a person who uses a real AWS account, through a proxy, from a container of AWS."""
    url = f"http://127.0.0.1:{trap[0]}"
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    keys_given_out = f"credential_process = touch {tmp_path / 'keys-given-out'}\n"
    profile = f"region = eu-north-1\nendpoint_url = {url}\nsso_start_url = {url}\n{keys_given_out}"
    (home / ".aws" / "config").write_text(f"[default]\n{profile}[profile production]\n{profile}")
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAREAL\naws_secret_access_key = real\n"
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_PROFILE": "production",
        "AWS_DEFAULT_PROFILE": "production",
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_CONFIG_FILE": str(home / ".aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws" / "credentials"),
        "AWS_CA_BUNDLE": "/nowhere/bundle.pem",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/keys",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/real",
        **{
            f"AWS_ENDPOINT_URL{suffix}": url
            for suffix in ("", "_S3", "_STS", "_ECR", "_LOGS", "_SAGEMAKER", "_CLOUDFORMATION")
        },
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), url),
    }


@pytest.fixture
def untouched(trap, tmp_path):
    """After the test: nobody fell into the trap, no key was asked for, and all connections were to one address."""

    def check(port: int) -> None:
        connections = {tuple(json.loads(line)) for line in (tmp_path / "connections").read_text().splitlines()}
        assert connections == {("127.0.0.1", port)}
        assert trap[1] == []
        assert not (tmp_path / "keys-given-out").exists()

    return check


def test_the_trap_catches_those_who_follow_the_users_environment(trap, users_environment, tmp_path):
    """Without this, the tests below could pass because the trap is broken."""
    once = "config=Config(retries={'total_max_attempts': 1})"
    code = f"""
import boto3
from botocore.config import Config
boto3.client("sts", verify=False, {once}).get_caller_identity()
"""
    ended = subprocess.run([sys.executable, "-c", code], env=users_environment, capture_output=True, check=False)
    assert ended.returncode != 0
    assert trap[1]


def test_clients_with_the_client_environment_reach_local_aws_only(users_environment, own_folder, untouched, tmp_path):
    command = [sys.executable, "-m", "local_aws", "up", "--folder", str(own_folder)]
    subprocess.run(command, env=users_environment, cwd=ROOT, check=True, capture_output=True)
    running = server.status(own_folder)
    assert running is not None
    ours = {name: value for name, value in users_environment.items() if not name.startswith("AWS_")}
    ours |= server.client_environment(own_folder) | {"CONNECTIONS": str(tmp_path / "connections")}
    client = subprocess.run(
        [sys.executable, "-c", REMEMBER_CONNECTIONS + CLIENT], env=ours, capture_output=True, text=True, check=False
    )
    assert (client.stdout, client.stderr) == ("123456789012\n", "")
    untouched(running.port)


def test_the_server_and_its_containers_reach_local_aws_only(
    users_environment, own_folder, untouched, tmp_path, clients_of, deploy, free_port
):
    """Started by hand in the user's own environment: the server cleans it by itself."""
    environment = users_environment | {
        "CONNECTIONS": str(tmp_path / "connections"),
        "CODE": REMEMBER_CONNECTIONS + CLIENT,
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", REMEMBER_CONNECTIONS + SERVER, str(own_folder), str(free_port)],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        job_log = own_folder / "of-the-test" / "container.log"
        assert wait_until(lambda: job_log.exists() and job_log.read_text() != "", 60), (tmp_path / "log").read_text()
        assert job_log.read_text() == "123456789012\n"
        running = server.start(own_folder)
        assert running.pid == process.pid
        tags = {"Tags": [{"Key": "a", "Value": "1"}], "BucketName": "with-tags"}
        stack = deploy(
            clients_of(running)("cloudformation"), "stack", {"B": {"Type": "AWS::S3::Bucket", "Properties": tags}}
        )
        assert stack["StackStatus"] == "CREATE_COMPLETE"
    finally:
        server.stop(own_folder)
        process.wait(20)
    untouched(free_port)


def test_a_process_gets_what_it_needs_and_nothing_that_leads_elsewhere(users_environment):
    harmless = {"LANG": "de_DE.UTF-8", "LC_ALL": "C", "TMPDIR": "/t", "TZ": "UTC", "HF_HOME": "/models"}
    other = {"PYTHONPATH": "/p", "PYTHONHOME": "/p", "LD_PRELOAD": "/l", "HTTPS_PROXY": "p", "SSH_AUTH_SOCK": "/s"}
    kept = scrubbed({**users_environment, **harmless, **other})
    assert kept == {name: users_environment[name] for name in ("PATH", "HOME")} | harmless
