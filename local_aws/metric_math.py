"""Metric math of alarms: arithmetic over metrics' values of one period.

CloudWatch's expressions are, for what alarms need, Python's: `100 * errors / FILL(requests, 1)`. They are parsed as
such and walked; nothing but what is listed here is evaluated.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

Value = float | None  # None: no data in this period

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.BitXor: operator.pow,  # CloudWatch writes a power as ^
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OVER_SEVERAL: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "MAX": max,
    "MIN": min,
    "AVG": lambda values: sum(values) / len(values),
}
_OF_ONE: dict[str, Callable[[float], float]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}


class MathError(ValueError):
    """An expression that is not understood; the message says which part of it."""


def evaluate(expression: str, values: Mapping[str, Value]) -> Value:
    """The value of an expression in one period, from those of the metrics by id. None where data is missing.

    >>> evaluate("100 * errors / requests", {"errors": 1.0, "requests": 4.0})
    25.0

    Raises MathError.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise MathError(f"{expression!r} is no metric math: {error.msg}") from None
    return _value(tree.body, values, expression)


def _value(node: ast.expr, values: Mapping[str, Value], expression: str) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in values:
                raise MathError(f"{expression!r} names {name}; the metrics are {', '.join(sorted(values))}")
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand, values, expression)
            return None if value is None else -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _pair(_BINARY[type(op)], left, right, values, expression)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _pair(_COMPARE[type(op)], left, right, values, expression)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name.upper(), arguments, values, expression)
        case _:
            raise MathError(f"{ast.unparse(node)!r} in {expression!r} is metric math that local AWS does not know")


def _pair(
    work: Callable[[float, float], Any], left: ast.expr, right: ast.expr, values: Mapping[str, Value], expression: str
) -> Value:
    one, other = _value(left, values, expression), _value(right, values, expression)
    if one is None or other is None:
        return None
    try:
        return float(work(one, other))
    except (ZeroDivisionError, OverflowError):
        return None  # CloudWatch has no data point there


def _call(name: str, arguments: list[ast.expr], values: Mapping[str, Value], expression: str) -> Value:
    if name == "FILL" and len(arguments) == 2:
        value = _value(arguments[0], values, expression)
        return _value(arguments[1], values, expression) if value is None else value
    if name == "IF" and len(arguments) in (2, 3):
        condition = _value(arguments[0], values, expression)
        if condition is None:
            return None
        if condition:
            return _value(arguments[1], values, expression)
        return _value(arguments[2], values, expression) if len(arguments) == 3 else None
    if name in _OVER_SEVERAL and len(arguments) == 1 and isinstance(arguments[0], ast.List):
        found = [_value(each, values, expression) for each in arguments[0].elts]
        present = [value for value in found if value is not None]
        return float(_OVER_SEVERAL[name](present)) if present else None
    if name in _OF_ONE and len(arguments) == 1:
        value = _value(arguments[0], values, expression)
        return None if value is None else float(_OF_ONE[name](value))
    raise MathError(f"{name} in {expression!r} is a function of metric math that local AWS does not know")
