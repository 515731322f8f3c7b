"""Checking the options of experts: a value of the wrong kind is refused when the expert is made, and never understood as another."""

from __future__ import annotations

import math

from ..errors import bad_value

__all__ = ["check_count", "check_flag", "check_number", "check_share"]


def check_count(name: str, value: int, *, low: int = 1, high: int = 2**20) -> int:
    """Return an option that must be a whole number.

    Raises:
        BadValueError: It is none, or out of range.
    """
    if type(value) is not int or not low <= value <= high:
        raise bad_value(name, value, expected=f"an integer from {low} to {high}")
    return value


def check_number(name: str, value: float, *, low: float, high: float) -> float:
    """Return an option that must be a number.

    Raises:
        BadValueError: It is none, or out of range.
    """
    if type(value) not in (int, float) or not (math.isfinite(value) and low <= value <= high):
        raise bad_value(name, value, expected=f"a number from {low:g} to {high:g}")
    return float(value)


def check_share(name: str, value: float) -> float:
    """Return an option that must be a number from 0 to 1.

    Raises:
        BadValueError: It is none, or out of range.
    """
    return check_number(name, value, low=0, high=1)


def check_flag(name: str, value: bool) -> bool:
    """Return an option that must be true or false.

    Raises:
        BadValueError: It is neither.
    """
    if type(value) is not bool:
        raise bad_value(name, value, expected="true or false")
    return value
