"""What benchmarks with data of their own share: where the files lie, annotations read once, pictures read safely, an audit."""

from __future__ import annotations

import os
import tomllib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from visenv.answers import AnswerKind
from visenv.errors import BadValueError, bad_value, missing_data, unknown_name
from visenv.images import Image
from visenv.task import Profile, Sample

from .embedded import read_picture

__all__ = ["Benchmark", "Finding", "data_root", "inside"]

E = TypeVar("E")
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


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that an annotation names.

    Raises:
        BadValueError: The name leads out of the folder.
    """
    parts = PurePosixPath(name)
    climbs = (
        parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name or ":" in name.split("/")[0][1:2]
    )
    if not name or climbs or any(len(part.encode("utf-8", "replace")) > 255 for part in parts.parts):
        raise bad_value("file name", name, expected="a name inside the folder of the data set")
    if any("\ud800" <= c <= "\udfff" for c in name):  # half a character: no file system call takes it
        raise bad_value("file name", name, expected="a name that can be written as UTF-8")
    return folder / parts


class Benchmark(ABC, Generic[E]):
    """A task whose samples are read from files in the layout in which their authors distribute them.

    Subclasses set the class attributes and write :meth:`read` (annotations to entries, once for each split) and :meth:`make`
    (an entry to a sample); :meth:`audit_entry` looks closer at one entry.
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

    def __init__(self, root: str | Path | None = None) -> None:
        """Look for the data under ``root``, or where :func:`data_root` says; nothing is read before it is needed."""
        self._given = root
        self._entries: dict[str, Sequence[E]] = {}
        self._pictures: OrderedDict[Path, Image] = OrderedDict()

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
        """Return the path of a file of the data set that must be there.

        Raises:
            MissingDataError: It is not.
            BadValueError: The name leads out of the folder.
        """
        path = inside(self.root, name)
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
            yield Finding(split=split, where=where, kind=kind, what=str(error))
        else:
            if any(not mask.area_px for mask in sample.target.masks):
                yield Finding(split=split, where=where, kind="empty", what="a target mask without pixels")

    def entries(self, split: str) -> Sequence[E]:
        """Return the entries of a split, read once.

        Raises:
            UnknownNameError: The benchmark has no such split.
        """
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy="Use one of these.")
        if split not in self._entries:
            self._entries[split] = self.read(split)
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

    def picture(self, path: Path) -> Image:
        """Open a picture, EXIF orientation applied, or return it from memory.

        Raises:
            MissingDataError: It is not there.
            BadValueError: It cannot be read in full.
        """

        def load() -> Image:
            if not path.is_file():
                raise missing_data(
                    self.name, f"picture {path.name!r} is missing", looked=str(path), published=self.published
                )
            return read_picture(path)

        return self.remember(path, load)

    def remember(self, key: Path, load: Callable[[], Image]) -> Image:
        """Return a picture from memory, or load it; for pictures inside data files ``key`` is any path of their own."""
        if key in self._pictures:
            self._pictures.move_to_end(key)
            return self._pictures[key]
        image = self._pictures[key] = load()
        while len(self._pictures) > 1 and sum(i.pixels.nbytes for i in self._pictures.values()) > CACHE_BYTES:
            self._pictures.popitem(last=False)
        return image

    def sample_id(self, split: str, index: int) -> str:
        """Return the id of a sample, ``Task/split/1/index``."""
        return f"{self.name}/{split}/1/{index}"

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"])  # type: ignore[misc]
