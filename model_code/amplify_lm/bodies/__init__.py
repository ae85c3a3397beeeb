"""Bodies of requests and answers: JSON, JSON Lines, FASTA and CSV in; JSON, JSON Lines and npz out.

`media_types.py` reads the two headers that say which; `requests.py` takes bodies apart, with `strict_json.py`, which
refuses what JSON does not allow; `answers.py` writes.
"""

from .answers import Answer, as_line, write_answer
from .media_types import JSON, JSON_LINES, NPZ, AnswerType, ContentType, choose_answer_type, read_content_type
from .requests import Input, Request, check_answer_type, read_line, read_request

__all__ = [
    "JSON",
    "JSON_LINES",
    "NPZ",
    "Answer",
    "AnswerType",
    "ContentType",
    "Input",
    "Request",
    "as_line",
    "check_answer_type",
    "choose_answer_type",
    "read_content_type",
    "read_line",
    "read_request",
    "write_answer",
]
