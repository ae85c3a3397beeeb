"""Answers as arrays and tables."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import FailedError

if TYPE_CHECKING:
    import pandas as pd

Output = dict[str, NDArray[Any]]
"""Field by field what was answered about one protein."""


@dataclass(frozen=True, slots=True)
class Scan:
    """All single substitutions of one protein."""

    sequence: str
    letters: str
    """The columns of `scores`: the 20 amino acids in the server's order."""
    scores: NDArray[np.float32]
    """[L, 20] log-likelihood ratios in nats; 0 at the wild type, NaN where the model does not know the residue."""

    def frame(self) -> pd.DataFrame:
        """A row for each position (from 1) and its residue, a column for each amino acid. Needs pandas."""
        import pandas as pd

        index = pd.MultiIndex.from_arrays(
            [range(1, len(self.sequence) + 1), list(self.sequence)], names=["position", "residue"]
        )
        return pd.DataFrame(self.scores, index=index, columns=pd.Index(list(self.letters), name="mutant"))


@dataclass(frozen=True, slots=True)
class MaskedPositions:
    """What may stand at the masks of one protein, the likeliest first."""

    positions: NDArray[np.int64]
    """[n], from 1."""
    residues: NDArray[np.str_]
    """[n, k]."""
    probabilities: NDArray[np.float32]
    """[n, k], among all tokens."""

    def frame(self) -> pd.DataFrame:
        """A row for each position and rank. Needs pandas."""
        import pandas as pd

        ranks = self.residues.shape[1]
        return pd.DataFrame(
            {
                "position": np.repeat(self.positions, ranks),
                "rank": np.tile(np.arange(1, ranks + 1), len(self.positions)),
                "residue": self.residues.ravel(),
                "probability": self.probabilities.ravel(),
            }
        )


def read_npz(content: bytes, count: int) -> list[Output]:
    """The outputs of a request about `count` proteins. Raises FailedError for what is no answer of ours."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return [_output(arrays, number, count) for number in range(count)]
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise FailedError(502, "bad_answer", f"the answer is not one of this API: {error}") from None


def _output(arrays: Output, number: int, count: int) -> Output:
    """Fields of one shape are an array with a row for each protein, the others are called `<field>_<number>`."""
    output = {}
    for name, array in arrays.items():
        own = re.fullmatch(r"(.+)_(\d+)", name)
        if own is None:
            if len(array) != count:
                raise ValueError(f"{name} has {len(array)} rows for {count} proteins")
            output[name] = array[number]
        elif int(own[2]) == number:
            output[own[1]] = array
    return output
