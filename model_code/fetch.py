"""A model that exists already, as the artefact that a training job would have made of it.

    launch.py fetch --init <s3://… | hf:<repo>@<revision>>    writes processing/output/model/model.tar.gz

The weights are fetched, checked whole and written in our layout, whatever theirs was; `init.json` in the archive says
where they come from, a branch of the Hub by the commit that it named. The same source gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
import tempfile
from pathlib import Path

from amplify_lm import checkpoint, container
from amplify_lm.container import Arguments, Container
from amplify_lm.settings import SettingsError


def main(box: Container, arguments: list[str]) -> None:
    """Write the archive. Raises CheckpointError where the weights cannot be used."""
    parser = Arguments(prog="launch.py fetch")
    parser.add_argument("--init", required=True)
    init = parser.parse_args(arguments).init
    if init == "scratch":
        raise SettingsError("init is 'scratch', which is no model; s3://… or hf:<repo>@<revision> is wanted")
    found = checkpoint.read_source(init)
    model = checkpoint.build_model(found)
    print(f"[fetch] {found.source}: {found.layout} layout, {model.num_parameters:,} parameters", flush=True)
    with tempfile.TemporaryDirectory(prefix="fetch-") as scratch:
        folder = Path(scratch)
        checkpoint.save_model(model, folder)
        (folder / "init.json").write_text(json.dumps({"init": init, "resolved": found.source}) + "\n")
        pack(folder, box.processing_output("model") / "model.tar.gz")


def pack(folder: Path, archive: Path) -> None:
    """A tar.gz of the folder's files that depends on their names and bytes alone."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(folder.iterdir()):
            member = tar.gettarinfo(path, path.name)
            member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode = 0, 0, 0, "", "", 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)


if __name__ == "__main__":
    sys.exit(container.run(lambda box: main(box, sys.argv[1:])))
