"""Golden files through our own scorers: do we give the numbers that the benchmarks' own code gave?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from visenv.errors import BadValueError, VisenvError, bad_value, unknown_name
from visenv.masks import Mask

from .golden_cases import SCORERS

__all__ = ["CaseResult", "ParityResult", "run_file"]

MAX_BYTES = 2**26
"""Largest golden file that is read."""
OLD_OPENCV = "opencv_4_8"
"""Key of the masks that OpenCV before 4.11 draws, where they differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """One case: what we gave, and how far it is from what was expected."""

    name: str
    got: Mapping[str, Any]
    difference: float
    """Largest absolute difference of two floats; infinite where anything else differs."""
    where: str
    """The place of the first value that is too far off; empty when all agree."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityResult:
    """One golden file, run."""

    file: str
    scorer: str
    profile: str
    official: str
    """``repo@commit``, the commit cut to eight digits."""
    tolerance: float
    cases: tuple[CaseResult, ...] = field(repr=False)

    @property
    def difference(self) -> float:
        """The largest of its cases."""
        return max((c.difference for c in self.cases), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every case agrees."""
        return not any(c.where for c in self.cases)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"scorer", "cases": [{"name", "got"}]}`` and what the table says."""
        return {
            "scorer": self.scorer,
            "profile": self.profile,
            "official": self.official,
            "tolerance": self.tolerance,
            "largest_difference": self.difference if math.isfinite(self.difference) else None,
            "ok": self.ok,
            "cases": [
                {"name": c.name, "got": c.got, **({"disagrees": c.where} if c.where else {})} for c in self.cases
            ],
        }


def run_file(path: Path) -> ParityResult:
    """Run every case of a golden file.

    Raises:
        BadValueError: The file cannot be read, or is not of the form that tests/golden/README.md describes.
        UnknownNameError: It names a scorer that we do not have.
    """
    data = _read(path)
    if data["scorer"] not in SCORERS:
        raise unknown_name("scorer", data["scorer"], SCORERS, remedy=f"It is named in {path.name}.")
    scorer = SCORERS[data["scorer"]]
    tolerance = float(data["tolerance"]["absolute"])
    results = []
    for number, case in enumerate(data["cases"]):
        where = f"case {number} of {path.name}"
        if not isinstance(case, dict) or not isinstance(case.get("name"), str):
            raise bad_value(where, case, expected='{"name", "input", "expected"}')
        where = f"case {case['name']!r} of {path.name}"
        expected = _expected(case.get("expected"), where)
        got = _run(scorer.run, case.get("input"), where)
        apart = list(_differences(got, expected, tolerance))
        results.append(
            CaseResult(
                name=case["name"], got=got, difference=max((d for d, _ in apart), default=0.0),
                where=next((place for _, place in apart if place), ""),
            )
        )  # fmt: skip
    official = data["official"]
    return ParityResult(
        file=path.name, scorer=data["scorer"], profile=scorer.profile,
        official=f"{official['repo']}@{official['commit'][:8]}", tolerance=tolerance, cases=tuple(results),
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """Read a golden file and check everything but its cases."""
    try:
        with path.open("rb") as file:
            held = file.read(MAX_BYTES + 1)
        if len(held) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES} bytes")
        data = json.loads(held.decode("utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise bad_value("golden file", str(path), expected=f"a readable file of strict JSON ({reason})") from error
    try:
        official, tolerance = data["official"], data["tolerance"]["absolute"]
        known = [data["scorer"], official["repo"], official["commit"]]
        fine = all(isinstance(v, str) for v in known) and isinstance(data["cases"], list) and len(data["cases"])
        if not fine or type(tolerance) not in (int, float) or not 0 <= tolerance <= 1:
            raise ValueError("of another form")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise bad_value(
            "golden file", str(path), expected='{"scorer", "official", "tolerance", "conventions", "cases"}',
            remedy="tests/golden/README.md has the form.",
        ) from error  # fmt: skip
    made: dict[str, Any] = data
    return made


def _run(run: Any, given: object, where: str) -> dict[str, Any]:
    """Run a case; whatever a malformed input does to a scorer is an error of the file."""
    try:
        got: dict[str, Any] = json.loads(json.dumps(run(given)))
    except BadValueError as error:
        raise BadValueError(f"In {where}: {error}") from error
    except VisenvError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise bad_value(f"input of {where}", given, expected=f"the form of its scorer ({reason[:120]})") from error
    return got


def _expected(expected: object, where: str) -> dict[str, Any]:
    """Return what is to be compared: without ``printed``, and with the masks of the OpenCV that runs."""
    if not isinstance(expected, dict):
        raise bad_value(f"expected of {where}", expected, expected="an object")
    out = {key: value for key, value in expected.items() if key not in ("printed", OLD_OPENCV)}
    if OLD_OPENCV in expected and tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 11):
        out |= expected[OLD_OPENCV]
    return out


def _differences(got: object, expected: object, tolerance: float, place: str = "") -> Iterator[tuple[float, str]]:
    """Yield how far values are apart; with it the place of those that disagree, else an empty text."""
    if isinstance(expected, dict) and set(expected) == {"size", "counts"}:
        same = _dense_equal(got, expected)
        yield (0.0, "") if same else (math.inf, place)
    elif isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted({*expected, *got}):
            inner = f"{place}.{key}" if place else key
            if key in expected and key in got:
                yield from _differences(got[key], expected[key], tolerance, inner)
            else:
                yield math.inf, inner
    elif isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            yield math.inf, place
        for index, (one, other) in enumerate(zip(got, expected, strict=False)):
            yield from _differences(one, other, tolerance, f"{place}[{index}]")
    elif _is_number(expected) and _is_number(got) and float in (type(expected), type(got)):
        apart = abs(got - expected)  # type: ignore[operator]
        yield apart, "" if apart <= tolerance else place
    else:
        same = type(got) is type(expected) and got == expected
        yield (0.0, "") if same else (math.inf, place)


def _dense_equal(got: object, expected: object) -> bool:
    first, second = Mask.from_json(got), Mask.from_json(expected)
    return first.size_hw == second.size_hw and bool((first.to_dense() == second.to_dense()).all())


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
