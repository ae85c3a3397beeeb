"""Parts of the demo that can be wrong without any AWS."""

from pathlib import Path

from operate import demo, fasta
from operate.fasta import Protein


def proteome(path: Path, count: int) -> Path:
    records = [f">BSU{number:05} protein {number}\n{'MKV' * 30}\n" for number in range(9000, 9000 + count)]
    path.write_text("".join(records))
    return path


def test_a_shortened_proteome_keeps_the_protein_that_is_scanned(tmp_path: Path) -> None:
    whole = proteome(tmp_path / "whole.faa", 200)
    names = [one.name for one in fasta.read(demo.shortened(whole, 50))]
    assert len(names) == 50
    assert names[-1] == demo.SCANNED[0] == "BSU09100"
    assert demo.protein_to_scan(fasta.read(demo.shortened(whole, 50))).name == "BSU09100"


def test_a_proteome_without_it_is_its_first_records(tmp_path: Path) -> None:
    names = [one.name for one in fasta.read(demo.shortened(proteome(tmp_path / "a.faa", 60), 50))]
    assert names == [f"BSU{number:05}" for number in range(9000, 9050)]


def test_a_scan_is_of_the_protein_that_it_names() -> None:
    other = [Protein("X1", "short one", "M" * 61), Protein("X2", "", "M" * 100)]
    assert demo.title(demo.protein_to_scan(other)) == "short one (X1)"
    assert demo.title(other[1]) == "X2"
    known = Protein("BSU09100", "", "M" * 67)
    assert demo.title(demo.protein_to_scan([*other, known])) == "cold shock protein CspB (BSU09100)"


def test_examples_are_fasta_that_the_command_reads(tmp_path: Path) -> None:
    whole = proteome(tmp_path / "whole.faa", 200)
    demo.write_examples(whole, tmp_path)
    assert next(one.name for one in fasta.read(tmp_path / "examples.fasta")) == "BSU09100"
    assert not any(line.endswith(" ") for line in (tmp_path / "examples.fasta").read_text().splitlines())
