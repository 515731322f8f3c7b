"""What benchmarks share: read once whoever asks, pictures kept while there is room, files that are read strictly."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from visenv.tasks import embedded
from visenv.tasks.benchmark import Benchmark
from visenv.tasks.blink import BLINK
from visenv.tasks.picture_memory import PictureMemory
from visenv.tasks.profiles import PROFILES
from visenv.tasks.reading import read_json, read_json_lines
from visenv.tasks.rec8k import REC8K

from visenv.answers import AnswerKind, Target
from visenv.errors import BadValueError, MissingDataError, missing_data
from visenv.images import Image
from visenv.task import Sample

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write

THREADS = 8


def picture(value: int, side: int = 10) -> Image:
    return Image(np.full((side, side, 3), value, np.uint8))


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call all, from a thread each, let go at the same moment."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result() for one in [pool.submit(run, call) for call in calls]]


class Slow(Benchmark[int]):
    """Counts how often its annotations and pictures are read."""

    name: ClassVar[str] = "Slow"
    kind: ClassVar[AnswerKind] = AnswerKind.CHOICE
    splits: ClassVar[tuple[str, ...]] = ("a", "b")
    profile = PROFILES["multiqa/accuracy"]
    folder: ClassVar[str] = "slow"
    sizes: ClassVar[dict[str, int]] = {}

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.loads: list[int] = []

    def read(self, split: str) -> Sequence[int]:
        time.sleep(0.02)
        self.reads.append(split)
        return range(4)

    def make(self, split: str, index: int, entry: int) -> Sample:
        def load() -> Image:
            time.sleep(0.01)
            self.loads.append(entry)
            return picture(entry)

        image = self.remember(Path(str(entry)), load)
        target = Target(kind=self.kind, size_hw=(10, 10), choice="A")
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, instruction="?",
            images=(image,), target=target, cluster="0",
        )  # fmt: skip


def test_threads_that_ask_at_once_read_annotations_and_pictures_once() -> None:
    task = Slow()
    samples = at_once([lambda k=k: task.sample("ab"[k % 2], 1, k // 2 % 4) for k in range(2 * THREADS)])
    assert sorted(task.reads) == ["a", "b"] and sorted(task.loads) == [0, 1, 2, 3]
    assert all(s.images[0].pixels[0, 0, 0] == s.index for s in samples)
    again = pickle.loads(pickle.dumps(task))
    assert again.num_samples("a", 1) == 4 and again.reads == ["a"]


def test_a_split_without_a_sample_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Slow, "read", lambda *_: [])
    monkeypatch.setattr(Slow, "published", "https://example.org", raising=False)
    for ask in (lambda: Slow(tmp_path).num_samples("a", 1), lambda: Slow(tmp_path).sample("a", 1, 0)):
        with pytest.raises(MissingDataError, match="split 'a' has no sample there"):
            ask()


def test_a_picture_that_is_none_is_refused_in_the_same_words_every_time(tmp_path: Path) -> None:
    messages = set()
    for _ in range(3):
        with pytest.raises(BadValueError, match="it is none of JPEG") as caught:
            embedded.decode_picture(b"no picture" * 9, "a row")
        messages.add(str(caught.value))
    assert len(messages) == 1 and "0x" not in messages.pop()


def test_different_pictures_are_loaded_side_by_side() -> None:
    memory = PictureMemory(10**6)
    both = threading.Barrier(2, timeout=5)

    def load(value: int) -> Image:
        both.wait()  # breaks if one is loaded only after the other
        return picture(value)

    found = at_once([lambda k=k: memory.get(Path(str(k)), lambda: load(k)) for k in range(2)])
    assert [image.pixels[0, 0, 0] for image in found] == [0, 1]


def test_the_pictures_used_last_stay() -> None:
    memory = PictureMemory(3 * picture(0).pixels.nbytes)
    loaded: list[int] = []

    def get(value: int) -> None:
        memory.get(Path(str(value)), lambda: (loaded.append(value), picture(value))[1])

    for value in (0, 1, 2, 0, 3, 0, 2, 1):  # 3 puts 1 out
        get(value)
    assert loaded == [0, 1, 2, 3, 1]
    large = memory.get(Path("large"), lambda: picture(9, side=100))
    assert memory.get(Path("large"), lambda: picture(0)) is large, "one that is larger than the room stays alone"


def test_a_picture_that_cannot_be_loaded_is_tried_again() -> None:
    memory = PictureMemory(10**6)
    tries: list[int] = []

    def load() -> Image:
        tries.append(1)
        if len(tries) < THREADS:
            raise BadValueError("damaged")
        return picture(1)

    def get() -> bool:
        try:
            return bool(memory.get(Path("x"), load))
        except BadValueError:
            return False

    assert sum(at_once([get] * THREADS)) == 1 and len(tries) == THREADS


def test_threads_share_one_row_group_and_get_their_own_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra data")
    write("blink", tmp_path)
    task = BLINK(tmp_path)
    number = task.num_samples("val", 1)
    expected = [task.sample("val", 1, k).images for k in range(number)]
    shared, groups, group = BLINK(tmp_path), [], embedded._group
    assert shared.num_samples("val", 1) == number
    monkeypatch.setattr(embedded, "_group", lambda *given: (time.sleep(0.005), groups.append(given), group(*given))[2])
    found = at_once([lambda k=k: shared.sample("val", 1, 2 + k % 2).images for k in range(THREADS)])
    assert found == expected[2:4] * (THREADS // 2) and len(groups) == 1
    assert at_once([lambda k=k: shared.sample("val", 1, k).images for k in range(number)]) == expected


def test_a_panorama_of_rec8k_is_opened_to_be_shrunk(tmp_path: Path) -> None:
    write("rec8k", tmp_path)
    task = REC8K(tmp_path)
    (path,) = task.sample("val", 1, 0).files
    assert path is not None
    cv2.imwrite(str(path), np.zeros((12, 9_000, 3), np.uint8))
    shrunk = REC8K(tmp_path).sample("val", 1, 0)
    assert shrunk.images[0].size_wh == (8192, 11) and shrunk.files == (None,)


@pytest.mark.parametrize("read", [read_json, lambda path: list(read_json_lines(path))], ids=["json", "lines"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", "."):
        with pytest.raises(BadValueError):
            read(tmp_path / name)


def test_encodings_are_tried_in_turn_and_the_first_problem_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"a": "é€"}'.encode("cp1252"))
    assert read_json(path, encodings=("utf-8-sig", "cp1252")) == {"a": "é€"}
    with pytest.raises(BadValueError, match="utf-8"):
        read_json(path)
    path.write_bytes(b"\xef\xbb\xbf[1, NaN]")
    with pytest.raises(BadValueError, match="NaN"):
        read_json(path)
    with pytest.raises(BadValueError, match="at most 5 bytes"):
        read_json(path, limit_bytes=5)


def test_missing_data_names_the_command_that_checks() -> None:
    error = missing_data("X", "'a' is missing", looked="/data/X/a", published="https://example.org")
    assert "`visenv data check X`" in str(error) and error.brief == "'a' is missing; looked in /data/X/a"
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, MissingDataError) and str(again) == str(error) and again.looked == "/data/X/a"
