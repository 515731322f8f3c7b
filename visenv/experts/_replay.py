"""Experts that are not there: what they answered lies in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ExpertError, bad_value
from ._protocol import Capability, Expert, Request, Result
from .store import ResultStore

__all__ = ["RecordedExpert", "recorded_experts"]


class RecordedExpert(Expert):
    """Stands for an expert of an earlier run; to ask it is an error, for what it answered is found before anybody asks."""

    mixed_sizes = True
    version = "recorded"

    def __init__(self, capability: Capability, identity: str, *, folder: str) -> None:
        self.name = identity.partition("@")[0]
        self.capabilities = frozenset({capability})
        self._identity = identity
        self._folder = folder

    @property
    def identity(self) -> str:
        """That of the expert it stands for."""
        return self._identity

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Say that the answer is not there."""
        request = requests[0]
        width, height = request.image.size_wh
        raise ExpertError(
            f"No answer of {self.identity} to this {request.capability} request about an image of {width} x {height} px is in the "
            f"folder that is replayed, {self._folder!r}. Expected the run that filled it. Play it again with cache= in place of "
            "replay=."
        )


def recorded_experts(store: ResultStore, spec: str) -> dict[Capability, Expert]:
    """Return stand-ins for the experts that a folder has noted for a spec.

    Args:
        store: The folder.
        spec: As :meth:`ExpertsSpec.canonical` writes it.

    Raises:
        BadValueError: It has noted none.
    """
    found = store.experts_of(spec)
    if found is None:
        has = "; ".join(store.noted()) or "none"
        raise bad_value(
            "experts", spec, expected=f"experts whose answers are in {str(store.folder)!r}: {has}",
            remedy="Name them as in the run that filled the folder.",
        )  # fmt: skip
    return {c: RecordedExpert(c, i, folder=str(store.folder)) for c, i in sorted(found.items())}  # type: ignore[arg-type,misc]
