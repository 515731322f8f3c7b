"""The words of ``--experts``: who answers what, and where answers are kept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from .. import plugins
from ..errors import UnknownNameError, bad_value
from ..redaction import redact
from ..specs import name_of
from ._protocol import Capability

__all__ = ["ROLES", "ExpertsSpec"]

ROLES: dict[str, Capability] = {
    "detector": "detect",
    "segmenter": "segment",
    "pointer": "point",
    "upscaler": "upscale",
    "reader": "read",
}
"""The words of the command line, ``detector=…``, for each capability."""
DEFAULT = "embedded"
WORDS = (*ROLES, "cache", "cache_gb", "replay")
PART = re.compile(rf"(?:^|,)\s*(?=(?:{'|'.join(WORDS)})=)")
ADDRESS = re.compile(r"https?://")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsSpec:
    """Names of experts by role, and a folder for what they answer.

    Written as ``NAME,ROLE=NAME,…,cache=FOLDER``, where every name may have options. Whoever has no role of its own is
    answered by the name without one, ``embedded`` by default. An address ``http://host:port`` is a server of experts.
    """

    provider: str | None = None
    """Who answers what no role names; ``None`` is :data:`DEFAULT`."""
    roles: tuple[tuple[str, str], ...] = ()
    """Role and name, in the order given."""
    cache: str | None = None
    """Folder in which results are kept and looked up."""
    cache_gb: float | None = None
    """Most gigabytes that it may hold."""
    replay: str | None = None
    """Folder whose results alone are used; no expert is made."""

    @classmethod
    def parse(cls, text: str) -> ExpertsSpec:
        """Read a spec; the names are not looked up.

        Raises:
            BadValueError: A role is unknown or given twice, or a part is empty.

        Example:
            >>> ExpertsSpec.parse("detector=blobs:least_px=4,cache=runs/cache").roles
            (('detector', 'blobs:least_px=4'),)
        """
        first, *parts = PART.split(text.strip())
        provider = first.strip() or None
        if provider is not None and not ADDRESS.match(provider) and "=" in name_of(provider):
            raise bad_value("experts", text, expected=f"NAME, or WORD=… with a word of {', '.join(WORDS)}")
        given: dict[str, str] = {}
        for part in parts:
            word, _, value = part.partition("=")
            if word in given or not value.strip():
                raise bad_value("experts", part, expected=f"{word}=… once, with a value")
            given[word] = value.strip()
        cache, replay = given.pop("cache", None), given.pop("replay", None)
        if cache is not None and replay is not None:
            raise bad_value("experts", text, expected="cache=FOLDER or replay=FOLDER, not both")
        return cls(
            provider=provider, cache=cache, cache_gb=_gigabytes(given.pop("cache_gb", None)), replay=replay,
            roles=tuple(given.items()),
        )  # fmt: skip

    @property
    def specs(self) -> tuple[str, ...]:
        """Every name with its options, once, as plugins are made from; the one without a role first."""
        return tuple(dict.fromkeys(map(_addressed, (self.provider or DEFAULT, *(spec for _, spec in self.roles)))))

    def by_capability(self) -> dict[Capability, str]:
        """Return the names with options of the roles given."""
        return {ROLES[role]: _addressed(spec) for role, spec in self.roles}

    def map(self, change: Callable[[str], str]) -> ExpertsSpec:
        """Return a spec with every name changed; :data:`DEFAULT` where none is given too, if that changes."""
        provider = self.provider or DEFAULT
        changed = change(_addressed(provider))
        keep = self.provider is None and changed == provider
        return replace(
            self, provider=None if keep else changed, roles=tuple((r, change(_addressed(s))) for r, s in self.roles)
        )

    def canonical(self) -> str:
        """Return what the answers depend on: names as they are registered, no folders, no secrets.

        A name that is not registered stays as it is, for a replay needs no expert.
        """
        found = self.map(_registered)
        parts = [found.provider] if found.provider else []
        parts += [f"{role}={spec}" for role, spec in found.roles]
        return redact(",".join(parts) or DEFAULT)

    def __str__(self) -> str:
        parts = [self.provider] if self.provider else []
        parts += [f"{role}={spec}" for role, spec in self.roles]
        folders = {"cache": self.cache, "cache_gb": self.cache_gb, "replay": self.replay}
        return ",".join(parts + [f"{word}={value}" for word, value in folders.items() if value is not None]) or DEFAULT


def _addressed(spec: str) -> str:
    return f"remote:url={spec}" if ADDRESS.match(spec) else spec


def _registered(spec: str) -> str:
    name, colon, options = spec.partition(":")
    with contextlib.suppress(UnknownNameError):
        name = plugins.find("experts", name.strip()).name
    return name + colon + options


def _gigabytes(text: str | None) -> float | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value < 1e9:
            return value
    raise bad_value("cache_gb", text, expected="a number of gigabytes above 0")
