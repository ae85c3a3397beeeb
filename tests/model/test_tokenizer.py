"""The tokenizer against the published alphabet, for every character there is."""

import string

import numpy as np
import pytest
from amplify_lm.tokenizer import (
    BOS,
    CHAIN_BREAK,
    EOS,
    MASK,
    PAD,
    RESIDUES,
    UNK,
    VOCABULARY,
    count_unknown,
    decode,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st

# The authors' amplify_vocab.txt, a token a line.
PUBLISHED = ["<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "|", *"LAGVSERTIDPKQNFYMHWCB"]


def test_the_alphabet_is_the_published_one_in_its_order() -> None:
    assert list(VOCABULARY) == PUBLISHED
    assert (PAD, UNK, MASK, BOS, EOS, CHAIN_BREAK) == (0, 1, 2, 3, 4, 5)
    assert [VOCABULARY[i] for i in RESIDUES] == list("LAGVSERTIDPKQNFYMHWC")


@pytest.mark.parametrize("character", [*string.printable, "é", "蛋", "\U0001f9ec"])
def test_every_character_has_the_id_of_the_published_vocabulary(character: str) -> None:
    wanted = PUBLISHED.index(character) if character in PUBLISHED else UNK
    assert encode(character, add_special=False).tolist() == [wanted]
    assert encode(character).tolist() == [BOS, wanted, EOS]


@given(st.text(max_size=300))
def test_one_character_is_one_token_and_bytes_read_like_text(text: str) -> None:
    ids = encode(text)
    assert (len(ids), ids.dtype, ids.flags.writeable) == (len(text) + 2, np.uint8, True)
    assert ids[1:-1].tolist() == encode(text, add_special=False).tolist()
    assert count_unknown(text) == ids.tolist().count(UNK)
    if text.isascii():
        assert encode(text.encode()).tolist() == ids.tolist()


@given(st.text(alphabet="LAGVSERTIDPKQNFYMHWCB|", max_size=300))
def test_decoding_gives_the_protein_back(protein: str) -> None:
    assert decode(encode(protein)) == protein
    assert decode(encode(protein), skip_special=False) == f"<bos>{protein}<eos>"
    assert count_unknown(protein) == 0


@pytest.mark.parametrize("ids", [[3, 27], [-1, 5]])
def test_ids_outside_the_alphabet_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="the alphabet has 0 to 26"):
        decode(ids)
