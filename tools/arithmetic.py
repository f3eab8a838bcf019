"""Work out an arithmetic expression, exactly as written and within bounds.

The expression is parsed, never evaluated as code: numbers, ``+ - * / // % **``, brackets and the functions and
constants listed below. Whole numbers are exact; a fraction makes a float. Every step is bounded before it is taken,
so that no expression can fill the memory or hold a core.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import TypeAlias

from orchestrator import ToolFailed

__all__ = ("calculate",)

# Settings. This file is yours: change them here.
MAX_LENGTH = 500
"""Characters of an expression: far beyond what anybody writes by hand."""
MAX_BITS = 4096
"""Bits of a whole number: over a thousand digits, and still microseconds for every step."""

Number: TypeAlias = int | float


def _round(value: Number, digits: Number = 0) -> Number:
    """Round half to even; more digits than a float has would only make work."""
    if not isinstance(digits, int) or abs(digits) > 300:
        raise ToolFailed("round takes a whole number of at most 300 digits")
    return round(value, digits) if digits else round(value)


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "round": _round,
    "sqrt": math.sqrt,
}
CONSTANTS: Mapping[str, Number] = {"pi": math.pi, "e": math.e}

_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def calculate(expression: str) -> int | float:
    """Return the value of *expression*.

    Raises:
        ToolFailed: It is no arithmetic, it is out of bounds, or it has no finite value (1/0, sqrt(-1)); another try
            would not help.

    >>> calculate("2 * (3 + 4) ** 2"), calculate("round(17 / 3, 2)")
    (98, 5.67)
    """
    if not isinstance(expression, str):
        raise ToolFailed(f"an expression is a text, not {type(expression).__name__}")
    if len(expression) > MAX_LENGTH:
        raise ToolFailed(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _value(tree.body)
    except (SyntaxError, MemoryError, RecursionError):  # the parser runs out of its stack for deep brackets
        raise ToolFailed(f"{expression[:80]!r} is no arithmetic expression") from None
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ToolFailed(f"{expression[:80]!r} has no value: {error}") from None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.BitXor()):
            raise ToolFailed("write ** for a power, not ^")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow):
                _check_power(a, b)
            return _bounded(_BINARY[type(op)](a, b))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*map(_value, arguments)))
    known = ", ".join([*FUNCTIONS, *CONSTANTS])
    raise ToolFailed(f"{ast.unparse(node)[:80]!r} is not allowed: numbers, + - * / // % **, brackets, {known}")


def _check_power(base: Number, exponent: Number) -> None:
    """Refuse a power of whole numbers before it is taken: the result's size is known from the operands."""
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and int(base).bit_length() * exponent > MAX_BITS:
        raise ToolFailed(f"the power is larger than {MAX_BITS} bits")


def _bounded(value: Number) -> Number:
    if isinstance(value, complex):
        raise ToolFailed("the result is no real number")
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise ToolFailed(f"a number is larger than {MAX_BITS} bits")
    elif not math.isfinite(value):
        raise ToolFailed("the result is not finite")
    return value
