"""Finding tasks, agents, toolsets, experts and commands by entry point, ours and other people's alike."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import PluginError, bad_value, say, short, stops_the_process, unknown_name
from .specs import name_of, read_value, split_options, write_spec

__all__ = [
    "GROUPS",
    "Plugin",
    "build",
    "canonical",
    "check",
    "find",
    "load",
    "names",
    "option_names",
    "plugins",
]

GROUPS = ("agents", "commands", "experts", "tasks", "toolsets")
CALLED = ("agents", "commands", "experts", "tasks")
"""Groups whose objects are called: classes and functions."""
LOCAL = {"tasks": {"root": "Where data lies is a matter of this machine: set VISENV_DATA."}}
"""By group: parameters that no spec sets, because they do not belong to what is named; and what to do instead."""


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


def build(group: str, spec: str, /, **more: Any) -> Any:
    """Make a plugin's object from its name with options, ``NAME:key=value,…``.

    Args:
        group: One of :data:`GROUPS`.
        spec: Name with options.
        **more: Further arguments, of any type; also those that no spec may set.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or needs one that is not given.
    """
    make, options = check(group, spec, **more)
    try:
        return make(**options)
    except SystemExit as error:
        raise PluginError(f"The {group.rstrip('s')} {spec!r} cannot be made: {say(error)}.") from error


def check(group: str, spec: str, /, **more: Any) -> tuple[Any, dict[str, Any]]:
    """Return what makes a plugin's object and the arguments to make it with, and make nothing.

    Values are read as :func:`~visenv.specs.read_value` says, unless the option is declared to be text: then they are text,
    ``images=2017`` too.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or needs one that is not given.
    """
    name, texts = split_options(spec)
    make = load(group, name)
    parameters = inspect.signature(make).parameters
    options: dict[str, Any] = {}
    for key, text in texts.items():
        if key in LOCAL.get(group, {}):
            has = ", ".join(option_names(group, make)) or "none"
            raise bad_value("option", key, expected=f"one that {name!r} has ({has})", remedy=LOCAL[group][key])
        options[key] = _read(key, text, as_text=key in parameters and _takes_text(parameters[key]))
    try:
        inspect.signature(make).bind(**options, **more)
    except TypeError as error:
        has = ", ".join(option_names(group, make)) or "none"
        raise bad_value(group.rstrip("s"), name, expected=f"options that it has ({has}); {error}") from None
    return make, options | more


def option_names(group: str, make: Any) -> list[str]:
    """Return the options that a plugin's object, imported, can be given by name."""
    fixed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(make).parameters.values()
    return [p.name for p in parameters if p.kind not in fixed and p.name not in LOCAL.get(group, {})]


def canonical(group: str, spec: str) -> str:
    """Return a spec as all equal ones are written.

    The name is as registered, options are in the order of their names, and those that say what is the default anyway are
    left out.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option, or needs one that is not given.
    """
    make, options = check(group, spec)
    parameters = inspect.signature(make).parameters
    kept = {k: v for k, v in options.items() if k not in parameters or not _is_default(v, parameters[k])}
    return write_spec(find(group, name_of(spec)).name, kept)


def _read(key: str, text: str | None, *, as_text: bool) -> Any:
    if not as_text:
        return read_value(text)
    if text is None:
        raise bad_value("option", key, expected=f"a value, {key}=TEXT")
    return text


def _takes_text(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is declared to be text, and no number or truth value."""
    declared = parameter.annotation
    if not isinstance(declared, str):  # a class, or the union of some
        declared = declared.__name__ if isinstance(declared, type) else str(declared)
    kinds = {kind.strip() for kind in declared.split("|")}
    return "str" in kinds and not kinds & {"bool", "float", "int"}


def _is_default(value: Any, parameter: inspect.Parameter) -> bool:
    return type(value) is type(parameter.default) and bool(value == parameter.default)
