"""Folders of pictures with an annotation file each: which are samples, and what lies there without its partner.

The samples are the pictures, in the order of their names, so one file more or less would move the index of every later one. A split is
therefore refused where a file lacks its partner, unless the pictures are as many as they officially are: then only what is said of
the files alone is an error or a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visenv.errors import missing_data

from .benchmark import Finding

__all__ = ["Partners", "find_partners"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Partners:
    """What lies in the folders of a split."""

    pictures: tuple[Path, ...]
    """All of them, in order."""
    lost_notes: tuple[str, ...]
    """Folders and names of annotation files that are not there though their picture is."""
    lone_notes: tuple[str, ...]
    """Folders and names of annotation files whose picture is not there."""

    def check(self, task: str, split: str, *, official: int | None, looked: Path, published: str) -> None:
        """Refuse a split in which indices may have moved.

        Raises:
            MissingDataError: Files lack their partners, and the pictures are not as many as they should be; or files of both kinds do.
        """
        lost = *self.lost_notes, *self.lone_notes
        if not lost or (len(self.pictures) == official and not (self.lost_notes and self.lone_notes)):
            return
        kinds = (self.lost_notes, "annotation files missing"), (self.lone_notes, "annotation files without a picture")
        said = [f"{len(names)} {what}, first {names[0]!r}" for names, what in kinds if names]
        what = f"split {split!r} has {len(self.pictures)} pictures, {', and '.join(said)}: which sample is which is not sure"
        raise missing_data(task, what, looked=str(looked), published=published)

    def findings(self, split: str) -> Iterator[Finding]:
        """Find annotation files without a picture; a picture without one is its own sample's finding."""
        for name in self.lone_notes:
            yield Finding(split=split, where=name, kind="missing", what="no picture lies beside this annotation file")


def find_partners(
    places: Iterable[tuple[Path, Path]], *, pictures: Sequence[str], note_of: Callable[[str], str], key: Callable[[Path], str]
) -> Partners:  # fmt: skip
    """List the pictures of a split and the annotation files that belong to them; hidden files are none.

    Args:
        places: Folders of pictures, each with the folder of its annotation files; in order.
        pictures: Endings of picture files, in small letters.
        note_of: The name of a picture's annotation file, from the picture's.
        key: What the pictures of a folder are ordered by.
    """
    found: list[Path] = []
    lost: list[str] = []
    lone: list[str] = []
    for folder, notes in places:
        here = sorted((p for p in _seen(folder) if p.suffix.lower() in pictures), key=key)
        wanted = {note_of(p.name): p for p in here}
        ending = Path(note_of("a.jpg")).suffix
        there = {p.name for p in _seen(notes) if p.suffix == ending}
        found += here
        lost += [f"{notes.name}/{name}" for name in wanted if name not in there]
        lone += [f"{notes.name}/{name}" for name in sorted(there - set(wanted))]
    return Partners(pictures=tuple(found), lost_notes=tuple(lost), lone_notes=tuple(lone))


def _seen(folder: Path) -> Iterator[Path]:
    """Yield what a folder holds that is not hidden, such as the ``._a.jpg`` that macOS leaves on other file systems."""
    return (path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else iter(())
