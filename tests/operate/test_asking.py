"""Commands that ask, in environments whose endpoint answers otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from environments import DEV, ENVIRONMENTS
from operate import commands_ask
from operate.errors import OperateError
from stacks.config import Batch


def test_where_jobs_answer_no_endpoint_is_asked_and_the_job_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Batch(instance_type="ml.g5.xlarge")
    monkeypatch.setitem(ENVIRONMENTS, "dev", replace(DEV, endpoint=endpoint, monthly_ceiling_usd=5_000))
    proteins = tmp_path / "p.fasta"
    proteins.write_text(">p\nMKT\n")
    context = typer.Context(typer.main.get_command(commands_ask.app))
    with pytest.raises(OperateError, match="dev serves in mode batch: jobs answer there") as caught:
        commands_ask.perplexity(context, proteins, env="dev")
    assert caught.value.todo == f"Ask a job: `amplify batch {proteins} --env dev`."
