"""Whether a request would pass SageMaker's door: botocore's own service model, enumerations and patterns included.

botocore's validator knows required fields, types, lengths and unknown names; it leaves enumerations and patterns to the
service. Here they count, so that a definition that validates is one that CreateTrainingJob would take.
"""

import functools
import re
from collections.abc import Iterable
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator


@functools.cache
def service_model(name: str) -> Any:
    return botocore.session.Session().get_service_model(name)


def faults(operation: str, request: dict[str, Any], service: str = "sagemaker") -> list[str]:
    """What SageMaker (or another service) would refuse in this request; an empty list where nothing."""
    shape = service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found or list(_value_faults(shape, request, operation))


def _value_faults(shape: Shape, value: Any, where: str) -> Iterable[str]:
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _value_faults(shape.members[name], member, f"{where}.{name}")
    elif isinstance(shape, ListShape):
        for position, item in enumerate(value):
            yield from _value_faults(shape.member, item, f"{where}[{position}]")
        if (most := shape.metadata.get("max")) is not None and len(value) > most:
            yield f"{where} holds {len(value)}, at most {most} are allowed"
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _value_faults(shape.key, key, f"{where} key")
            yield from _value_faults(shape.value, item, f"{where}.{key}")
    elif isinstance(shape, StringShape):
        yield from _text_faults(shape, value, where)
    elif (most := shape.metadata.get("max")) is not None and value > most:
        yield f"{where} is {value}, at most {most} is allowed"


def _text_faults(shape: StringShape, value: str, where: str) -> Iterable[str]:
    if shape.enum and value not in shape.enum:
        yield f"{where} is {value!r}, not one of its values"
    if (most := shape.metadata.get("max")) is not None and len(value) > most:
        yield f"{where} has {len(value)} characters, at most {most} are allowed"
    pattern = shape.metadata.get("pattern")
    # Python's re has no \p{…} and no surrogates; those patterns guard free text only (descriptions, tags, metadata).
    if pattern and not any(javas in pattern for javas in (r"\p{", r"\uD8")) and re.fullmatch(pattern, value) is None:
        yield f"{where} is {value!r}, which does not match {pattern}"
