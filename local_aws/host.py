"""The server process up to the moment when ministack may be imported: one server a folder, and its environment.

Started by `server.start` as `python -m local_aws serve`; what it prints goes to `server.log`.
"""

import fcntl
import json
import os
import secrets
import shutil
import tempfile

from local_aws import settings, tls
from local_aws.containers import reap
from local_aws.files import write_whole
from local_aws.processes import Process
from local_aws.settings import HOST, Settings

FOLDER_IS_TAKEN, NO_CERTIFICATE = 3, 4  # exit codes


def serve(ours: Settings) -> int:
    """Serve `ours` until SIGTERM, at which the process ends with 0.

    Returns 3 where another server holds the folder, 4 where there can be no https.
    """
    settings.configure(ours)
    ours.folder.mkdir(parents=True, exist_ok=True)
    lock = (ours.folder / "server.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held for the life of this process, however it ends
    except BlockingIOError:
        print(f"another server holds {ours.folder}", flush=True)
        return FOLDER_IS_TAKEN
    if ours.strict:
        try:
            _make_strict_folder(ours)
        except tls.CertificateError as error:
            print(error, flush=True)
            return NO_CERTIFICATE
    write_whole(ours.record, json.dumps(_record(ours), indent=2) + "\n")
    _use_environment(ours)
    if killed := reap(ours):
        print(f"ended {killed} processes that an earlier server of this folder left behind", flush=True)

    from local_aws import application  # only now: ministack reads its environment while it is imported

    return application.run(ours)


def _record(ours: Settings) -> dict[str, object]:
    """What `server.json` says of this process."""
    process = Process.of(os.getpid())
    return {
        "endpoint_url": ours.endpoint_url,
        "pid": process.pid,
        "started": process.started,
        "port": ours.port,
        "account": ours.account,
        "region": ours.region,
        "strict": ours.strict,
    }


def _make_strict_folder(ours: Settings) -> None:
    """The certificate, and the administrator's secret, for the eyes of this machine's user. Raises CertificateError."""
    ours.strict_folder.mkdir(mode=0o700, exist_ok=True)
    tls.ensure_certificate(ours)
    tls.write_trusted(ours, os.environ)
    if not ours.administrator_secret.is_file():
        write_whole(ours.administrator_secret, secrets.token_urlsafe(30))


def _use_environment(ours: Settings) -> None:
    """The whole environment of this process: ministack's settings, and none of the user's AWS."""
    temporary = ours.folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # Lambda code folders of an earlier server
    temporary.mkdir()
    environment = settings.scrubbed(os.environ)
    administrator, certificate = settings.administrator(ours), ours.certificate if ours.strict else None
    environment |= settings.client_environment(ours.endpoint_url, ours.region, administrator, certificate)
    environment |= {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(ours.port),
        "MINISTACK_ACCOUNT_ID": ours.account,
        "MINISTACK_REGION": ours.region,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(ours.state),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(ours.s3),
        "IOT_MTLS_ENABLED": "0",  # it would listen on 8883
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{temporary}/no-docker",  # it removes containers that it takes for its own: ours or not
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(temporary),
    }
    if ours.strict:
        environment |= {
            "AUTH": "true",
            "USE_SSL": "1",  # that we serve https, which Lambda functions and custom resources are told
            "MINISTACK_SSL_CERT": str(ours.certificate),
            "MINISTACK_SSL_KEY": str(ours.certificate_key),
            "SSL_CERT_FILE": str(ours.trusted_certificates),  # functions answer CloudFormation over our https
        }
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # read TMPDIR again
