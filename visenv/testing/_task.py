"""Checking a task: its attributes, its samples and targets, its profile, its environment."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from .. import plugins
from ..answers import AnswerKind
from ..env import STREAM, make_task
from ..errors import BadValueError, UnknownNameError, short
from ..experts import ExpertSet
from ..specs import name_of
from ..task import Sample, Task, profiles_of
from ._profile import check_profile
from ._stand_ins import FindingExpert, stand_in_experts
from ._subject import Subject, check_given
from ._target import check_sample

__all__ = ["check_task", "digests"]

Place = tuple[str, int, int]
"""Split, level, index."""


def check_task(
    task: str | Task | Callable[[], Task],
    *,
    split: str | None = None,
    level: int | None = None,
    num_samples: int = 3,
    experts: str | ExpertSet | None = None,
    processes: bool = True,
) -> None:
    """Check that a task keeps the promises of :class:`visenv.Task` and :class:`visenv.Profile`.

    Args:
        task: A registered name, with options where it takes them (``COCO:mode=count``), a task, or what makes one. With a
            name its environment is checked as well.
        split: The split to draw samples from; all by default.
        level: The level to draw samples from; all by default.
        num_samples: Samples to draw from each split and level, evenly spread over it.
        experts: Who stands behind the tools of the environment; stand-ins by default.
        processes: Whether to compare with samples drawn in another process; with a name only.

    Raises:
        ConformanceError: A promise is broken.
        UnknownNameError: No such task, split or level.
        BadValueError: The task has no such option.
        PluginError: The task cannot be imported.
    """
    plugin = plugins.find("tasks", name_of(task)) if isinstance(task, str) else None
    check_given(num_samples=num_samples)
    made, make = _resolve(task)
    subject = Subject(f"Task {task if isinstance(task, str) else getattr(made, 'name', made)!r}")
    if make is not None:
        with subject.running("making it", remedy="Read data in `sample`, not in `__init__`."):
            made = make()
    _check_attributes(subject, made, plugin.name if plugin else None)
    places = _places(subject, made, split, level, num_samples)
    _check_refusals(subject, made)
    samples = _check_samples(subject, made, make, places)
    check_profile(subject, made.profile, samples)
    with subject.running("`also`", remedy="Give a tuple of profiles, or leave it out."):
        beside = profiles_of(made)[1:]
    for profile in beside:
        check_profile(subject.at(f"profile {profile.name!r}"), profile, samples, ranks=False)
    if plugin is not None:
        if processes:
            _check_other_process(subject, str(task), samples)
        _check_env(subject, plugin, str(task), split or made.splits[0], level, experts)


def _resolve(task: Any) -> tuple[Any, Callable[[], Any] | None]:
    """Return the task, and what makes another one (then the first is still to be made)."""
    if isinstance(task, str):
        make, options = plugins.check("tasks", task)
        return make, functools.partial(make, **options)
    if isinstance(task, type) or not hasattr(task, "sample"):
        return task, task
    return task, None


ATTRIBUTES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("name", "text of letters, digits, - and _", lambda v: isinstance(v, str) and v.replace("-", "").replace("_", "").isalnum()),
    ("version", "text that is not empty", lambda v: isinstance(v, str) and bool(v.strip())),
    ("kind", "a visenv.AnswerKind", lambda v: isinstance(v, AnswerKind)),
    ("max_turns", "an integer of at least 1", lambda v: type(v) is int and v >= 1),
    (
        "splits", "a tuple of different names",
        lambda v: isinstance(v, tuple) and bool(v) and all(isinstance(s, str) and s for s in v) and len(set(v)) == len(v),
    ),
    (
        "levels", "a tuple of different integers of at least 1, (1,) if there are no levels",
        lambda v: isinstance(v, tuple) and bool(v) and all(type(n) is int and n >= 1 for n in v) and len(set(v)) == len(v),
    ),
    ("num_samples", "a method", callable),
    ("sample", "a method", callable),
    ("profile", "a visenv.Profile", lambda v: v is not None),
)  # fmt: skip
"""Attribute, what it must be, and the test of that."""


def _check_attributes(subject: Subject, task: Any, registered: str | None) -> None:
    for name, expected, fits in ATTRIBUTES:
        subject.need(
            hasattr(task, name),
            f"it has no `{name}`",
            expected=f"{expected}",
            remedy="See visenv.Task for what a task has.",
        )
        value = getattr(task, name)
        subject.need(
            fits(value), f"`{name}` is {short(value)}", expected=expected, remedy="Change the class attribute."
        )
    subject.need(
        registered in (None, task.name), f"`name` is {task.name!r}", expected=f"its registered name, {registered!r}",
        remedy="Rename the entry point, NAME-vN, or the task.",
    )  # fmt: skip


def _places(subject: Subject, task: Task, split: str | None, level: int | None, num_samples: int) -> list[Place]:
    places: list[Place] = []
    for one_split in task.splits if split is None else (split,):
        for one_level in task.levels if level is None else (level,):
            where = subject.at(f"split {one_split!r}, level {one_level}")
            with where.running(
                "`num_samples`", remedy="It must know its own splits and levels.", allowed=(UnknownNameError,)
            ):
                size = task.num_samples(one_split, one_level)
            where.need(
                size is None or (type(size) is int and size >= 0), f"`num_samples` gives {short(size)}",
                expected="an integer of at least 0, or None for no end", remedy="Wrap it in int(…).",
            )  # fmt: skip
            end = STREAM if size is None else size
            spread = np.linspace(0, end - 1, num_samples).astype(int) if num_samples > 1 else [0]
            places += [(one_split, one_level, index) for index in dict.fromkeys(map(int, spread)) if index < end]
    subject.need(
        places, "there is no sample in it", expected="at least one", remedy="Check where its data is read from."
    )
    return places


def _check_refusals(subject: Subject, task: Task) -> None:
    split, level = task.splits[0], task.levels[0]
    unknown_split, unknown_level = "no-such-split", max(task.levels) + 1000
    size = task.num_samples(split, level)
    calls: list[tuple[str, Callable[[], object], type[Exception]]] = [
        (f"num_samples({unknown_split!r}, {level})", lambda: task.num_samples(unknown_split, level), UnknownNameError),
        (f"num_samples({split!r}, {unknown_level})", lambda: task.num_samples(split, unknown_level), UnknownNameError),
        (f"sample({unknown_split!r}, {level}, 0)", lambda: task.sample(unknown_split, level, 0), UnknownNameError),
        (f"sample({split!r}, {unknown_level}, 0)", lambda: task.sample(split, unknown_level, 0), UnknownNameError),
        (f"sample({split!r}, {level}, -1)", lambda: task.sample(split, level, -1), BadValueError),
    ]
    if size is not None:
        calls.append((f"sample({split!r}, {level}, {size})", lambda: task.sample(split, level, size), BadValueError))
    for what, call, wanted in calls:
        maker = "unknown_name" if wanted is UnknownNameError else "bad_value"
        remedy = f"Raise `visenv.errors.{maker}(…)`."
        try:
            result = call()
        except wanted as error:
            subject.need(str(error).strip(), f"{what} raises without a message", expected="one", remedy=remedy)
        except Exception as error:  # the boundary to the task's code
            raise subject.fault(
                f"{what} raises {type(error).__name__}: {short(str(error))}", expected=wanted.__name__, remedy=remedy
            ) from error
        else:
            raise subject.fault(f"{what} gives {short(result)}", expected=wanted.__name__, remedy=remedy)


def _check_samples(
    subject: Subject, task: Task, make: Callable[[], Task] | None, places: Sequence[Place]
) -> list[Sample]:
    remedy = "A sample must depend on split, level and index only: seed from these, never from a shared generator."
    samples = [_draw(subject, task, place) for place in places]
    with subject.running("pickling or copying it", remedy="Keep open files and locks out of it: workers get copies."):
        copied = pickle.loads(pickle.dumps(copy.deepcopy(task)))
    others = [("of a second call", task, len(places)), ("of a copy", copied, 1)]
    if make is not None:
        others.append(("of a task made anew", make(), len(places)))
    for how, other, number in others:
        for place, sample in list(zip(places, samples, strict=True))[: -number - 1 : -1]:  # in another order
            different = _difference(digest(sample), digest(_draw(subject, other, place)))
            subject.at(f"sample {place}").need(
                different is None, f"its `{different}` is not that {how}", expected="equal samples for equal arguments",
                remedy=remedy,
            )  # fmt: skip
    seen: dict[str, Place] = {}
    for place, sample in zip(places, samples, strict=True):
        check_sample(subject.at(f"sample {place}"), task, sample, place)
        subject.need(
            sample.id not in seen, f"samples {seen.get(sample.id)} and {place} have one id, {sample.id!r}",
            expected="an id of its own for each", remedy="Name them `Task/split/level/index`.",
        )  # fmt: skip
        seen[sample.id] = place
    _check_variety(subject, task, places, samples)
    return samples


def _draw(subject: Subject, task: Task, place: Place) -> Sample:
    remedy = "Say in `num_samples` how many there are, and read or draw each."
    with subject.running(f"sample{place}", remedy=remedy):
        sample = task.sample(*place)
    subject.need(isinstance(sample, Sample), f"sample{place} is {short(sample)}", expected="a visenv.Sample", remedy="Return one.")  # fmt: skip
    return sample


def _check_variety(subject: Subject, task: Task, places: Sequence[Place], samples: Sequence[Sample]) -> None:
    """Samples that do not depend on the index, or splits and levels that hold the same: a forgotten argument."""
    groups: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for (split, level, index), sample in zip(places, samples, strict=True):
        content = digest(sample)
        groups.setdefault((split, level), []).append(
            (index, "".join(content[k] for k in ("instruction", "images", "target")))
        )
    seen: dict[tuple[int | None, tuple[tuple[int, str], ...]], tuple[str, int]] = {}
    for group, drawn in groups.items():
        if len(drawn) < 3:
            continue
        subject.at(f"split {group[0]!r}, level {group[1]}").need(
            len({content for _, content in drawn}) > 1, f"samples {[i for i, _ in drawn]} are all the same",
            expected="different ones", remedy="Use the index.",
        )  # fmt: skip
        key = task.num_samples(*group), tuple(drawn)
        subject.need(
            key not in seen, f"split and level {group} hold the samples of {seen.get(key)}", expected="others",
            remedy="Use the split and the level; a task without levels has `levels = (1,)`.",
        )  # fmt: skip
        seen[key] = group


def digest(sample: Sample) -> dict[str, str]:
    """Return what two equal samples have in common, field by field, as text."""
    return {
        "id": str(sample.id),
        "instruction": str(sample.instruction),
        "cluster": str(sample.cluster),
        "images": " ".join(i.hash if hasattr(i, "hash") else short(i) for i in sample.images),
        "target": str(getattr(sample.target, "fingerprint", sample.target)),
    }


def digests(spec: str, places: Sequence[Sequence[Any]]) -> list[dict[str, str]]:
    """Return the digests of a registered task's samples; run in another process by :func:`check_task`."""
    task = make_task(spec)
    return [digest(task.sample(*place)) for place in places]


def _difference(first: Mapping[str, str], second: Mapping[str, str]) -> str | None:
    return next((key for key, value in first.items() if second[key] != value), None)


def _check_other_process(subject: Subject, spec: str, samples: Sequence[Sample]) -> None:
    places = [(s.split, s.level, s.index) for s in samples]
    code = f"import json, sys; from {__name__} import digests; print(json.dumps(digests(*json.load(sys.stdin))))"
    env = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([spec, places]),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    subject.need(
        done.returncode == 0, f"drawing its samples in another process failed: {done.stderr.strip()[-300:]}",
        expected="the same samples as here", remedy="Make it importable by its entry point alone.",
    )  # fmt: skip
    for sample, other in zip(samples, json.loads(done.stdout.splitlines()[-1]), strict=True):
        different = _difference(digest(sample), other)
        subject.at(f"sample {sample.id!r}").need(
            different is None, f"its `{different}` is another one in another process", expected="equal samples in any process",
            remedy="Look for `hash(…)` of text, the order of a set, the time, or a listing of files that is not sorted.",
        )  # fmt: skip


def _check_env(
    subject: Subject, plugin: plugins.Plugin, spec: str, split: str, level: int | None, experts: str | ExpertSet | None
) -> None:
    from gymnasium.utils.env_checker import check_env

    env_id = f"visenv/{plugin.name}-v{plugin.version}"
    where = subject.at(f"environment {env_id!r}")
    where.need(
        env_id in gym.registry, "it is not registered with Gymnasium", expected="an entry of the group visenv.tasks",
        remedy="Install the package before visenv is imported, or call visenv.register_envs().",
    )  # fmt: skip
    chosen = stand_in_experts(FindingExpert()) if experts is None else experts
    with (
        warnings.catch_warnings(),
        where.running("Gymnasium's check_env", remedy="Play one episode by hand with `visenv play`."),
    ):
        warnings.simplefilter("ignore")  # what Gymnasium remarks on is visenv's own spaces, not the task
        env = gym.make(env_id, task=spec, split=split, level=level, experts=chosen, render_mode="rgb_array")
        check_env(cast(Any, env.unwrapped))
        env.close()
