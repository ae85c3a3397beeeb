"""AMPLIFY's tokenizer: one character of a protein is one of 27 tokens.

The alphabet and its order are those of the published checkpoints. A character outside it (X, U, Z, O, J, lower case,
`*`, `-`) becomes `<unk>`; cleaning what people typed is the reader's task, not the tokenizer's.
`|` separates the chains of one complex, as in antibodies (heavy|light).
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

SPECIAL_TOKENS = ("<pad>", "<unk>", "<mask>", "<bos>", "<eos>")
PAD, UNK, MASK, BOS, EOS = range(5)
CHAIN_BREAK = 5
VOCABULARY = (*SPECIAL_TOKENS, "|", *"LAGVSERTIDPKQNFYMHWCB")
RESIDUES = tuple(range(6, 26))  # ids of the 20 standard amino acids, L … C

TokenIds = npt.NDArray[np.uint8]


def _byte_table() -> bytes:
    table = bytearray([UNK] * 256)
    for token_id, token in enumerate(VOCABULARY):
        if len(token) == 1:
            table[ord(token)] = token_id
    return bytes(table)


_ID_OF_BYTE = _byte_table()
_SPECIAL_IDS = bytes(range(len(SPECIAL_TOKENS)))
_LETTER_OF_ID = (bytes(len(SPECIAL_TOKENS)) + "".join(VOCABULARY[len(SPECIAL_TOKENS) :]).encode()).ljust(256, b"\0")
_BOS, _EOS = bytes([BOS]), bytes([EOS])


def _ids(sequence: str | bytes) -> bytes:
    # A character outside ASCII becomes one "?", which is unknown too: one character stays one token.
    characters = sequence.encode("ascii", "replace") if isinstance(sequence, str) else sequence
    return characters.translate(_ID_OF_BYTE)


def encode(sequence: str | bytes, add_special: bool = True) -> TokenIds:
    """Token ids [L + 2] of a protein of L characters, `<bos>` and `<eos>` around it; [L] without `add_special`."""
    ids = _ids(sequence)
    # By way of a bytearray: the array is then writable, and torch shares only writable memory without a warning.
    return np.frombuffer(bytearray(_BOS + ids + _EOS if add_special else ids), dtype=np.uint8)


def decode(token_ids: npt.ArrayLike, skip_special: bool = True) -> str:
    """The characters of token ids of any integer type; `<bos>` and its kin are left out unless `skip_special` is False.

    Raises ValueError for an id outside the alphabet.
    """
    ids = np.asarray(token_ids).ravel()
    if ids.size and (ids.min() < 0 or ids.max() >= len(VOCABULARY)):
        raise ValueError(f"token ids {ids.min()} to {ids.max()}: the alphabet has 0 to {len(VOCABULARY) - 1}")
    if skip_special:
        return ids.astype(np.uint8).tobytes().translate(_LETTER_OF_ID, _SPECIAL_IDS).decode("ascii")
    return "".join(VOCABULARY[i] for i in ids.tolist())


def count_unknown(sequence: str | bytes) -> int:
    """How many characters of the protein the model can only read as `<unk>`."""
    return _ids(sequence).count(UNK)


def tokenizer_files(max_length: int) -> dict[str, str]:
    """Name → content of the files from which Hugging Face's AutoTokenizer makes a fast tokenizer.

    `max_length`, in tokens, is where it truncates when it is asked to: the configuration's.
    """
    config = json.dumps(_tokenizer_config(max_length), indent=2)
    return {"tokenizer.json": tokenizer_json(), "tokenizer_config.json": config}


def _added_token(token: str) -> dict[str, Any]:
    return {
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def tokenizer_json() -> str:
    """The format of the `tokenizers` library: split into characters, look each up, frame with <bos> and <eos>."""
    frame = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"SpecialToken": {"id": "<eos>", "type_id": 0}}]
    single = [frame[0], {"Sequence": {"id": "A", "type_id": 0}}, frame[1]]
    second = [{"Sequence": {"id": "B", "type_id": 0}}, frame[1]]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_added_token(token)} for i, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": single + second,
            "special_tokens": {
                token: {"id": token, "ids": [token_id], "tokens": [token]}
                for token, token_id in (("<bos>", BOS), ("<eos>", EOS))
            },
        },
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {token: i for i, token in enumerate(VOCABULARY)},
            "unk_token": "<unk>",
        },
    }
    return json.dumps(content, indent=2)


def _tokenizer_config(max_length: int) -> dict[str, Any]:
    roles = {f"{token.strip('<>')}_token": token for token in SPECIAL_TOKENS}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **roles,
        "added_tokens_decoder": {str(i): _added_token(token) for i, token in enumerate(SPECIAL_TOKENS)},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_length,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
    }
