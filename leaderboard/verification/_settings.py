"""The settings of a run: what is wrong with them, and the rules that they name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from visenv import plugins
from visenv.answers import AnswerKind
from visenv.coordinates import THOUSANDTHS, Coordinates
from visenv.errors import BadValueError, UnknownNameError, short
from visenv.grammars import Grammar, make_grammar
from visenv.memory import MemoryPolicy, make_policy
from visenv.rewards import Reward, make_reward
from visenv.tools import Toolset
from visenv.vision import Vision, make_vision

from ..cast import COMPUTING, PRIVILEGED
from ..records import RunInfo
from ..safe_files import printable
from ._findings import Findings

__all__ = ["RunRules", "check_settings", "make_rules"]

T = TypeVar("T")

ANSWERING = ("full", "imagent", "none", "rsagent", "sam3agent", "visharness", "zoom")
"""Toolsets whose calls are made again. Those of other packages may look at what is not recorded."""
LEAST = {"limit": 1, "max_turns": 1, "seed": 0, "keep_images": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRules:
    """What holds for every record of a run. What nobody here can make is ``None``, and not checked."""

    privileged: dict[str, bool]
    """By agent."""
    grammars: dict[str, Grammar | None]
    """By agent."""
    visions: dict[str, Vision | None]
    """By agent."""
    policy: MemoryPolicy | None
    reward: Reward | None
    toolset: Toolset | None
    """``None`` where calls and answers cannot be followed: another package's tools, or a name that is none."""

    def coordinates(self, agent: str) -> Coordinates:
        """Return how places are written in what an agent is told; the form of calls where nobody can tell."""
        grammar, vision = self.grammars[agent], self.visions[agent]
        return THOUSANDTHS if grammar is None or vision is None else grammar.coordinates.seen_by(vision)

    def prompt_hash(self, agent: str, kind: AnswerKind) -> str | None:
        """Return the hash of what an agent's model is told about its tools; ``None`` where nobody can tell."""
        grammar = self.grammars[agent]
        if grammar is None or self.toolset is None:
            return None
        return grammar.prompt_hash(self.toolset.for_answers(kind))


def make_rules(info: RunInfo, found: Findings) -> RunRules:
    """Make the rules that the settings name; a name that is none is a problem."""
    return RunRules(
        privileged={a.name: a.privileged for a in info.agents},
        grammars={a.name: _made("grammar", make_grammar, a.grammar, found) for a in info.agents},
        visions={a.name: _made("vision", make_vision, a.vision, found) for a in info.agents},
        policy=_made("memory", make_policy, info.memory, found),
        reward=_made("reward", make_reward, info.reward, found),
        toolset=_toolset(info, found),
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


def _toolset(info: RunInfo, found: Findings) -> Toolset | None:
    """Return a toolset of ours, without the tools that no expert of the run is for.

    Of another package's a note says that it is not followed, of a name that is none a problem.
    """
    name = info.toolset
    known = {n.lower(): n for n in plugins.names("toolsets")}.get(name.lower())
    if known in ANSWERING:
        made: Toolset = plugins.load("toolsets", known)
        return made.for_capabilities(frozenset(info.expert_identities))
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
