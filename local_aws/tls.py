"""The certificate of strict mode's https: for this machine alone, made once a folder, and trusted by nobody else.

Clients are told to trust it by AWS_CA_BUNDLE and NODE_EXTRA_CA_CERTS; no trust store of the machine is touched.
"""

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local_aws.files import write_whole
from local_aws.settings import HOST, Settings

DAYS = 30
RENEW_DAYS = 7  # a server that runs for a week never serves an expired one
REQUEST = f"""
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = localhost
O = local AWS
[extensions]
subjectAltName = DNS:localhost,IP:{HOST}
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
"""


class CertificateError(RuntimeError):
    """No certificate can be made; the message says what is missing."""


def ensure_certificate(ours: Settings) -> None:
    """See to it that `ours.certificate` and `ours.certificate_key` hold a pair that is good for days.

    Raises CertificateError where openssl is missing or refuses.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise CertificateError("strict mode needs the program openssl, for its https: install it, or start without it")
    if ours.certificate_key.is_file() and _lasts(ours.certificate, openssl):
        return
    with tempfile.TemporaryDirectory(dir=ours.certificate.parent) as made:  # both, or neither
        folder = Path(made)
        (folder / "request.cnf").write_text(REQUEST)
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(DAYS), "-sha256"]
        command += ["-config", "request.cnf", "-keyout", "key.pem", "-out", "certificate.pem"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CertificateError(f"openssl cannot make a certificate: {done.stderr.strip()}")
        (folder / "key.pem").chmod(0o600)
        (folder / "key.pem").replace(ours.certificate_key)
        (folder / "certificate.pem").replace(ours.certificate)


def write_trusted(ours: Settings, environment: Mapping[str, str]) -> None:
    """Write `ours.trusted_certificates`, for programs that read one file of authorities, by SSL_CERT_FILE."""
    paths = ssl.get_default_verify_paths()
    files = [Path(name) for name in (environment.get("SSL_CERT_FILE"), paths.cafile, paths.openssl_cafile) if name]
    authorities = next((file.read_text() for file in files if file.is_file()), "")
    write_whole(ours.trusted_certificates, f"{authorities}\n{ours.certificate.read_text()}")


def context(certificate: Path) -> ssl.SSLContext:
    """What a client of this certificate's server checks it by."""
    return ssl.create_default_context(cafile=str(certificate))


def _lasts(certificate: Path, openssl: str) -> bool:
    """Whether the certificate is there and good for a while."""
    command = [openssl, "x509", "-noout", "-in", str(certificate), "-checkend", str(RENEW_DAYS * 86_400)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
