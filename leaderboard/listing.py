"""What is installed: every plugin by group, the broken ones with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from visenv import plugins
from visenv.errors import PluginError, VisenvError, say, short
from visenv.redaction import redact
from visenv.task import profiles_of
from visenv.tools import Toolset

__all__ = ["Catalogue", "catalogue"]


@dataclass(kw_only=True)
class Catalogue:
    """The content of ``visenv list``."""

    envs: list[str] = field(default_factory=list)
    """Gymnasium ids."""
    tasks: list[str] = field(default_factory=list)
    splits: dict[str, list[str]] = field(default_factory=dict)
    """By task."""
    levels: dict[str, list[int]] = field(default_factory=dict)
    """By task."""
    options: dict[str, list[str]] = field(default_factory=dict)
    """By task: what ``NAME:key=value`` can set."""
    toolsets: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    experts: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    broken: list[dict[str, str]] = field(default_factory=list)
    """Group, name and reason of each plugin that cannot be used."""
    about: dict[str, str] = field(default_factory=dict)
    """One line about each, by ``group/name``; for people."""


def catalogue() -> Catalogue:
    """Import every plugin and say what is there. Never fails: what cannot be imported is listed as broken."""
    found = Catalogue()
    profiles: dict[str, str] = {}
    for group in plugins.GROUPS:
        try:
            members = plugins.plugins(group)
        except VisenvError as error:  # two packages with one name
            found.broken.append({"group": group, "name": "", "reason": str(error)})
            continue
        for name, plugin in members.items():
            try:
                thing = plugin.load()
                if group == "tasks":
                    _add_task(found, profiles, plugin, thing)
                if group == "toolsets" and not isinstance(thing, Toolset):
                    raise PluginError(f"The toolsets plugin {name!r} is {short(thing)}, not a Toolset.")
            except Exception as error:  # somebody else's module or class: whatever is wrong with it is only listed
                reason = str(error) if isinstance(error, VisenvError) else say(error)
                found.broken.append({"group": group, "name": name, "reason": redact(reason)})
                continue
            getattr(found, group).append(name)
            found.about[f"{group}/{name}"] = _first_line(thing)
    try:
        from visenv.tasks.profiles import PROFILES

        profiles |= {name: profile.source for name, profile in PROFILES.items()}
    except ImportError as error:
        found.broken.append({"group": "profiles", "name": "", "reason": f"{type(error).__name__}: {error}"})
    found.profiles = sorted(profiles)
    found.about |= {f"profiles/{name}": _short_line(source) for name, source in profiles.items()}
    return found


def _add_task(found: Catalogue, profiles: dict[str, str], plugin: plugins.Plugin, task: Any) -> None:
    splits, levels, known = list(task.splits), list(task.levels), profiles_of(task)
    found.options[plugin.name] = plugins.option_names("tasks", task)
    found.envs.append(f"visenv/{plugin.name}-v{plugin.version}")
    found.splits[plugin.name] = splits
    found.levels[plugin.name] = levels
    profiles |= {profile.name: profile.source for profile in known}


def _first_line(thing: Any) -> str:
    if isinstance(thing, Toolset):
        return _short_line(", ".join(thing.names))
    return _short_line(str(getattr(thing, "__doc__", None) or ""))


def _short_line(text: str) -> str:
    line = text.strip().split("\n", 1)[0].strip()
    return line if len(line) <= 110 else line[:109].rstrip() + "…"
