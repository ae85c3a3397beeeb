"""Commands that ask, in environments whose endpoint answers otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from environments import DEV, ENVIRONMENTS
from operate import commands_ask
from operate.errors import OperateError
from stacks.config import Async, Batch, Endpoint


@pytest.mark.parametrize("endpoint", [Async(instance_type="ml.g5.xlarge"), Batch(instance_type="ml.g5.xlarge")])
def test_what_does_not_answer_at_once_is_not_asked(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "dev", replace(DEV, endpoint=endpoint, monthly_ceiling_usd=5_000))
    proteins = tmp_path / "p.fasta"
    proteins.write_text(">p\nMKT\n")
    context = typer.Context(typer.main.get_command(commands_ask.app))
    with pytest.raises(OperateError, match=f"dev serves in mode {endpoint.mode}, which does not answer at once"):
        commands_ask.perplexity(context, proteins, env="dev")
