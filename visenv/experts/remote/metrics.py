"""What a server counts, in the text form that Prometheus reads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["Metrics", "resident_bytes"]

Labels = tuple[tuple[str, str], ...]

HELP = {
    "visenv_calls_total": "Calls by HTTP status.",
    "visenv_calls_in_flight": "Calls that are being read or answered.",
    "visenv_call_seconds_total": "Seconds spent on calls, from the first byte of the body on.",
    "visenv_requests_total": "Requests of calls by capability and outcome.",
    "visenv_pictures_received_total": "Pictures that came with calls.",
    "visenv_pictures": "Pictures kept.",
    "visenv_picture_bytes": "Bytes of the pictures kept.",
    "visenv_call_bytes": "Bytes of pixels that calls in flight name and ask for.",
    "visenv_batches_total": "Times an expert was given work.",
    "visenv_requests_shared_total": "Requests equal to one that was waiting or running.",
    "visenv_requests_refused_total": "Requests refused because the queue was full.",
    "visenv_requests_overdue_total": "Requests whose caller stopped waiting.",
    "visenv_requests_queued": "Requests waiting for an expert.",
    "process_resident_memory_bytes": "Resident memory of the process.",
}
"""Every number there is, and what it says."""


class Metrics:
    """Counters. Thread-safe."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter, one of :data:`HELP`."""
        with self._lock:
            key = name, tuple(sorted(labels.items()))
            self._values[key] = self._values.get(key, 0) + amount

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Count one more while the body of the ``with`` runs."""
        self.add(name)
        try:
            yield
        finally:
            self.add(name, -1)

    def to_text(self, more: Iterable[tuple[str, Mapping[str, str], float]] = ()) -> str:
        """Return all numbers as text.

        Args:
            more: Name, labels and value of what is not counted here but known elsewhere.
        """
        with self._lock:
            values = [(name, labels, value) for (name, labels), value in self._values.items()]
        values += [(name, tuple(sorted(labels.items())), value) for name, labels, value in more]
        lines: list[str] = []
        for name, about in HELP.items():
            found = [f"{name}{_labels(labels)} {value:.17g}" for n, labels, value in sorted(values) if n == name]
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *found] if found else []
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Return the resident memory of this process, 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escape = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return "{" + ",".join(f'{key}="{value.translate(escape)}"' for key, value in labels) + "}"
