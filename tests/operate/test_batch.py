"""Records into a transform job's requests, and its answers into the file that a person wants."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from environments import DEV, ENVIRONMENTS
from operate import batch, batch_answers, batch_records, batch_tasks, commands_batch
from operate.aws import Aws
from operate.batch import Outcome, Place, Plan
from operate.batch_records import Record
from operate.errors import OperateError
from stacks.config import Batch
from tests.stacks.request_check import faults

SETTINGS = Batch(instance_type="ml.m5.xlarge", instance_count=2)
PLACE = Place(bucket="b", key_arn="arn:aws:kms:us-east-1:1:key/k", input_prefix="i/", output_prefix="o/", model="m")


def nothing_of_s3() -> None:
    raise AssertionError("a file on this machine needs no S3")


def read(tmp_path: Path, name: str, content: str | bytes) -> list[Record]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return batch_records.read(str(file), nothing_of_s3)


def record(name: str, sequence: str, variants: tuple[str, ...] | None = None) -> Record:
    return Record(name, sequence, variants, f"file, {name}")


def plan(*records: Record, task: str = "embed", settings: Batch = SETTINGS) -> Plan:
    return batch.plan(records, batch_tasks.question(task, []), settings)


# ---- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.faa", ">p1 a protein\nMKT\nAYI\n>\nMLE\n", [("p1", "MKTAYI", None), ("protein_2", "MLE", None)]),
        ("a.txt", "\n>p1\r\nMKT\r\n", [("p1", "MKT", None)]),
        ("a.fasta.gz", gzip.compress(b">p1\nMKT\n", mtime=0), [("p1", "MKT", None)]),
        ("a.jsonl", '"MKT"\n\n{"id":"x","sequence":"MLE"}\n', [("protein_1", "MKT", None), ("x", "MLE", None)]),
        ("a.data", '{"sequence":"MLE","variants":["M1A"]}\n', [("protein_1", "MLE", ("M1A",))]),
        ("a.csv", "x,MKT\ny,MLE\n", [("x", "MKT", None), ("y", "MLE", None)]),
        ("a.csv", "MKT\n", [("protein_1", "MKT", None)]),
        ("a.csv", 'Sequence,variants\nMKT,"M1A, K2L:T3S"\n', [("protein_1", "MKT", ("M1A", "K2L:T3S"))]),
        ("a.csv", "protein,MKT\nseq,MLE\n", [("protein", "MKT", None), ("seq", "MLE", None)]),
        ("a.csv", "x,SEQ\n", [("x", "SEQ", None)]),
        (
            "a.csv",
            "id,sequence,variants\nx,MKT,M1A\nx,MKT,K2L\n",
            [("x", "MKT", ("M1A",)), ("x", "MKT", ("K2L",))],
        ),
    ],
)
def test_records_are_read_in_each_form(tmp_path: Path, name: str, content: str | bytes, found: list[Any]) -> None:
    assert [(one.name, one.sequence, one.variants) for one in read(tmp_path, name, content)] == found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.faa", "MKT\n", r"begins with 'MKT\\n': it is none of FASTA"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.faa.gz", gzip.compress(b">p\nMKT", mtime=0)[:-4], "a.faa.gz is damaged"),
        ("a.csv", b"\xff\xfe", "byte 0xff at offset 0 is not UTF-8"),
        ("a.jsonl", '{"sequence":"M"}\n{"id":7,"sequence":"M"}\n{', r"line 2: id is 7.*line 3: not JSON"),
        ("a.jsonl", '{"sequense":"M"}\n', 'line 1: a sequence, or {"id"'),
        ("a.jsonl", '{"sequence":"M","name":"x"}\n', "unknown field 'name'"),
        ("a.jsonl", '{"sequence":"M","variants":"M1A"}\n', "variants is no list of strings"),
        ("a.csv", "a,b,c\n", "its columns are a, b, c"),
        ("a.csv", "x,MKT\ny\n", "row 2: 1 columns; 2 are wanted: id, sequence"),
        ("a.csv", 'x,"MKT\n', "row 1: not CSV"),
        ("a.csv", "id,sequence\n", "holds no records"),
        ("a.csv", "id,seq\nx,MKT\n", "a.csv, row 1: a header without a column sequence: id, seq; give it that name"),
        ("a.csv", "\nSeq\nMKT\n", "row 2: a header without a column sequence: seq"),
        ("a.csv", "x,MKT\nx,MLE\n", "a.csv, row 2: id 'x' is that of another protein, .*a.csv, row 1"),
        ("a.csv", "x,MKT\ny,M\nx,MKT\n", "row 3: id 'x' is there already with the same content, .*a.csv, row 1"),
        ("a.faa", ">x one\nMKT\n>x two\nMLE\n", "record 2: id 'x' is that of another protein, .*a.faa, record 1"),
        ("a.jsonl", '{"sequence":"M","id":"protein_2"}\n"K"\n', "line 2: id 'protein_2' is that of another protein"),
        ("a.jsonl", "1\n" * 9, "… and 4 more"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(OperateError, match=message):
        read(tmp_path, name, content)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(OperateError, match=r"nosuch\.faa cannot be read: No such file"):
        batch_records.read("nosuch.faa", nothing_of_s3)


# ---- the question ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("embedd", [], "There is no task 'embedd'"),
        ("embed", ["exact=true", "layer=x"], r"embed has no parameter 'exact'.*layer is 'x': a whole number"),
        ("embed", ["pooling=max"], "pooling is 'max': mean or per_residue or bos is wanted"),
        ("embed", ["normalize"], "--set 'normalize' is no KEY=VALUE"),
        ("logits", ["top_k=1"], "logits has no parameter 'top_k': it has none"),
        ("contacts", ["layer=[]"], r"layer is '\[\]': a whole number \(1 is the first block"),
        ("contacts", ["maps=all"], "maps is 'all': mean or each is wanted"),
        ("perplexity", ["exact=1"], "exact is '1': true or false is wanted"),
        ("fill_mask", ["top_k=21"], "top_k is '21': a whole number from 1 to 20 is wanted"),
        ("score_variants", ["variants=A1C"], r"variants is 'A1C': a list such as"),
        ("score_variants", ["scan=true", 'variants=["A1C"]'], "variants and scan exclude one another"),
        ("scan", ['variants=["A1C"]'], "scan is of every substitution"),
    ],
)
def test_a_wrong_task_is_refused_before_a_job_costs_anything(task: str, settings: list[str], message: str) -> None:
    with pytest.raises(OperateError, match=message):
        batch_tasks.question(task, settings)


def test_a_scan_is_the_servers_task_of_every_substitution() -> None:
    question = batch_tasks.question("scan", ["method=wt_marginal"])
    body = json.loads(question.request([record("p", "MKT", ("M1A",))]))
    assert body["task"] == "score_variants"
    assert body["parameters"] == {"scan": True, "method": "wt_marginal"}
    assert body["partial"] is True
    assert body["inputs"] == [{"id": "p", "sequence": "MKT", "variants": ["M1A"]}]


@pytest.mark.parametrize(
    ("task", "settings", "tokens"),
    [
        ("embed", [], 12),
        ("perplexity", [], 12),
        ("perplexity", ["exact=true"], 120),
        ("scan", [], 120),
        ("scan", ["method=wt_marginal"], 12),
        ("scan", ["method=mutant_marginal"], 19 * 120),
        ("score_variants", [], 24),
    ],
)
def test_the_work_of_a_record_is_counted_as_the_server_counts_it(task: str, settings: list[str], tokens: int) -> None:
    one = record("p", "M" * 10, ("M1A", "M2A") if task == "score_variants" else None)
    assert batch_tasks.question(task, settings).tokens(one) == tokens


# ---- the plan --------------------------------------------------------------------------------------------------------


def test_every_record_is_in_exactly_one_request_and_every_instance_has_an_object() -> None:
    made = plan(*(record(f"p{i}", "M" * 300) for i in range(450)))
    requests = [request for one in made.objects for request in one]
    assert [i for request in requests for i in request] == list(range(450))
    assert max(map(len, requests)) == 200
    assert len(made.objects) == len(requests) == 3
    assert [len(body.splitlines()) for body in made.bodies()] == [1, 1, 1]


def test_requests_are_as_small_as_their_work_is_large() -> None:
    made = plan(*(record(f"p{i}", "M" * 1_000) for i in range(3)), task="scan")
    assert made.objects == [[[0]], [[1]], [[2]]]


def test_a_record_that_the_server_could_not_take_is_not_sent() -> None:
    long, large = record("long", "M" * 3_000), record("large", "M" * 7_000_000)
    made = plan(record("p", "MKT"), long, task="scan")
    assert made.objects == [[[0]]]
    assert made.refused[1]["code"] == "too_much_work"
    assert "9006000 tokens of work" in made.refused[1]["message"]
    assert plan(large).refused[0]["code"] == "body_too_large"


def test_a_job_is_gone_on_with_for_exactly_what_it_was_started_for() -> None:
    made, other = plan(record("p", "MKT")), plan(record("p", "MKA"))
    name = f"amplify-dev-batch-20261125-010203-{made.digest()}"
    batch.check_same(name, made, "dev")
    with pytest.raises(OperateError, match="was started for other records"):
        batch.check_same(name, other, "dev")
    for wrong in ("amplify-prod-batch-20261125-010203-00000000", "mine"):
        with pytest.raises(OperateError, match="is no job of `amplify batch --env dev`"):
            batch.check_same(wrong, made, "dev")


@pytest.mark.parametrize(
    ("type_", "key", "image"),
    [("ml.m5.xlarge", True, None), ("ml.g5.xlarge", False, "al2-ami-sagemaker-batch-gpu-535")],
)
def test_the_request_is_one_that_sagemaker_takes(type_: str, key: bool, image: str | None) -> None:
    name = f"amplify-{'e' * 20}-batch-20261125-010203-0a0b0c0d"
    aws = Aws(environment=DEV, environ={})
    request = batch._request(aws, replace(SETTINGS, instance_type=type_), PLACE, name, "m")
    assert faults("CreateTransformJob", request) == []
    assert ("VolumeKmsKeyId" in request["TransformResources"]) == key
    assert request["TransformResources"].get("TransformAmiVersion") == image
    assert request["TransformOutput"]["KmsKeyId"] == PLACE.key_arn


# ---- the answers -----------------------------------------------------------------------------------------------------


def joined(content: bytes | None) -> dict[int, Any]:
    return dict(batch._joined([[0, 1], [2]], content, "the job is Failed"))


def test_answers_are_joined_to_their_records() -> None:
    first = {
        "task": "embed",
        "outputs": [{"id": "a", "embedding": [1]}, {"id": "b", "error": {"code": "bad_sequence"}}],
    }
    second = {"task": "embed", "outputs": [{"id": "c", "embedding": [3]}]}
    found = joined(f"{json.dumps(first)}\n{json.dumps(second)}\n".encode())
    assert found == {0: {"embedding": [1]}, 1: {"error": {"code": "bad_sequence"}}, 2: {"embedding": [3]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the job is Failed"),
        (b"{}\n", "1 answers came to 2 requests"),
        (b'{"outputs":[{}]}\n{"outputs":[{}]}\n', "the answer is none of ours"),
        (b"no json\n[]\n", "the answer is none of ours"),
    ],
)
def test_an_output_that_is_not_there_or_not_whole_is_no_answer(content: bytes | None, message: str) -> None:
    found = joined(content)
    assert found[0]["error"]["code"] == "no_answer"
    assert message in found[0]["error"]["message"]


def write(path: Path, task: str, *answers: dict[str, Any] | str, settings: tuple[str, ...] = ()) -> tuple[int, int]:
    """A string is the code of an error."""
    question = batch_tasks.question(task, settings)
    batch_answers.check(path, question)
    outcomes = [
        Outcome(record(f"p{i}", "MK"), None, {"code": one, "message": "why"})
        if isinstance(one, str)
        else Outcome(record(f"p{i}", "MK"), one, None)
        for i, one in enumerate(answers)
    ]
    return batch_answers.write(path, question, outcomes)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_table_has_the_answers_and_a_list_beside_it_the_failures(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    answer = {"length": 2, "perplexity": 3.5, "loss": 1.25, "scored_residues": 2}
    assert write(path, "perplexity", answer, "bad_sequence", answer) == (2, 1)
    assert rows(path) == [
        ["id", "perplexity", "loss", "scored_residues"],
        ["p0", "3.5", "1.25", "2"],
        ["p2", "3.5", "1.25", "2"],
    ]
    failures = tmp_path / "p.failures.csv"
    assert rows(failures) == [["id", "record", "code", "message"], ["p1", "file, p1", "bad_sequence", "why"]]
    assert write(path, "perplexity", answer) == (1, 0)
    assert not failures.exists(), "it is of a job before"


def test_a_scan_is_a_table_without_the_wild_type_and_what_the_model_does_not_know(tmp_path: Path) -> None:
    scores = {"letters": ["M", "K", "A"], "scores": [[0.0, -1.0, -2.0], [None, 0.0, -3.0]]}
    write(tmp_path / "s.csv", "scan", scores)
    assert rows(tmp_path / "s.csv")[1:] == [["p0", "M1K", "-1.0"], ["p0", "M1A", "-2.0"], ["p0", "K2A", "-3.0"]]


def test_other_tables_have_a_row_for_each_score(tmp_path: Path) -> None:
    write(tmp_path / "v.csv", "score_variants", {"variants": ["M1A", "K2A"], "scores": [-1.0, 0.5]})
    assert rows(tmp_path / "v.csv")[1:] == [["p0", "M1A", "-1.0"], ["p0", "K2A", "0.5"]]
    masked = {"positions": [2], "residues": [["K", "A"]], "probabilities": [[0.7, 0.2]]}
    write(tmp_path / "f.csv", "fill_mask", masked)
    assert rows(tmp_path / "f.csv")[1:] == [["p0", "2", "K", "0.7"], ["p0", "2", "A", "0.2"]]


def test_embeddings_are_arrays_as_the_other_command_writes_them(tmp_path: Path) -> None:
    write(tmp_path / "e.npz", "embed", {"embedding": [1.0, 2.0]}, "bad_sequence", {"embedding": [3.0, 4.0]})
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["ids"].tolist() == ["p0", "p2"]
        assert arrays["embeddings"].tolist() == [[1, 2], [3, 4]]
    write(tmp_path / "r.npz", "embed", {"embedding": [[1.0], [2.0]]}, settings=("pooling=per_residue",))
    with np.load(tmp_path / "r.npz") as arrays:
        assert arrays["embedding_0"].shape == (2, 1)
    write(tmp_path / "b.npz", "embed", {"embedding": [[1.0], [2.0]]}, settings=("layer=[1,-1]",))
    with np.load(tmp_path / "b.npz") as arrays:
        assert arrays["embeddings"].shape == (1, 2, 1)
    assert write(tmp_path / "none.npz", "embed", "bad_sequence") == (0, 1)


def test_contacts_are_an_array_for_each_protein_with_nan_where_json_has_null(tmp_path: Path) -> None:
    write(tmp_path / "c.npz", "contacts", {"contacts": [[0.5, None], [None, None]]}, {"contacts": [[0.25]]})
    with np.load(tmp_path / "c.npz") as arrays:
        np.testing.assert_array_equal(arrays["contacts_0"], np.array([[0.5, np.nan], [np.nan, np.nan]]))
        assert arrays["contacts_1"].tolist() == [[0.25]]


@pytest.mark.parametrize(
    ("task", "settings", "numbers"),
    [
        ("embed", [], 1024),
        ("embed", ["layer=[1,2]", "pooling=per_residue"], 2 * 10 * 1024),
        ("embed", ["layer=all"], 32 * 1024),
        ("contacts", [], 100),
        ("contacts", ["maps=each", "layer=-1"], 15 * 100),
    ],
)
def test_the_answer_to_a_record_is_counted_before_it_is_asked_for(task: str, settings: list[str], numbers: int) -> None:
    assert batch_tasks.question(task, settings).numbers(record("p", "M" * 10)) == numbers


def test_json_lines_have_a_line_for_every_record(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "embed", {"embedding": [1.0]}, "bad_sequence")
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert first == {"id": "p0", "embedding": [1.0]}
    assert second == {"id": "p1", "error": {"code": "bad_sequence", "message": "why"}}


@pytest.mark.parametrize(
    ("source", "task", "settings", "name"),
    [
        ("in/my.faa.gz", "embed", [], "my.embed.npz"),
        ("my.faa", "embed", ["pooling=per_residue"], "my.embed.jsonl"),
        ("my.jsonl", "scan", [], "my.scan.csv"),
        ("s3://b/proteins/", "perplexity", [], "proteins.perplexity.csv"),
        ("my.faa", "logits", [], "my.logits.jsonl"),
        ("my.faa", "contacts", [], "my.contacts.npz"),
    ],
)
def test_the_file_is_named_after_the_source_and_the_task(
    source: str, task: str, settings: list[str], name: str
) -> None:
    question = batch_tasks.question(task, settings)
    assert str(batch_answers.default(source, question)) == name
    batch_answers.check(Path(name), question)


def test_a_file_without_room_for_the_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match=r"answers of embed go into a file that ends in \.jsonl or \.npz"):
        write(tmp_path / "e.csv", "embed", {})
    with pytest.raises(OperateError, match=r"answers of score_variants go into a file that ends in \.jsonl or \.csv"):
        write(tmp_path / "s.npz", "scan", {})


# ---- the command -----------------------------------------------------------------------------------------------------


def command(tmp_path: Path, **given: Any) -> None:
    proteins = tmp_path / "p.fasta"
    proteins.write_text(">p\nMKT\n")
    context = typer.Context(typer.main.get_command(commands_batch.app))
    commands_batch.batch_command(context, str(proteins), **given)


def test_an_environment_without_a_model_for_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match="dev serves in mode realtime, which has no model for jobs"):
        command(tmp_path, env="dev")


def test_another_package_wants_the_setting_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Batch(instance_type="ml.g5.xlarge")
    monkeypatch.setitem(ENVIRONMENTS, "dev", replace(DEV, endpoint=jobs, monthly_ceiling_usd=None))
    with pytest.raises(OperateError, match="Jobs of dev run the released model only"):
        command(tmp_path, env="dev", task="perplexity", package="3")
