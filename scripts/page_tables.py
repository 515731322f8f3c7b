"""The tables of docs/metrics.md and of the tasks' pages: what each profile was compared with, and what the truth and nothing get.

The truth is a task's own target as an answer, on the miniatures that the tests write. That an agent which submits it through the
environment gets the same is a test (tests/registry/test_oracle.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visenv.leaderboard.parity import ParityResult, run_file
from visenv.tasks.benchmark import Benchmark
from visenv.tasks.profiles import PROFILES

from visenv import plugins
from visenv.env import default_split
from visenv.task import Metrics, Profile, Sample, Task, profiles_of
from visenv.testing._profile import perfect_answer

__all__ = [
    "Extremes", "check_words", "data_of", "extremes", "extremes_table", "falls_short", "parity_table", "profiles_table", "specs",
]  # fmt: skip

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
MODES = {"COCO": ("COCO:mode=segment", "COCO:mode=count")}
"""Tasks whose options change how they are scored, and the specs that are looked at besides the plain one."""
FEW = 6
"""Samples of a task whose samples are made, not read."""
BY_HAND = {"reasonseg/segzero-multi": "ReasonSeg", "vstar/likelihood": "VStar"}
"""Profiles that only ``visenv score`` uses, and the task whose targets they are tried on."""

TRUTH = {
    "coco/ap": "AR1 allows one detection for each picture and category",
    "gres/gsva": "epsilons: 1e-8 beside the pixels, 1e-5 beside the number of samples",
    "gres/native": "T_acc and N_acc are 0 where every sample has a target",
    "reasonseg/lisa": "epsilons: 1e-5 beside the pixels and beside the number of samples",
    "reasonseg/segzero": "ignored pixels are target there",
    "reasonseg/segzero-multi": "ignored pixels are target there",
    "reasonseg/visionreasoner": "ignored pixels are target there",
    "rec8k/official": "a picture without objects counts as having one",
    "refcoco/lavt480": "pixels that two parts of an object cover are background there",
    "visdrone/coco": "AR1 allows one detection for each picture and category",
    "visdrone/rexf1": "objects flagged as ignored are not in the truth there, and submitting them is wrong",
    "visdrone/toolkit": "objects flagged as ignored count as missed; AR1 and AR10 allow so many detections for a picture, all classes together",
}
"""Why the truth does not get the best value of every metric."""
NOTHING = {
    "blink/micro": "a missing prediction is wrong",
    "blink/official": "a missing prediction is wrong",
    "coco/ap": "a picture without results has no detections",
    "dense200/rexomni": "without predictions precision and recall are 0",
    "dense200/visharness": "it adds no prediction to the sums",
    "grec/iou": "as `grec/mdetr`",
    "grec/mdetr": "the authors' code cannot take it; an empty set of boxes would be “no target”; nothing at all is 0",
    "gres/gsva": "the authors' model always answers; 0, as nothing was declared",
    "gres/native": "the authors' model always answers; 0, as nothing was declared",
    "gres/rela": "the authors' model always answers; 0, as nothing was declared",
    "hrbench/letter": "without a letter it is wrong; the authors ask a judge",
    "muirbench/official": "the authors draw a letter at random; here it is wrong",
    "multiqa/accuracy": "without a letter it is wrong",
    "reasonseg/lisa": "the authors' model always answers; 0, also where no pixel is target",
    "reasonseg/segzero": "a failure has no intersection and the target as its union",
    "reasonseg/segzero-multi": "a failure has no intersection and the target as its union",
    "reasonseg/visionreasoner": "a failure has no intersection and the target as its union",
    "rec8k/official": "an error of as many as there are, of one where there is none",
    "refcoco/box": "a reply that cannot be read is a box without area, and wrong",
    "refcoco/lavt480": "the authors' model always answers; an empty mask has an IoU of 0",
    "refcoco/native": "as `refcoco/lavt480`",
    "visdrone/coco": "a picture without results has no detections",
    "visdrone/rexf1": "as `dense200/rexomni`",
    "visdrone/toolkit": "the authors' code fails on an empty file of results; no detections",
    "vstar/letter": "without a letter it is wrong",
    "vstar/likelihood": "the authors' model always chooses; without losses it is wrong",
}
"""What the official code does when there is no prediction, and what is done here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extremes:
    """What one profile gives the truth and gives nothing on samples of one task."""

    spec: str
    profile: Profile
    split: str
    num_samples: int
    truth: Metrics
    nothing: Metrics


def specs(name: str) -> tuple[str, ...]:
    """Return the ways of making a task that differ in how it is scored, the plain one first."""
    return (name, *MODES.get(name, ()))


def data_of(task: Task) -> Benchmark[Any] | None:
    """Return the task that reads data: the one given, or the one it shows in several orders; ``None`` where none is read."""
    source = getattr(task, "task", task)
    return source if isinstance(source, Benchmark) else None


def extremes(spec: str) -> list[Extremes]:
    """Score the truth and nothing on every sample of a task's default split, by each profile that fits it.

    Data are looked for where the task does so: set ``VISENV_DATA`` to a folder with the miniatures.
    """
    task: Task = plugins.build("tasks", spec)
    split, level = default_split(task), task.levels[0]
    size = task.num_samples(split, level) if data_of(task) else FEW
    drawn = [task.sample(split, level, index) for index in range(size or FEW)]
    more = [PROFILES[name] for name, other in BY_HAND.items() if other == spec]
    return [_of(spec, profile, split, drawn) for profile in (*profiles_of(task), *more)]


def check_words(found: Iterable[Extremes]) -> None:
    """Check that the words about profiles are about what was found.

    Raises:
        ValueError: A profile falls short of the best and nothing says why, or the other way round, or one is not there.
    """
    found = list(found)
    seen = {one.profile.name for one in found}
    short = {one.profile.name for one in found if falls_short(one.truth)}
    wrong = sorted((short ^ set(TRUTH)) | (seen ^ set(NOTHING)) | (seen ^ set(PROFILES)))
    if wrong:
        raise ValueError(
            f"TRUTH and NOTHING of scripts/page_tables.py do not fit {wrong}. Expected an entry where one is needed."
        )


def extremes_table(found: Iterable[Extremes]) -> list[str]:
    """Return the lines of a table of what the oracle gets and what nothing gets."""
    lines = ["| profile | samples | the oracle gets | nothing submitted gets |", "|---|---|---|---|"]
    for one in found:
        name = one.profile.name
        truth, nothing = (_said(metrics, one.profile.undefined) for metrics in (one.truth, one.nothing))
        truth += f": {TRUTH[name]}" if falls_short(one.truth) else ""
        lines.append(
            f"| `{name}` | `{one.spec}`, `{one.split}`, {one.num_samples} | {truth} | {nothing}: {NOTHING[name]} |"
        )
    return lines


def falls_short(metrics: Metrics) -> bool:
    """Whether a metric is not at its best: 0 for an error, else 1 or 100; what is undefined is not looked at."""
    for name, value in metrics.items():
        best = (0.0,) if name.startswith(("MAE", "RMSE")) else (1.0, 100.0)
        if value is not None and not any(math.isclose(value, b, rel_tol=1e-12, abs_tol=1e-12) for b in best):
            return True
    return False


def parity_table(*, differences: bool = True) -> list[str]:
    """Return the lines of the table of golden files; how small the smallest differences are hangs on the machine."""
    lines = [
        "| file | profile | official code | cases | tolerance | difference at most |",
        "|---|---|---|---|---|---|",
    ]
    for r in _golden():
        words = [f"`{r.file}`", f"`{r.profile}`", r.official, str(len(r.cases)), f"{r.tolerance:g}"]
        lines.append("| " + " | ".join([*words, _at_most(r)] if differences else words) + " |")
    return lines


def profiles_table() -> list[str]:
    """Return the lines of the table of all profiles: the code they agree with, and how that was found out."""
    golden = _golden()
    lines = ["| profile | code | compared with it |", "|---|---|---|"]
    for name, profile in sorted(PROFILES.items()):
        code = re.split(r"[:,] (?:from the description|compared by)", profile.source)[0]
        lines.append(f"| `{name}` | {code} | {_compared(profile, golden)} |")
    return lines


def _compared(profile: Profile, golden: Sequence[ParityResult]) -> str:
    if "not compared with running code" in profile.source:
        return "no: from the description"
    own = [f"`{r.scorer}`" for r in golden if r.profile.split(",")[0] == profile.name]
    if own:
        return f"golden {', '.join(own)}"
    same = [f"`{r.scorer}`" for r in golden if r.official == profile.source.split()[0] and "," not in r.profile]
    return f"its formulas: golden {', '.join(same)}" if same else "the tests run it"


def _golden() -> list[ParityResult]:
    return [run_file(path) for path in sorted(GOLDEN.glob("*.json"))]


def _of(spec: str, profile: Profile, split: str, drawn: Sequence[Sample]) -> Extremes:
    truth = profile.aggregate([profile.row(s.target, perfect_answer(s.target)) for s in drawn])
    nothing = profile.aggregate([profile.row(s.target, None) for s in drawn])
    return Extremes(spec=spec, profile=profile, split=split, num_samples=len(drawn), truth=truth, nothing=nothing)


def _said(metrics: Metrics, undefined: Mapping[str, str]) -> str:
    """Put metrics into words, those of equal values together; what is undefined is left out unless the profile says why."""
    by_value: dict[str, list[str]] = {}
    for name, value in metrics.items():
        if value is not None or name in undefined:
            by_value.setdefault(f"none ({undefined[name]})" if value is None else f"{value:.8g}", []).append(name)
    if len(by_value) == 1:
        return f"{'all ' if len(metrics) > 1 else ''}{next(iter(by_value))}"
    return "; ".join(f"{', '.join(names)} {value}" for value, names in by_value.items())


def _at_most(result: ParityResult) -> str:
    """Return a power of ten that the largest difference stays below; rounding alone may make 1e-16 of nothing elsewhere."""
    if not result.tolerance:
        return f"{result.difference:g}"
    return f"{10.0 ** math.ceil(math.log10(max(result.difference, 5e-16))):.0e}"
