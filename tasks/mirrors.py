"""Copies of benchmarks on the Hugging Face hub: which are read, what others lose, and how one is fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visenv.errors import bad_value, missing_data, missing_extra, short

from .benchmark import data_root, plain_name, whole_path

__all__ = ["EXTRA", "Mirror", "check_shards", "columns_of", "find_mirror", "lost_by_columns", "what_is_lost"]

EXTRA = "hub"
"""The extra of visenv that installs `datasets`, and with it the hub's client."""
MAX_SHARDS = 100_000
SHARD = re.compile(r".*-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Losing:
    """A copy that lacks something of the original, known by its id or by the columns of its files."""

    of: str
    """``ReasonSeg`` or ``RefCOCO``, with its sisters."""
    ids: re.Pattern[str]
    columns: frozenset[str] = frozenset()
    """Columns that it has and the others have not, all of them; empty where they are not known."""
    lost: str
    """What it lacks, a clause."""


MASKS_ONLY = frozenset({"text", "mask", "ann_id", "img_height", "img_width"})
IGNORED = "the usual mirrors turn ReasonSeg's ignored pixels into target, which moves every score"
MIXED = (
    "mirrors merge splits or leave fields out (lmms-lab's `val` of RefCOCO is unc's 3,811 references and google's 5,000 "
    "together, its `test` is google's, its `val` of RefCOCOg is umd's and google's)"
)
UNSAID: Mapping[str, str] = {"ReasonSeg": IGNORED, "RefCOCO": MIXED}
"""What is said of a copy that nobody here knows."""
LOSING = (
    Losing(of="ReasonSeg", ids=re.compile(r"Ricky06662/ReasonSeg.*", re.I), columns=MASKS_ONLY, lost=IGNORED),
    Losing(
        of="RefCOCO", ids=re.compile(r"lmms-lab(-encoder)?/RefCOCO.*", re.I), lost=MIXED,
        columns=frozenset({"question_id", "question", "answer", "segmentation", "iscrowd"}),
    ),
    Losing(
        of="RefCOCO", ids=re.compile(r"Ricky06662/refcoco.*", re.I), columns=MASKS_ONLY,
        lost="polygons have become masks there: the numbers of references and sentences are gone, and where the parts of an "
        "object overlap",
    ),
    Losing(
        of="RefCOCO", ids=re.compile(r"jxu124/refcoco(plus|g)?", re.I), columns=frozenset({"raw_anns", "raw_image_info"}),
        lost="it holds no pictures, and calls testA `test`",
    ),
    Losing(
        of="RefCOCO", ids=re.compile(r"moondream/refcoco-m", re.I), columns=frozenset({"samples"}),
        lost="its masks are drawn anew, for 1,190 pictures",
    ),
    Losing(of="RefCOCO", ids=re.compile(r"JierunChen/Ref-L4", re.I), lost="its labels are revised, and its splits its own"),
)  # fmt: skip


class Mirror:
    """A copy of a benchmark's files: on the hub, fetched into its cache when asked for, or in a folder."""

    def __init__(self, task: str, published: str, *, hub_id: str = "", commit: str | None = None, folder: Path | None = None) -> None:  # fmt: skip
        """Name the copy; use :func:`find_mirror`."""
        self.task, self.published, self.hub_id = task, published, hub_id
        self.folder = folder
        """Where it lies; ``None`` before the first fetch."""
        self._commit = commit
        self._fetched: set[tuple[str, ...]] = set()

    def fetch(self, *patterns: str) -> Path:
        """Return the folder with the files of these names, of which ``*`` stands for any text.

        Whatever the hub's cache holds is not fetched again, and with ``HF_HUB_OFFLINE=1`` nothing else is looked for.

        Raises:
            MissingDataError: They can neither be fetched nor found in the cache.
            MissingExtraError: The package is not installed.
        """
        if self.folder is not None and (not self.hub_id or patterns in self._fetched):
            return self.folder
        try:
            from huggingface_hub import snapshot_download  # comes with `datasets`
        except ImportError as error:
            raise missing_extra("Fetching data sets from the hub", EXTRA) from error
        try:
            found = snapshot_download(
                self.hub_id, repo_type="dataset", revision=self._commit, allow_patterns=list(patterns)
            )
        except Exception as error:  # the boundary to the hub: no network, offline, no room on the disk
            what = f"the mirror {self.hub_id!r} can neither be fetched nor found in the hub's cache ({short(str(error), 200)})"
            raise missing_data(self.task, what, looked=f"https://huggingface.co/datasets/{self.hub_id}", published=self.published) from error  # fmt: skip
        self.folder = Path(found)
        self._commit = self.folder.name  # what is fetched later is of the same commit
        self._fetched.add(patterns)
        return self.folder


def find_mirror(
    task: str, given: object, *, known: Mapping[str, str | None], of: str, published: str, root: str | Path | None, folder: str
) -> Mirror:  # fmt: skip
    """Return the copy that a task's option ``mirror`` names.

    Args:
        task: The task's name.
        given: An id on the hub, or a folder: one in the benchmark's folder under the data root, or a whole name, from ``/`` or ``~/`` on.
        known: The ids that are read, each with the commit that is meant (``None``: the newest).
        of: Whose losing copies to look for, as in :class:`Losing`.
        published: Where the authors publish the originals.
        root: The data root that the caller named.
        folder: The benchmark's folder under it.

    Raises:
        BadValueError: It loses something, nobody here knows it, or there is no such folder.
    """
    choice = " or ".join([*map(repr, known), "the folder of a copy"]) if known else "none: read the originals"
    remedy = f"The originals: {published}."
    if not isinstance(given, str) or not given:
        raise bad_value("mirror", given, expected=choice, remedy=remedy)
    name = next((k for k in known if k.lower() == given.lower()), None)
    if name is not None:
        return Mirror(task, published, hub_id=name, commit=known[name])
    losing = next((one.lost for one in LOSING if one.of == of and one.ids.fullmatch(given)), None)
    if losing is None and not known:
        losing = UNSAID.get(of, "no copy is known that was compared with the originals")
    if losing is not None:
        raise bad_value("mirror", given, expected=choice, remedy=f"This one is not read: {losing}. {remedy}")
    found = _folder(given, root, folder)
    if found is None:
        raise bad_value("mirror", given, expected=f"{choice}; other copies were not compared with the originals", remedy=remedy)  # fmt: skip
    return Mirror(task, published, folder=found)


def _folder(given: str, root: str | Path | None, folder: str) -> Path | None:
    data = data_root(root)
    try:
        place = whole_path(given)
        if place is None and data is not None:
            place = data / folder / plain_name(given)  # which may be a link: it is the person's own choice
        return place if place is not None and place.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # no name that a file system takes, or no such person's home
        return None


def what_is_lost(of: str, folder: Path) -> str | None:
    """Say what a copy that lies in a folder loses, by the columns of its Parquet files.

    Returns:
        A clause; ``None`` where there is no Parquet file.
    """
    first = next(iter(sorted(folder.rglob("*.parquet"))), None) if folder.is_dir() else None
    return None if first is None else lost_by_columns(of, columns_of(first)) or UNSAID[of]


def check_shards(task: str, files: Sequence[Path], published: str) -> None:
    """Check that the Parquet files of a split are all there, each once, where their names say how many there are.

    Raises:
        MissingDataError: Some are missing.
        BadValueError: Files of two downloads lie together.
    """
    said = [(int(m[1]), int(m[2])) for path in files if (m := SHARD.fullmatch(path.name))]
    numbers, totals = {number for number, _ in said}, {total for _, total in said}
    if len(totals) > 1 or len(numbers) < len(said):
        names = [path.name for path in files]
        raise bad_value(
            "files", names, expected=f"those of one download in {files[0].parent}", remedy="Remove the others."
        )
    missing = sorted(set(range(min(max(totals, default=0), MAX_SHARDS))) - numbers)
    if missing:
        what = f"{len(missing)} of {max(totals)} files of a split are missing, the first is number {missing[0]:05d}"
        raise missing_data(task, what, looked=str(files[0].parent), published=published)


def columns_of(path: Path) -> frozenset[str]:
    """Return the names of a file's columns; none where it cannot be read."""
    try:
        from pyarrow import parquet

        return frozenset(parquet.read_schema(path).names)
    except Exception:  # damaged, or no pyarrow: whoever reads the file says it
        return frozenset()


def lost_by_columns(of: str, names: frozenset[str]) -> str | None:
    """Say what a copy with these columns loses; ``None`` where it is none of the known ones."""
    return next((one.lost for one in LOSING if one.of == of and one.columns and one.columns <= names), None)
