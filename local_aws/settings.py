"""What one local AWS is: its folder, its port, its account; and the environments that follow from them.

A server process gets these from its command line, never from the environment, and keeps them for its whole life
(`configure` once, `current` anywhere inside). The two environments below are the whole isolation from the user's own
AWS: `scrubbed` lets nothing of theirs in, `client_environment` names every variable by which an AWS client could be led
elsewhere.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "123456789012"
REGION = "us-east-1"
HOST = "127.0.0.1"
WHO_PATH = "/_local_aws"  # answers which folder a server is of, and 200 once it is ready

# What a process needs of the user's surroundings. No AWS_*, no proxies, no PYTHON*: those change what "local" means.
# HF_* tell the Hugging Face Hub's cache and mirror apart, for jobs that start from published weights.
INHERITED = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|TERM|SSL_CERT_(FILE|DIR)|HF_\w+")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One local AWS. `folder` holds all its state and is made absolute; `port` is where it listens on 127.0.0.1.

    `strict`: https, signatures checked, every call held to IAM's policies. Otherwise http, and every caller may do all.
    """

    folder: Path
    port: int
    account: str = ACCOUNT
    region: str = REGION
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.resolve())
        if not 0 < self.port < 65536:
            raise ValueError(f"port is {self.port}: give a number from 1 to 65535")
        if not re.fullmatch(r"\d{12}", self.account):
            raise ValueError(f"account is {self.account!r}: give the 12 digits of an AWS account")
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", self.region):
            raise ValueError(f"region is {self.region!r}: give an AWS region such as {REGION}")

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.strict else 'http'}://{HOST}:{self.port}"

    @property
    def record(self) -> Path:
        """`server.json`: where the server of this folder is, and which process it is."""
        return self.folder / "server.json"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def state(self) -> Path:
        """ministack's tables, one JSON file a service."""
        return self.folder / "state"

    @property
    def s3(self) -> Path:
        """The bytes of S3 objects."""
        return self.folder / "s3"

    @property
    def sagemaker(self) -> Path:
        """The SageMaker plug-in's own tables."""
        return self.folder / "sagemaker"

    @property
    def images(self) -> Path:
        """Code bundles by their SHA-256: the zip, and the folder unpacked from it."""
        return self.folder / "images"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    @property
    def endpoints(self) -> Path:
        return self.folder / "endpoints"

    @property
    def strict_folder(self) -> Path:
        """What only strict mode has: certificate, secrets of the administrator and of users, the record of calls."""
        return self.folder / "strict"

    @property
    def certificate(self) -> Path:
        return self.strict_folder / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        return self.strict_folder / "certificate-key.pem"

    @property
    def trusted_certificates(self) -> Path:
        """The machine's public authorities and our certificate: what Lambda functions trust, as AWS's are trusted."""
        return self.strict_folder / "trusted.pem"

    @property
    def administrator_secret(self) -> Path:
        """The secret key of every account's root user."""
        return self.strict_folder / "administrator-secret"

    @property
    def calls(self) -> Path:
        """Every call of a role or user, and what IAM said to it: one JSON document a line."""
        return self.strict_folder / "calls.jsonl"

    @property
    def captures(self) -> Path:
        """Captured requests and answers that wait to be put into S3."""
        return self.folder / "captures"

    @property
    def containers(self) -> Path:
        """One record per running container, by which a later server finds what an earlier one left."""
        return self.folder / "containers"


_current: Settings | None = None


def configure(settings: Settings) -> None:
    """Make `settings` those of this process. Once: a server does not change its folder."""
    global _current
    if _current is not None and _current != settings:
        raise RuntimeError(f"this process already serves {_current.folder}; it cannot serve {settings.folder} too")
    _current = settings


def current() -> Settings:
    """The settings of the server that this code runs in. Raises RuntimeError elsewhere."""
    if _current is None:
        raise RuntimeError("this code runs inside a local AWS server only: start one with `python -m local_aws up`")
    return _current


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """What a local process may see of the user's `environment`."""
    return {name: value for name, value in environment.items() if INHERITED.fullmatch(name)}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who a client is. `token` is that of a session."""

    access_key: str
    secret_key: str
    token: str | None = None


def administrator(ours: Settings, account: str | None = None) -> Credentials:
    """The root user of an account, who may do all: the access key is the account's number, by which ministack tells
    accounts apart. Anybody's word is taken for it, but in strict mode, where the secret is random and checked."""
    secret = ours.administrator_secret.read_text() if ours.strict else "local"
    return Credentials(access_key=account or ours.account, secret_key=secret)


def client_environment(
    endpoint_url: str, region: str, credentials: Credentials | None, certificate: Path | None = None
) -> dict[str, str]:
    """All that an AWS client needs, and all that could lead it to another place than `endpoint_url`.

    The S3 endpoint is named twice because the CDK command line reads only the second. `certificate` is what https is
    checked by: boto3 reads the first of its variables, the CDK command line the second.
    """
    variables = {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ENDPOINT_URL_S3": endpoint_url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }
    if credentials is not None:
        variables["AWS_ACCESS_KEY_ID"] = credentials.access_key
        variables["AWS_SECRET_ACCESS_KEY"] = credentials.secret_key
        if credentials.token is not None:
            variables["AWS_SESSION_TOKEN"] = credentials.token
    if certificate is not None:
        variables |= {"AWS_CA_BUNDLE": str(certificate), "NODE_EXTRA_CA_CERTS": str(certificate)}
    return variables
