"""The words of ``--experts``: who answers what, and where answers are kept."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from .. import plugins
from ..errors import VisenvError, bad_value
from ..redaction import redact
from ..specs import name_of, split_options, write_spec
from ._protocol import Capability

__all__ = ["ROLES", "ExpertsSpec"]

ROLES: dict[str, Capability] = {
    "detector": "detect",
    "segmenter": "segment",
    "pointer": "point",
    "upscaler": "upscale",
    "reader": "read",
    "describer": "describe",
}
"""The words of the command line, ``detector=…``, for each capability."""
DEFAULT = "embedded"
WORDS = (*ROLES, "cache", "cache_gb", "replay", "wait_s")
PART = re.compile(rf"(?:^|,)\s*(?=(?:{'|'.join(WORDS)})=)")
ADDRESS = re.compile(r"https?://")
SILENT: dict[str, tuple[str, ...]] = {
    "embedded": ("threads",),
    "hf": ("embeddings_mb",),
    "ocr": ("threads",),
    "remote": ("token_env", "start_s", "patience_s", "timeout_s", "batch", "parallel", "png"),
    "sam2": ("embeddings_mb",),
    "vlm": ("key_env", "timeout_s", "patience_s", "threads"),
}
"""Options of shipped experts that no answer depends on. An address does not belong here: it says who answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsSpec:
    """Names of experts by role, a folder for what they answer, and how long they are waited for.

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
    wait_s: float | None = None
    """Longest wait for a batch; ``None`` waits until it is answered."""

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
            provider=provider, cache=cache, cache_gb=_number("cache_gb", given.pop("cache_gb", None)), replay=replay,
            wait_s=_number("wait_s", given.pop("wait_s", None)), roles=tuple(given.items()),
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
        """Return who answers what, as all specs are written that say so: what no answer depends on is left out, secrets too.

        Names are as registered, roles and options in order; defaults, :data:`SILENT` options and roles that their provider has
        anyway are not said. A name that is not registered stays as it is, for a replay needs no expert. That equal words mean equal
        experts is not promised: their identities are recorded beside them.
        """
        provider = _plain(self.provider or DEFAULT)
        roles = [(role, _plain(spec)) for role, spec in sorted(self.roles)]
        parts = [f"{role}={spec}" for role, spec in roles if spec != provider]
        return redact(",".join(parts if parts and provider == DEFAULT else [provider, *parts]))

    def __str__(self) -> str:
        parts = [self.provider] if self.provider else []
        parts += [f"{role}={spec}" for role, spec in self.roles]
        more = {"cache": self.cache, "cache_gb": self.cache_gb, "replay": self.replay, "wait_s": self.wait_s}
        return ",".join(parts + [f"{word}={value}" for word, value in more.items() if value is not None]) or DEFAULT


def _addressed(spec: str) -> str:
    return f"remote:url={spec}" if ADDRESS.match(spec) else spec


def _plain(spec: str) -> str:
    spec = _addressed(spec)
    with contextlib.suppress(VisenvError):
        name, options = split_options(plugins.canonical("experts", spec))
        return write_spec(name, {k: text or "" for k, text in options.items() if k not in SILENT.get(name, ())})
    return spec


def _number(word: str, text: str | None) -> float | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value < 1e9:
            return value
    raise bad_value(word, text, expected="a number above 0")
