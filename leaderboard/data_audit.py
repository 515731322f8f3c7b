"""Every entry of a benchmark's data looked at: what is missing, cannot be read, or does not fit its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from visenv.tasks.benchmark import Benchmark, Finding

from visenv.errors import MissingDataError, MissingExtraError, VisenvError, say, stops_the_process

from .data_status import folder_of

__all__ = ["KEPT", "Audit", "SplitAudit", "audit_data"]

KEPT = 10_000
"""Findings that are kept; all of them are counted."""


@dataclass(kw_only=True, slots=True)
class SplitAudit:
    """How far one split was looked at."""

    official: int | None
    """``None`` where no official number is known."""
    samples: int | None = None
    """On this disk; ``None`` where the annotations cannot be read."""
    audited: int = 0


@dataclass(kw_only=True, slots=True)
class Audit:
    """What was found."""

    task: str
    folder: str | None
    """Where its data is looked for."""
    splits: dict[str, SplitAudit] = field(default_factory=dict)
    by_kind: Counter[str] = field(default_factory=Counter)
    """Number of findings of each kind."""
    findings: list[Finding] = field(default_factory=list)
    """The first :data:`KEPT` of them."""
    complete: bool = False
    """Whether it came to its end; not if it was interrupted."""

    @property
    def num_findings(self) -> int:
        """How many findings there are."""
        return self.by_kind.total()

    @property
    def num_audited(self) -> int:
        """How many entries were looked at."""
        return sum(split.audited for split in self.splits.values())

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if there is room."""
        self.by_kind[finding.kind] += 1
        if len(self.findings) < KEPT:
            self.findings.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Count findings, and keep them as long as there is room."""
        for finding in findings:
            self.add(finding)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {
            "task": self.task, "folder": self.folder, "complete": self.complete,
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "num_findings": self.num_findings, "by_kind": dict(self.by_kind),
            "findings": [asdict(finding) for finding in self.findings],
        }  # fmt: skip


def audit_data(
    benchmark: Benchmark[Any],
    splits: Sequence[str],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Audit:
    """Audit splits of a benchmark, every entry of them.

    Args:
        benchmark: Whose data.
        splits: Of the benchmark.
        progress: Told how many entries are done, of how many.

    Returns:
        What was found; after Ctrl-C, what was found until then.

    Raises:
        MissingDataError: None of the splits is there.
        MissingExtraError: It takes an extra to read them.
    """
    audit = Audit(task=benchmark.name, folder=folder_of(benchmark))
    audit.splits = {split: SplitAudit(official=benchmark.sizes.get(split)) for split in splits}
    try:
        _read(benchmark, audit)
        total = sum(split.samples or 0 for split in audit.splits.values())
        done = 0
        for name, split in audit.splits.items():
            for index in range(split.samples or 0):
                audit.extend(_entry_findings(benchmark, name, index))
                split.audited += 1
                done += 1
                progress(done, total)
            if split.samples is not None:
                audit.extend(_split_findings(benchmark, name))
    except KeyboardInterrupt:
        return audit
    audit.complete = True
    return audit


def _read(benchmark: Benchmark[Any], audit: Audit) -> None:
    """Read the annotations of every split and compare their numbers with the official ones."""
    missing: list[MissingDataError] = []
    for name, split in audit.splits.items():
        where = f"{benchmark.name}/{name}"
        try:
            split.samples = len(benchmark.entries(name))
        except MissingExtraError:
            raise
        except BaseException as error:  # the boundary to files of others
            if stops_the_process(error):
                raise
            if isinstance(error, MissingDataError):
                missing.append(error)
            audit.add(_finding(name, where, error))
            continue
        if split.official not in (None, split.samples):
            what = f"{split.samples:,} samples on disk, officially {split.official:,}"
            audit.add(Finding(split=name, where=where, kind="size", what=what))
    if missing and len(missing) == len(audit.splits):
        raise missing[0]


def _entry_findings(benchmark: Benchmark[Any], split: str, index: int) -> Iterator[Finding]:
    try:
        yield from benchmark.audit_entry(split, index, benchmark.entries(split)[index])
    except BaseException as error:  # the boundary to files of others, and to outside benchmarks
        if stops_the_process(error):
            raise
        yield _finding(split, f"{benchmark.name}/{split}/1/{index}", error)


def _split_findings(benchmark: Benchmark[Any], split: str) -> Iterator[Finding]:
    try:
        yield from benchmark.audit_split(split)
    except BaseException as error:  # the boundary to files of others, and to outside benchmarks
        if stops_the_process(error):
            raise
        yield _finding(split, f"{benchmark.name}/{split}", error)


def _finding(split: str, where: str, error: BaseException) -> Finding:
    kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    own = str(error) if isinstance(error, VisenvError) else say(error)
    what = error.brief if isinstance(error, MissingDataError) else own
    return Finding(split=split, where=where, kind=kind, what=what)
