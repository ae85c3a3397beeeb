"""Images: the code that jobs and endpoints run, by digest. Under construction: the bodies grow behind these names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class ImageError(ValueError):
    """The image cannot be had; the message is what SageMaker would give as reason."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """`digest` of the manifest, as `repository@<digest>` names it; `folder` holds its unpacked code."""

    digest: str
    folder: Path


def resolve(image_uri: str, account: str, region: str) -> Image:
    """The image that `image_uri` names, "built" where its tag is asked for the first time. Raises ImageError."""
    raise ImageError(f"{image_uri} cannot be resolved for {account} in {region} yet")


def command(image: Image, verb: str | Sequence[str]) -> list[str]:
    """What runs `verb` (with its arguments) of the image, by this machine's interpreter."""
    return [sys.executable, str(image.folder / "launch.py"), *([verb] if isinstance(verb, str) else verb)]
