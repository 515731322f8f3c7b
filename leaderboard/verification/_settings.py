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
from ._findings import Findings, printable

__all__ = ["RunRules", "check_settings", "make_rules"]

T = TypeVar("T")

ANSWERING = ("full", "none", "visharness")
"""Toolsets whose final tools look at nothing but the objects in the table, so that the answer can be made again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRules:
    """What holds for every record of a run. What nobody here can make is ``None``, and not checked."""

    info: RunInfo
    privileged: dict[str, bool]
    """By agent."""
    policy: MemoryPolicy | None
    reward: Reward | None
    toolset: Toolset | None


def make_rules(info: RunInfo, found: Findings) -> RunRules:
    """Make the rules that the settings name; a name that is none is a problem."""
    return RunRules(
        info=info, privileged={a.name: a.privileged for a in info.agents},
        policy=_made("memory", make_policy, info.memory, found),
        reward=_made("reward", make_reward, info.reward, found),
        toolset=plugins.load("toolsets", info.toolset) if info.toolset in ANSWERING else None,
    )  # fmt: skip


def check_settings(info: RunInfo, found: Findings) -> None:
    """Check that names are there once and that who knew the truth is marked; note what a reader should know."""
    for what, names in (("agent", [a.name for a in info.agents]), ("task", [t.name for t in info.tasks])):
        for name in sorted({n for n in names if names.count(n) > 1}):
            found.add("settings", "run.json", f"{what} {short(name)} is there twice")
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


def _made(what: str, make: Callable[[str], T], spec: str, found: Findings) -> T | None:
    try:
        return make(spec)
    except (BadValueError, UnknownNameError) as error:
        found.add("settings", "run.json", f"{what}: {error}")
    return None
