"""The folder of a site: what is ours in it, and files that are there in full or not at all.

Everything but ``index.html`` is named by a hash and never changes, so a site stays whole while the next one is built
beside it; the new ``index.html`` is put in place last.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from visenv.errors import bad_value

from .shards import NAME

__all__ = ["FORMAT", "SiteFolder"]

FORMAT = 2
"""Of the site's data. Raised when the data's form changes, so that nothing older is taken over."""
MARKER = "visenv-site.json"
OURS = re.compile(rf"data/{NAME}\.js|images/{NAME}\.jpg|page-{NAME}/[a-z]+\.(js|css)")
PARTIAL = re.compile(r"\.(.+)\.\d+\.part")
REMEDY = "Give another place with --out; nothing was changed."


class SiteFolder:
    """A folder that holds a site and nothing else."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._kept: set[str] = set()

    @classmethod
    def open(cls, out: Path) -> SiteFolder:
        """Make the folder, or take one that holds an earlier site or nothing.

        Raises:
            BadValueError: It is a file, or holds what is not ours.
        """
        expected = "a new or empty folder, or one that `visenv report` made"
        try:
            present = [p.name for p in out.iterdir()]
        except FileNotFoundError:
            present = []
        except NotADirectoryError:
            raise bad_value("out", str(out), expected=f"{expected}; it is a file", remedy=REMEDY) from None
        if present and MARKER not in present:
            raise bad_value("out", str(out), expected=f"{expected}; it holds other files", remedy=REMEDY)
        out.mkdir(parents=True, exist_ok=True)
        folder = cls(out)
        folder.put(MARKER, f'{{"made_by": "visenv report", "format": {FORMAT}}}\n'.encode("ascii"), always=True)
        return folder

    def has(self, name: str) -> bool:
        """Whether a file is there, used or not."""
        path = self.out / name
        return path.is_file() and path.stat().st_size > 0

    def keep(self, name: str) -> Path | None:
        """Say that the site uses a file; return its path if it is there."""
        self._kept.add(name)
        path = self.out / name
        return path if path.is_file() and path.stat().st_size else None

    def put(self, name: str, content: bytes, *, always: bool = False, keep: bool = True) -> None:
        """Write a file of the site in one step; one of that name and length is left as it is unless ``always``.

        Without ``keep`` it goes at the end, unless something uses it by then.
        """
        present = self.keep(name) if keep else None
        if present and not always and present.stat().st_size == len(content):
            return
        path = self.out / name
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        partial.write_bytes(content)
        partial.replace(path)

    def sweep(self) -> None:
        """Remove files of an earlier site that this one does not use; what is not named as ours is left alone."""
        for path in sorted(self.out.glob("*/*")):
            name = path.relative_to(self.out).as_posix()
            whole = PARTIAL.sub(r"\1", name)
            if path.is_file() and OURS.fullmatch(whole) and name not in self._kept:
                path.unlink()
        for folder in self.out.glob("page-*"):
            with contextlib.suppress(OSError):  # not empty: in use
                folder.rmdir()
