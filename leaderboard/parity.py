"""Golden files through our own scorers: do we give the numbers that the benchmarks' own code gave?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from visenv.errors import VisenvError, bad_value, say, unknown_name
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
    got: Mapping[str, Any] | None = None
    """``None`` where our scorer could not take the case."""
    error: str = ""
    """Why it could not, or what is wrong with what was expected."""
    is_compared: bool = True
    """Whether there was something to compare it with."""
    difference: float = 0.0
    """Largest absolute difference of two floats; infinite where anything else differs."""
    where: str = ""
    """The place of the first value that is too far off; empty when all agree."""

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong and nothing differs."""
        return not self.error and not self.where

    def to_dict(self) -> dict[str, Any]:
        """Return its name, what we gave unless we could not, and what is wrong."""
        more = {"got": self.got, "error": self.error or None, "disagrees": self.where or None}
        return {"name": self.name, **{key: value for key, value in more.items() if value is not None}}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityResult:
    """One golden file, run."""

    file: str
    scorer: str
    profile: str
    official: str
    """``repo@commit``, the commit cut to eight digits; empty where the file does not say."""
    tolerance: float
    cases: tuple[CaseResult, ...] = field(repr=False)

    @property
    def difference(self) -> float:
        """The largest of its cases."""
        return max((c.difference for c in self.cases), default=0.0)

    @property
    def num_compared(self) -> int:
        """How many cases there was something to compare with."""
        return sum(c.is_compared for c in self.cases)

    @property
    def ok(self) -> bool:
        """Whether every case could be run, and agrees if there was something to compare it with."""
        return all(c.ok for c in self.cases)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"scorer", "cases": [{"name", "got"}]}`` and what the table says."""
        return {
            "file": self.file,
            "scorer": self.scorer,
            "profile": self.profile,
            "official": self.official,
            "tolerance": self.tolerance,
            "largest_difference": self.difference if math.isfinite(self.difference) else None,
            "compared": self.num_compared,
            "ok": self.ok,
            "cases": [c.to_dict() for c in self.cases],
        }


def run_file(path: Path) -> ParityResult:
    """Run every case of a golden file; one that cannot be run says why, and the others are run all the same.

    Raises:
        BadValueError: The file cannot be read, or is not of the form that tests/golden/README.md describes.
        UnknownNameError: It names a scorer that we do not have.
    """
    data = _read(path)
    if data["scorer"] not in SCORERS:
        raise unknown_name("scorer", data["scorer"], SCORERS, remedy=f"It is named in {path.name}.")
    scorer = SCORERS[data["scorer"]]
    tolerance = float(data["tolerance"]["absolute"]) if "tolerance" in data else 0.0
    official = data.get("official")
    return ParityResult(
        file=path.name, scorer=data["scorer"], profile=scorer.profile,
        official=f"{official['repo']}@{official['commit'][:8]}" if official else "", tolerance=tolerance,
        cases=tuple(_case(scorer.run, case, number, tolerance) for number, case in enumerate(data["cases"])),
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
        reason = say(error)[:120].splitlines()[0]
        raise bad_value("golden file", str(path), expected=f"a readable file of strict JSON ({reason})") from error
    if not _is_golden(data):
        raise bad_value(
            "golden file", str(path), expected='{"scorer", "official", "tolerance", "conventions", "cases"}',
            remedy="tests/golden/README.md has the form.",
        )  # fmt: skip
    made: dict[str, Any] = data
    return made


def _is_golden(data: Any) -> bool:
    """Whether a file has a scorer and cases; what is expected of cases needs a tolerance, and nothing else may be odd."""
    if not isinstance(data, dict) or not isinstance(data.get("scorer"), str):
        return False
    cases, tolerance, official = data.get("cases"), data.get("tolerance"), data.get("official")
    if not isinstance(cases, list) or not cases:
        return False
    if "official" in data and not (
        isinstance(official, dict) and all(isinstance(official.get(key), str) for key in ("repo", "commit"))
    ):
        return False
    if "tolerance" not in data:
        return not any(isinstance(case, dict) and case.get("expected") is not None for case in cases)
    least = tolerance.get("absolute") if isinstance(tolerance, dict) else None
    return isinstance(least, (int, float)) and not isinstance(least, bool) and 0 <= least <= 1


def _case(run: Callable[[Any], dict[str, Any]], case: Any, number: int, tolerance: float) -> CaseResult:
    """Run a case and compare what comes out."""
    name, got = f"case {number}", None
    try:
        if not isinstance(case, dict) or not isinstance(case.get("name"), str):
            raise bad_value(name, case, expected='{"name", "input", "expected"}')
        name = case["name"]
        got = json.loads(json.dumps(run(case.get("input")), allow_nan=False))
        if case.get("expected") is None:
            return CaseResult(name=name, got=got, is_compared=False)
        apart = list(_differences(got, _expected(case["expected"]), tolerance))
    except VisenvError as error:
        return CaseResult(name=name, got=got, error=str(error))
    except Exception as error:  # whatever a malformed case does to a scorer: the other cases are run all the same
        wrong = bad_value("input", case.get("input"), expected=f"the form of its scorer ({say(error)[:120]})")
        return CaseResult(name=name, got=got, error=str(wrong))
    where = next((place for _, place in apart if place), "")
    return CaseResult(name=name, got=got, difference=max((d for d, _ in apart), default=0.0), where=where)


def _expected(expected: object) -> dict[str, Any]:
    """Return what is to be compared: without ``printed``, and with the masks of the OpenCV that runs."""
    if not isinstance(expected, dict):
        raise bad_value("expected", expected, expected="an object")
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
