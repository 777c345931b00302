"""Sums such as "what is 2 + 2?" or "3加5等于多少", found at the end of what someone says."""

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

PLACES: Final = 10  # digits after the point, of a quotient that does not end

_OPERATORS: Final[dict[str, Callable[[Decimal, Decimal], Decimal]]] = {
    **dict.fromkeys(("+", "plus", "加上", "加"), operator.add),
    **dict.fromkeys(("-", "−", "minus", "减去", "减"), operator.sub),
    **dict.fromkeys(("*", "x", "×", "times", "乘以", "乘"), operator.mul),
    **dict.fromkeys(("/", "÷", "divided by", "除以"), operator.truediv),
}
_NUMBER: Final = r"(\d{1,9}(?:\.\d{1,9})?)"
_SUM: Final = re.compile(
    rf"(?<![\d.]){_NUMBER} ?({'|'.join(map(re.escape, _OPERATORS))}) ?{_NUMBER}(?: ?=| ?等于| ?是)? ?(?:多少|几)?[ ?？。.!！]*",
    re.IGNORECASE,
)


def solved(text: str) -> str | None:
    """The sum of two numbers with which the text ends, and its result; None if there is none."""
    for found in _SUM.finditer(text):
        if found.end() == len(text):
            return _result(Decimal(found[1]), found[2], Decimal(found[3]))
    return None


def _result(left: Decimal, sign: str, right: Decimal) -> str | None:
    try:
        result = _OPERATORS[sign.lower()](left, right)
    except ArithmeticError:
        return None
    return f"{left} {sign} {right} = {_plain(round(result, PLACES))}"


def _plain(number: Decimal) -> str:
    """Without zeros at its end, and without an exponent."""
    return f"{number:f}".rstrip("0").rstrip(".")
