"""The settings of a run: what is wrong with them, and the rules that they name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from visenv import plugins
from visenv.errors import BadValueError, UnknownNameError, short
from visenv.memory import MemoryPolicy, make_policy
from visenv.rewards import Reward, make_reward
from visenv.tools import Toolset

from ..cast import COMPUTING, PRIVILEGED
from ..records import RunInfo
from ..safe_files import printable
from ._findings import Findings

__all__ = ["RunRules", "check_settings", "make_rules"]

T = TypeVar("T")

ANSWERING = ("full", "none", "visharness")
"""Toolsets whose calls are made again. Those of other packages may look at what is not recorded."""
LEAST = {"limit": 1, "max_turns": 1, "seed": 0, "keep_images": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRules:
    """What holds for every record of a run. What nobody here can make is ``None``, and not checked."""

    privileged: dict[str, bool]
    """By agent."""
    policy: MemoryPolicy | None
    reward: Reward | None
    toolset: Toolset | None
    """``None`` where calls and answers cannot be followed: another package's tools, or a name that is none."""


def make_rules(info: RunInfo, found: Findings) -> RunRules:
    """Make the rules that the settings name; a name that is none is a problem."""
    return RunRules(
        privileged={a.name: a.privileged for a in info.agents},
        policy=_made("memory", make_policy, info.memory, found),
        reward=_made("reward", make_reward, info.reward, found),
        toolset=_toolset(info.toolset, found),
    )  # fmt: skip


def check_settings(info: RunInfo, found: Findings) -> None:
    """Check that who knew the truth is marked, and numbers; note what a reader should know."""
    for name, least in LEAST.items():
        value = getattr(info, name)
        if value is not None and value < least:
            found.add("settings", "run.json", f"{name} is {short(value)}; the least is {least}")
    if not info.agents or not info.tasks:
        found.add("settings", "run.json", "no agents or no tasks")
    for agent in info.agents:
        knows = agent.name.partition(":")[0].strip().lower() in PRIVILEGED
        if knows != agent.privileged:
            said = "knows the truth, but is not marked" if knows else "is marked as knowing the truth, but does not"
            found.add("settings", "run.json", f"agent {short(agent.name)} {said}")
    if info.samples is not None:
        found.note("The samples were chosen one by one, not drawn.")
    for name in ("visenv", *COMPUTING):
        if (then := info.versions.get(name)) != (now := importlib.metadata.version(name)):
            found.note(f"Made with {name} {printable(str(then))}, checked with {now}.")


def _toolset(name: str, found: Findings) -> Toolset | None:
    """Return a toolset of ours by its name; of another package's a note, of a name that is none a problem."""
    known = {n.lower(): n for n in plugins.names("toolsets")}.get(name.lower())
    if known in ANSWERING:
        made: Toolset = plugins.load("toolsets", known)
        return made
    if known is None:
        found.add("settings", "run.json", f"toolset {short(name)} is not installed: no call of the run can be followed")
    else:
        what = "answers were scored, but not derived from the calls"
        found.note(f"The toolset {printable(name)} is not of visenv itself: {what}.")
    return None


def _made(what: str, make: Callable[[str], T], spec: str, found: Findings) -> T | None:
    try:
        return make(spec)
    except (BadValueError, UnknownNameError) as error:
        found.add("settings", "run.json", f"{what}: {error}")
    return None
