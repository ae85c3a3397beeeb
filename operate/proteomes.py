"""Six bacterial proteomes for the demo, from the wheel of carveme 1.6.6 on the Python package index (Apache-2.0).

The wheel is taken as a box of data: fetched by pip, opened as a zip, never installed or imported. Each FASTA member
is held to its SHA-256.

Bacillus subtilis is held out entirely. The five species that the model learns from are Gram-negatives and one
Mycoplasma; B. subtilis is a Gram-positive of another phylum. So the score on it shows what the model knows about
bacterial proteins, not how well it remembers close relatives of what it saw.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operate.aws import without_aws
from operate.errors import OperateError

REQUIREMENT = "carveme==1.6.6"
WHEEL = "carveme-1.6.6-py3-none-any.whl"
FOLDER = "carveme/data/benchmark/fasta"
DOWNLOAD_LIMIT_S = 300


@dataclass(frozen=True, kw_only=True)
class Proteome:
    """One species: a FASTA member of the wheel."""

    species: str
    member: str
    sha256: str
    records: int
    held_out: bool = False

    @property
    def file(self) -> str:
        return f"{self.member}.faa"


PROTEOMES = (
    Proteome(
        species="Escherichia coli K-12 MG1655",
        member="Ecoli_K12_MG1655",
        sha256="295d1df9c925468db10e67919b20e36ac6217b539785b0284544bb83c6c8978f",
        records=4321,
    ),
    Proteome(
        species="Pseudomonas aeruginosa PAO1",
        member="Paeruginosa_PAO1",
        sha256="22db6c7ec3282592279722359c4e72afd46ab89b97d6b5341106d08ce1159518",
        records=5572,
    ),
    Proteome(
        species="Ralstonia solanacearum GMI1000",
        member="Rsolanacearum_GMI1000",
        sha256="b65c1c2d6f74b921527321b8503630d7af70a915fe50fb9fededadfa61bafcac",
        records=4900,
    ),
    Proteome(
        species="Shewanella oneidensis MR-1",
        member="Soneidensis_MR1",
        sha256="1cd4fecc2f4e809ebb3b0e84c6382b7a45175b1f0c1712a5a3050993164ca93c",
        records=4214,
    ),
    Proteome(
        species="Mycoplasma genitalium G37",
        member="M_genitalium_G37",
        sha256="95ac25b7c4f89a49543528893c169d678e181fefdde1fbd8dd12579f9f5dff7c",
        records=515,
    ),
    Proteome(
        species="Bacillus subtilis 168",
        member="Bsubtilis_168",
        sha256="71447b621fd686ed7bb06dcf599035487f02f29fdb75e53e96664f363f62433e",
        records=4177,
        held_out=True,
    ),
)


def fetch_wheel(folder: Path, user_environ: Mapping[str, str]) -> tuple[Path, bool]:
    """The wheel in `folder`, and whether it was there already. Raises OperateError where pip cannot get it."""
    wheel = folder / WHEEL
    if wheel.is_file() and zipfile.is_zipfile(wheel):
        return wheel, True
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    environ = without_aws(user_environ, proxies=True)
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(folder, f"pip took longer than {DOWNLOAD_LIMIT_S} s", "") from None
    if done.returncode != 0 or not wheel.is_file():
        raise _not_fetched(folder, "pip could not fetch it", done.stderr.strip())
    return wheel, False


def unpack(wheel: Path, folder: Path) -> list[Path]:
    """The FASTA files of PROTEOMES below `folder`, in that order. Raises OperateError for any other content."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as box:
        return [_unpack_one(box, proteome, folder) for proteome in PROTEOMES]


def _unpack_one(box: zipfile.ZipFile, proteome: Proteome, folder: Path) -> Path:
    name = f"{FOLDER}/{proteome.file}"
    try:
        content = box.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise _changed(box, name, str(error)) from None
    if (found := hashlib.sha256(content).hexdigest()) != proteome.sha256:
        raise _changed(box, name, f"its SHA-256 is {found}, expected {proteome.sha256}")
    path = folder / proteome.file
    path.write_bytes(content)
    return path


def _changed(box: zipfile.ZipFile, name: str, reason: str) -> OperateError:
    return OperateError(
        f"{name} in {box.filename} is not the file that this demo was written for: {reason}.",
        todo=f"Delete {box.filename} and try again; nothing of it was used.",
    )


def _not_fetched(folder: Path, reason: str, log_tail: str) -> OperateError:
    return OperateError(
        f"The proteomes ({REQUIREMENT}) are not here: {reason}.",
        todo=f"Check the network and pip's index, or put {WHEEL} into {folder} by hand; then try again.",
        log_tail=log_tail,
    )
