"""Finding tasks, agents, toolsets, experts and commands by entry point, ours and other people's alike."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import PluginError, bad_value, say, short, stops_the_process, unknown_name
from .specs import parse_spec

__all__ = ["GROUPS", "Plugin", "build", "check", "find", "load", "names", "plugins"]

GROUPS = ("agents", "commands", "experts", "tasks", "toolsets")
CALLED = ("agents", "commands", "experts", "tasks")
"""Groups whose objects are called: classes and functions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One entry of a group, not imported until :meth:`load`."""

    group: str
    name: str
    version: int
    """From the entry-point name ``NAME-vN``; 0 when it has none."""
    entry_point: EntryPoint
    clash: str | None = None
    """The object of another package under the same name and version, which makes the name unusable."""

    def load(self) -> Any:
        """Import the object.

        Raises:
            PluginError: It cannot be imported, or two packages provide it; the message says which.
        """
        if self.clash is not None:
            raise PluginError(
                f"Two packages provide the {self.group} plugin {self.name!r}: {self.entry_point.value} and {self.clash}. "
                "Expected one. Uninstall one of the packages."
            )
        try:
            loaded = self.entry_point.load()
        except BaseException as error:  # somebody else's module runs here: whatever it raises is its breakage
            if stops_the_process(error):
                raise
            raise self._broken(f"cannot be imported: {say(error)}") from error
        if self.group in CALLED and not callable(loaded):
            raise self._broken(f"is {short(loaded)}, which cannot be called")
        return loaded

    def _broken(self, why: str) -> PluginError:
        return PluginError(
            f"The {self.group} plugin {self.name!r} ({self.entry_point.value}) {why}. Reinstall or remove the package that "
            "provides it."
        )


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return the installed plugins of a group by name, sorted; of one package's several versions the highest.

    Names that differ in case only are one name, and two packages that provide it clash: nobody takes over a name unseen.
    """
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=f"visenv.{group}"), key=lambda e: (e.name, e.value)):
        name, version = _split_version(entry.name)
        other = found.get(name.lower())
        if other is None:
            found[name.lower()] = Plugin(group=group, name=name, version=version, entry_point=entry)
            continue
        if entry.value == other.entry_point.value and version == other.version:
            continue  # one package found twice, as in a checkout that is installed too
        if _package(entry) != _package(other.entry_point) or version == other.version:
            shipped = _package(entry) == "visenv"  # the name is shown as we spell it
            found[name.lower()] = replace(other, name=name if shipped else other.name, clash=entry.value)
        elif version > other.version:
            found[name.lower()] = Plugin(group=group, name=name, version=version, entry_point=entry, clash=other.clash)
    return {plugin.name: plugin for plugin in sorted(found.values(), key=lambda p: p.name)}


def _split_version(name: str) -> tuple[str, int]:
    base, dash, number = name.rpartition("-v")
    return (base, int(number)) if dash and number.isascii() and number.isdigit() and len(number) < 10 else (name, 0)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else ""


def names(group: str) -> list[str]:
    """Return the names in a group, sorted."""
    return list(plugins(group))


def find(group: str, name: str) -> Plugin:
    """Return a plugin by name; case does not matter.

    Raises:
        UnknownNameError: There is none of that name.
    """
    by_lower = {n.lower(): p for n, p in plugins(group).items()}
    try:
        return by_lower[name.lower()]
    except KeyError:
        raise unknown_name(group.rstrip("s"), name, plugins(group), remedy="List them with `visenv list`.") from None


def load(group: str, name: str) -> Any:
    """Import and return a plugin's object by name."""
    return find(group, name).load()


def build(group: str, spec: str) -> Any:
    """Make a plugin's object from its name with options, ``NAME:key=value,…``.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or needs one that is not given.
    """
    make, options = check(group, spec)
    try:
        return make(**options)
    except SystemExit as error:
        raise PluginError(f"The {group.rstrip('s')} {spec!r} cannot be made: {say(error)}.") from error


def check(group: str, spec: str) -> tuple[Any, dict[str, Any]]:
    """Return what makes a plugin's object and the options to make it with, and make nothing.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or needs one that is not given.
    """
    name, options = parse_spec(spec)
    make = load(group, name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters) or "none"
        raise bad_value(group.rstrip("s"), name, expected=f"options that it has ({known}); {error}") from None
    return make, options
