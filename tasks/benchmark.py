"""What benchmarks with data of their own share: where the files lie, annotations read once, pictures read safely, an audit."""

from __future__ import annotations

import os
import threading
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from visenv.answers import AnswerKind
from visenv.errors import BadValueError, MissingDataError, bad_value, missing_data, unknown_name
from visenv.images import Image, load_image
from visenv.task import Profile, Sample

from .embedded import MAX_PICTURE_BYTES, MAX_SIDE_PX
from .orientation import check_upright
from .picture_memory import PictureMemory

__all__ = ["Benchmark", "Finding", "data_root", "inside", "plain_name", "whole_path"]

E = TypeVar("E")
MAX_NAME = 1_000
"""Longest name that data may give to a file, folders included, in characters."""
CACHE_BYTES = 256 * 2**20
"""What decoded pictures may hold in memory, for each benchmark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something wrong with the data on the disk."""

    split: str
    where: str
    """File, and record in it."""
    kind: str
    """``missing``, ``unreadable``, ``outside`` (of the picture), ``empty`` (mask or box), ``size`` (of the split) or
    ``form``."""
    what: str
    """In words."""


def data_root(given: str | Path | None = None) -> Path | None:
    """Return the folder that holds a folder for each benchmark.

    Args:
        given: Named by the caller; else the variable ``VISENV_DATA`` counts, else ``data = "…"`` in
            ``visenv/config.toml`` of the user's configuration folder (``XDG_CONFIG_HOME`` or ``~/.config``).

    Raises:
        BadValueError: The configuration file cannot be read, or names no folder.
    """
    if given is not None:
        return Path(given)
    if os.environ.get("VISENV_DATA"):
        return Path(os.environ["VISENV_DATA"]).expanduser()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "visenv" / "config.toml"
    try:
        said = tomllib.loads(config.read_text(encoding="utf-8")).get("data")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise bad_value("config", str(config), expected=f"a readable TOML file ({error})") from error
    if said is not None and not isinstance(said, str):
        raise bad_value("data", said, expected=f"a folder as text, in {config}")
    return Path(said).expanduser() if said else None


def plain_name(name: str) -> PurePosixPath:
    """Return a name that an annotation gives to a file, if it stays in whatever folder it is looked up in.

    Raises:
        BadValueError: It leads out of it, or no file system takes it.
    """
    parts = PurePosixPath(name)
    climbs = (
        parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name or ":" in name.split("/")[0][1:2]
    )
    too_long = len(name) > MAX_NAME or any(len(part.encode("utf-8", "replace")) > 255 for part in parts.parts)
    if not name or climbs or too_long:
        raise bad_value("file name", name, expected="a name inside the folder of the data set")
    if any("\ud800" <= c <= "\udfff" for c in name):  # half a character: no file system call takes it
        raise bad_value("file name", name, expected="a name that can be written as UTF-8")
    return parts


def whole_path(name: str) -> Path | None:
    """Return the path that an option names from ``/`` or ``~/`` on; ``None`` for a name inside the benchmark's folder."""
    path = Path(name).expanduser() if name.startswith("~/") else Path(name)
    return path if path.is_absolute() else None


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that an annotation or a folder's own list names.

    The folder may be a link, or lie behind one: where the data lie is the choice of whoever put them there. Below it no link may
    lead out, since an unpacked archive may hold any; those of the Hugging Face hub's cache to its own ``blobs`` may.

    Raises:
        BadValueError: The name, or a link that it meets, leads out of the folder.
    """
    path = folder / plain_name(name)
    home = Path(os.path.realpath(folder))
    snapshot = next((p for p in (home, *home.parents) if p.parent.name == "snapshots"), None)
    homes = [home] if snapshot is None else [home, snapshot.parents[1] / "blobs"]
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(one) for one in homes):
        remedy = "Put the file itself there, or make the whole folder a link."
        raise bad_value("file name", name, expected="a file inside the folder of the data set, no link out of it", remedy=remedy)  # fmt: skip
    return path


class Benchmark(ABC, Generic[E]):
    """A task whose samples are read from files in the layout in which their authors distribute them.

    Subclasses set the class attributes and write :meth:`read` (annotations to entries, once for each split) and :meth:`make`
    (an entry to a sample); :meth:`audit_entry` looks closer at one entry. Many episodes in flight share a task: all of it is
    thread-safe, where :meth:`make` is.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "0"
    kind: ClassVar[AnswerKind]
    max_turns: ClassVar[int] = 12
    levels: ClassVar[tuple[int, ...]] = (1,)
    splits: ClassVar[tuple[str, ...]]
    profile: ClassVar[Profile]
    also: ClassVar[tuple[Profile, ...]] = ()
    """Further profiles whose metrics are shown beside ``profile``'s; none of them makes the score of a sample."""
    folder: ClassVar[str]
    """Its folder under the data root."""
    published: ClassVar[str]
    """Where its authors publish it."""
    licence: ClassVar[str]
    """What may be done with the data, in a few words."""
    sizes: ClassVar[Mapping[str, int]]
    """Official number of samples by split, as far as it is known."""
    takes_turned: ClassVar[bool] = False
    """Whether a picture that its EXIF tag turns is taken: its annotations fit it upright, or :meth:`make` turns them with it. Else it
    is refused."""

    def __init__(self, root: str | Path | None = None) -> None:
        """Look for the data under ``root``, or where :func:`data_root` says; nothing is read before it is needed."""
        self._given = root
        self._entries: dict[str, Sequence[E]] = {}
        self._reading = threading.RLock()
        self._pictures = PictureMemory(CACHE_BYTES)

    @property
    def root(self) -> Path:
        """The benchmark's own folder.

        Raises:
            MissingDataError: No data root is known.
        """
        root = data_root(self._given)
        if root is None:
            raise missing_data(self.name, "no data folder is set", looked="$VISENV_DATA", published=self.published)
        return root / self.folder

    def need(self, name: str) -> Path:
        """Return the path of a file or folder of the documented layout, which must be there.

        Raises:
            MissingDataError: It is not.
        """
        return self._there(self.root / plain_name(name), name)

    def find(self, folder: Path, name: str) -> Path:
        """Return the path of a file that the data name, in a folder of the documented layout; it must be there.

        Raises:
            MissingDataError: It is not.
            BadValueError: The name, or a link that it meets, leads out of the folder.
        """
        return self._there(inside(folder, name), name)

    def _there(self, path: Path, name: str) -> Path:
        if not path.exists():
            raise missing_data(self.name, f"{name!r} is missing", looked=str(path), published=self.published)
        return path

    @abstractmethod
    def read(self, split: str) -> Sequence[E]:
        """Read the annotations of a split: one entry for each sample, in the official order, no picture opened.

        Raises:
            MissingDataError: A file is missing.
            BadValueError: A file is not of the documented form.
        """

    @abstractmethod
    def make(self, split: str, index: int, entry: E) -> Sample:
        """Make the sample of an entry, its pictures opened.

        Raises:
            MissingDataError: A picture is missing.
            BadValueError: A picture or an annotation cannot be used.
        """

    def audit_entry(self, split: str, index: int, entry: E) -> Iterator[Finding]:
        """Find what is wrong with one entry; by default whatever keeps its sample from being made, and empty targets."""
        where = f"{self.name}/{split}/1/{index}"
        try:
            sample = self.make(split, index, entry)
        except BadValueError as error:
            yield Finding(split=split, where=where, kind="unreadable", what=str(error))
        except Exception as error:  # the boundary to files of others: an audit goes on
            kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            what = error.brief if isinstance(error, MissingDataError) else str(error)
            yield Finding(split=split, where=where, kind=kind, what=what)
        else:
            if any(not mask.area_px for mask in sample.target.masks):
                yield Finding(split=split, where=where, kind="empty", what="a target mask without pixels")

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find what is wrong with a split that no entry shows, such as records that belong to none; by default nothing."""
        return iter(())

    def entries(self, split: str) -> Sequence[E]:
        """Return the entries of a split, read once however many threads ask.

        Raises:
            UnknownNameError: The benchmark has no such split.
            MissingDataError: There is none on this disk.
        """
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy="Use one of these.")
        with self._reading:
            if split not in self._entries:
                found = self.read(split)
                if not found:
                    what = f"split {split!r} has no sample there"
                    raise missing_data(self.name, what, looked=str(self.root), published=self.published)
                self._entries[split] = found
            return self._entries[split]

    def num_samples(self, split: str, level: int) -> int:
        """Return how many samples there are on this disk."""
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy="Use one of these.")
        if level not in self.levels:
            raise unknown_name("level", level, map(str, self.levels), remedy="Use one of these.")
        return len(self.entries(split))

    def sample(self, split: str, level: int, index: int) -> Sample:
        """Return one sample; its annotations are read once and its pictures opened once while they are remembered."""
        size = self.num_samples(split, level)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
            raise bad_value("index", index, expected=f"an integer from 0 to {size - 1}, of split {split!r}")
        return self.make(split, index, self.entries(split)[index])

    def picture(self, path: Path, *, max_side_px: int = MAX_SIDE_PX) -> Image:
        """Open a picture, EXIF orientation applied (or refused), or return it from memory.

        Args:
            path: Its file.
            max_side_px: Largest side; by default that of the observation space.

        Raises:
            MissingDataError: It is not there.
            BadValueError: It cannot be read in full, or is turned and :attr:`takes_turned` says no.
        """

        def load() -> Image:
            if not path.is_file():
                raise missing_data(
                    self.name, f"picture {path.name!r} is missing", looked=str(path), published=self.published
                )
            image = load_image(path, max_bytes=MAX_PICTURE_BYTES, max_side_px=max_side_px)
            if not self.takes_turned:
                check_upright(path, path.name)
            return image

        return self.remember(path, load)

    def remember(self, key: Path, load: Callable[[], Image]) -> Image:
        """Return a picture from memory, or load it; for pictures inside data files ``key`` is any path of their own."""
        return self._pictures.get(key, load)

    def sample_id(self, split: str, index: int) -> str:
        """Return the id of a sample, ``Task/split/1/index``."""
        return f"{self.name}/{split}/1/{index}"

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"])  # type: ignore[misc]
