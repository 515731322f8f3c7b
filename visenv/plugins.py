"""Finding tasks, agents, toolsets, experts and commands by entry point, ours and other people's alike."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import PluginError, bad_value, unknown_name
from .specs import parse_spec

__all__ = ["GROUPS", "Plugin", "build", "find", "load", "names", "plugins"]

GROUPS = ("agents", "commands", "experts", "tasks", "toolsets")


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
            return self.entry_point.load()
        except Exception as error:  # somebody else's module runs here: whatever it raises is its breakage
            raise PluginError(
                f"The {self.group} plugin {self.name!r} ({self.entry_point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}. Reinstall or remove the package that provides it."
            ) from error


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return the installed plugins of a group by name, sorted; of several versions the highest."""
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=f"visenv.{group}"), key=lambda e: (e.name, e.value)):
        base, dash, number = entry.name.rpartition("-v")
        name, version = (base, int(number)) if dash and number.isdigit() else (entry.name, 0)
        other = found.get(name)
        if other is not None and other.version >= version:
            if other.version == version and other.entry_point.value != entry.value:
                found[name] = replace(other, clash=entry.value)
            continue
        found[name] = Plugin(group=group, name=name, version=version, entry_point=entry)
    return dict(sorted(found.items()))


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
    name, options = parse_spec(spec)
    make = load(group, name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters) or "none"
        raise bad_value(group.rstrip("s"), name, expected=f"options that it has ({known}); {error}") from None
    return make(**options)
