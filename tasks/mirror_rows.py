"""Rows of Parquet files through `datasets`: mapped into memory, nothing decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from visenv.errors import bad_value, missing_extra, short

from .mirrors import EXTRA, lost_by_columns

__all__ = ["MirrorRows"]

MAX_ROWS = 1_000_000
MAX_GROUP_BYTES = 8 * 2**30
"""What one row group may say that it holds."""
BATCH_ROWS = 256
NAME = re.compile(r"[\w.+-]+")
"""What files may be called: `datasets` takes other names for addresses."""


class MirrorRows:
    """The rows of Parquet files, through `datasets`: mapped into memory, so that any row is near.

    Cells are given as they are stored: no picture is decoded and no path in a cell is followed. Only files that are named are
    read; a card or a script beside them is not looked at.
    """

    def __init__(self, files: Sequence[Path], columns: Sequence[str], *, of: str, published: str) -> None:
        """Open files.

        Args:
            files: In their order.
            columns: Those that there must be.
            of: Whose losing copies to look for.
            published: Where the authors publish the originals.

        Raises:
            BadValueError: A file is damaged, larger than the limits, or of a copy that loses something.
            MissingExtraError: `datasets` is not installed.
        """
        datasets = _datasets()
        for path in files:
            _check(path, columns, of, published)
        try:
            # The list that `datasets` makes of patterns: a folder with brackets would be taken for one, and its cache
            # would keep to a file that was replaced by another of the same age.
            names = [str(path.absolute()) for path in files]
            listed = datasets.data_files.DataFilesList(names, [_state(path) for path in files])
            with _no_bars(datasets):
                held = datasets.load_dataset("parquet", data_files={"train": listed}, split="train")
            self._data = held.with_format("arrow")
        except Exception as error:  # the boundary to the decoder
            where = f"readable Parquet files ({short(str(error), 200)})"
            raise bad_value("files", [p.name for p in files], expected=where) from error
        self.name = f"{files[0].parent.name}/{files[0].name}"
        self._columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return int(self._data.num_rows)

    def values(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield some columns of every row as plain Python; a column that is not there is ``None``.

        Raises:
            BadValueError: A cell cannot be read.
        """
        there = [c for c in columns if c in self._data.column_names]
        try:
            for batch in self._data.select_columns(there).iter(BATCH_ROWS):
                for row in batch.to_pylist():
                    yield {column: row.get(column) for column in columns}
        except ValueError as error:  # text that is not UTF-8
            raise bad_value("file", self.name, expected=f"a readable Parquet file ({error})") from error

    def cell(self, row: int, column: str) -> Any:
        """Return one cell as plain Python."""
        if column not in self._columns:
            self._columns[column] = self._data.select_columns([column])
        return self._columns[column][row].column(column)[0].as_py()


def _datasets() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise missing_extra("Reading mirrors", EXTRA) from error
    module: ModuleType = datasets
    return module


def _state(path: Path) -> tuple[str, str]:
    """Return what changes whenever a file does; the name in the cache hangs on it."""
    found = path.stat()
    return f"{found.st_mtime_ns}", f"{found.st_ctime_ns} {found.st_size}"


@contextmanager
def _no_bars(datasets: Any) -> Iterator[None]:
    """Keep `datasets` from drawing over the runner's own progress."""
    shown = not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _check(path: Path, columns: Sequence[str], of: str, published: str) -> None:
    """Refuse a file before anything of it is copied into a cache."""
    from pyarrow import parquet  # comes with `datasets`

    if not NAME.fullmatch(path.name) or "::" in str(path.absolute()):
        raise bad_value("file", str(path), expected="a name of letters, digits, ., _, + and -, in a folder without ::")
    try:
        about = parquet.read_metadata(path)
        names = frozenset(about.schema.to_arrow_schema().names)
        largest = max((about.row_group(k).total_byte_size for k in range(about.num_row_groups)), default=0)
    except Exception as error:  # the boundary to the decoder
        raise bad_value("file", str(path), expected=f"a readable Parquet file ({short(str(error))})") from error
    lost = lost_by_columns(of, names)
    if lost is not None:
        remedy = f"This copy is not read: {lost}. The originals: {published}."
        raise bad_value("columns", sorted(names), expected="those of another copy", remedy=remedy)
    missing = [c for c in columns if c not in names]
    if missing:
        expected = f"{', '.join(map(repr, missing))} among those of {path.name}"
        raise bad_value("columns", sorted(names), expected=expected)
    if about.num_rows > MAX_ROWS or largest > MAX_GROUP_BYTES:
        sizes = f"{about.num_rows} rows, {largest} bytes"
        raise bad_value("file", sizes, expected=f"at most {MAX_ROWS} rows, and {MAX_GROUP_BYTES} bytes a row group, in {path.name}")  # fmt: skip
