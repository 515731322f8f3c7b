"""Results in a folder: what comes back is what went in, whatever happens to the folder."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

from visenv import ExpertSet, Image, Mask, make_experts
from visenv.errors import BadValueError, ExpertError
from visenv.experts import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    Expert,
    ExpertsSpec,
    PointRequest,
    Points,
    ReadRequest,
    ResultStore,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)
from visenv.experts import store as stores

PICTURE = Image(np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8))
MASKS = (Mask.empty((8, 12)), Mask.from_box((2, 1, 7, 6), (8, 12)), Mask.from_dense(np.ones((8, 12), bool)))
DETECT = DetectRequest(image=PICTURE, phrase='the "red" \ud800 car\n')
CASES = [
    (DETECT, Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())),
    (DETECT, Detections(
        boxes_xyxy=np.array([[-0.0, 5e-324, 0.1, 1 / 3], [1, 2, 3, 4], [1, 2, 12, 8]]), scores=np.array([1.0, 0.2, 0.1]),
        labels=("é", " ", "<script>"), masks=MASKS)),
    (SegmentRequest(image=PICTURE, box_xyxy=(0, 1.5, 4, 4), points_xy=((1, 2),), points_positive=(True,), previous=MASKS[1]),
     Segmentation(mask=MASKS[1], score=0.1 + 0.2)),
    (PointRequest(image=PICTURE, phrase=""), Points(points_xy=np.array([[0.5, 2.25]]), scores=np.array([0.7]))),
    (UpscaleRequest(image=PICTURE, scale=2), Upscaled(image=Image(np.repeat(np.repeat(PICTURE.pixels, 2, 0), 2, 1)))),
    (DescribeRequest(image=PICTURE, question="What is “it”?"), Description(text="A 日本 flag.")),
    (ReadRequest(image=PICTURE), TextLines(lines=("STOP", "日本"), boxes_xyxy=np.array([[0.0, 0, 1, 1], [1, 1, 2, 2]]))),
]  # fmt: skip


class Canned(Expert):
    """Gives what it was made with, and counts."""

    name, version = "canned", "1"

    def __init__(self, request, result):
        self.capabilities, self.result, self.asked = frozenset({request.capability}), result, 0

    def run(self, requests):
        self.asked += len(requests)
        return [self.result] * len(requests)


def key(request):
    return ("canned@1", *request.key())


def bits(value):
    """A value as something that is equal only if type, shape and every bit are."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    if hasattr(value, "__dataclass_fields__"):
        return type(value).__name__, [bits(getattr(value, f)) for f in value.__dataclass_fields__]
    if isinstance(value, Mask):
        return value.size_hw, value.counts
    return (type(value).__name__, value.hash if isinstance(value, Image) else value)


@pytest.mark.parametrize(
    ("request_", "result"), CASES, ids=[type(r).__name__ + str(i) for i, (_, r) in enumerate(CASES)]
)
def test_results_come_back_bit_by_bit(tmp_path, request_, result):
    ResultStore(tmp_path / "new" / "folder").put(key(request_), result)
    found = ResultStore(tmp_path / "new" / "folder", replay=True).get(key(request_), request_)
    assert bits(found) == bits(result) and found is not result
    assert ResultStore(tmp_path).get(key(request_), request_) is None


def test_a_set_asks_nobody_for_what_lies_in_the_folder(tmp_path):
    for request, result in CASES[1:]:
        first, second = Canned(request, result), Canned(request, result)
        for expert in (first, second):
            made = ExpertSet({request.capability: expert}, store=ResultStore(tmp_path / str(id(result))))
            for _ in range(2):
                assert bits(made.execute([request, request])[1]) == bits(result)
        assert (first.asked, second.asked) == (1, 0)


def test_equal_keys_are_one_entry_and_others_another(tmp_path):
    store = ResultStore(tmp_path)
    request, result = CASES[2]
    store.put(key(request), result)
    as_floats = replace(request, box_xyxy=(-0.0, 1.5, 4.0, 4.0), points_xy=((1.0, 2.0),))
    assert key(as_floats) == key(request) and store.get(key(as_floats), as_floats) is not None
    for other in (
        replace(request, points_positive=(False,)), replace(request, previous=None), replace(request, prefer="area"),
        replace(request, box_xyxy=None), replace(request, image=Image(PICTURE.pixels + 1)),
    ):  # fmt: skip
        assert store.get(key(other), other) is None
    assert store.get(("canned@2", *request.key()), request) is None


def damaged(entry: bytes):
    _, body, rest = entry.split(b"\n", 2)
    yield "empty", b""
    yield "cut off", entry[:-9]
    yield "a bit", entry[:-20] + bytes([entry[-20] ^ 1]) + entry[-19:]
    yield "no header", body
    yield "longer", entry + b"more"
    yield "another score", entry.replace(b'"score": 0.25', b'"score": 0.26')
    yield "pixels of nothing", signed(body, rest + b"more")
    yield "a pickle", pickle.dumps({"format": stores.FORMAT})
    yield "deep", b"[" * 100_000
    yield "not finite", signed(body.replace(b'"score": 0.25', b'"score": NaN'), rest)
    yield "another key", signed(body.replace(b"canned@1", b"canned@2"), rest)
    yield "a mask too short", signed(body.replace(b'"size": [8, 12]', b'"size": [8, 13]'), rest)
    yield "an unknown field", signed(body.replace(b'"score"', b'"more": 1, "score"'), rest)
    yield "no result", signed(json.dumps({"key": json.loads(body)["key"]}).encode(), rest)
    yield "a list", signed(b"[]", rest)


def signed(body: bytes, rest: bytes) -> bytes:
    content = body + b"\n" + rest
    return (
        json.dumps({"format": stores.FORMAT, "sha256": stores.hashlib.sha256(content).hexdigest()}).encode()
        + b"\n"
        + content
    )


def test_damaged_entries_are_misses_with_a_warning_and_mended(tmp_path):
    request = CASES[2][0]
    result = Segmentation(mask=MASKS[1], score=0.25)
    store = ResultStore(tmp_path)
    store.put(key(request), result)
    (path,) = tmp_path.glob("*/*.result")
    good = path.read_bytes()
    for how, content in damaged(good):
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="cannot be used"):
            assert store.get(key(request), request) is None, how
    store.put(key(request), result)
    assert path.read_bytes() == good and bits(store.get(key(request), request)) == bits(result)


def test_links_and_folders_in_place_of_entries_are_not_read(tmp_path):
    request, result = CASES[2]
    store = ResultStore(tmp_path / "a")
    store.put(key(request), result)
    (path,) = tmp_path.glob("a/*/*.result")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        assert store.get(key(request), request) is None
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning):
        assert store.get(key(request), request) is None


def test_what_cannot_be_written_is_one_warning_and_no_failure(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    request, result = CASES[2]
    made = ExpertSet({"segment": Canned(request, result)}, store=ResultStore(tmp_path / "file"), cache_size=0)
    with pytest.warns(RuntimeWarning, match="cannot be stored") as told:
        for _ in range(3):
            assert bits(made.execute([request])[0]) == bits(result)
    assert len(told) == 1


def on_disk(path):
    """What a file takes from the disk: whole blocks, where the system says so."""
    found = path.stat()
    return max(found.st_size, 512 * getattr(found, "st_blocks", 0))


def test_a_process_that_writes_little_does_not_look_through_the_folder(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(ResultStore, "_make_room", lambda self: looks.append(1))
    monkeypatch.setattr(stores.secrets, "randbelow", random.Random(2).randrange)
    for _ in range(100):
        store = ResultStore(tmp_path, limit_bytes=16 * 2**20)  # it is looked at for every MiB
        for phrase in "abcde":
            request = DetectRequest(image=PICTURE, phrase=phrase)
            store.put(key(request), CASES[1][1])
    assert 0 < len(looks) < 9, "on average twice: 100 times 5 entries of 4 KiB are 2 MiB"


def test_the_folder_stays_bounded_and_keeps_what_was_used_last(tmp_path):
    requests = [DetectRequest(image=PICTURE, phrase=f"{i}") for i in range(60)]
    result = CASES[1][1]
    store = ResultStore(tmp_path)
    store.put(key(requests[0]), result)
    (entry,) = tmp_path.glob("*/*.result")
    size = on_disk(entry)
    assert size >= entry.stat().st_size
    store = ResultStore(tmp_path, limit_bytes=20 * size + size // 2)
    for age, request in enumerate(requests[1:], 1):
        store.put(key(request), result)
        store.get(key(requests[0]), requests[0])  # used all the time
        for path in tmp_path.glob("*/*.result"):
            if path.stat().st_mtime > 1e9:
                os.utime(path, (age, age))  # the order of use does not rest on the clock
        held = sum(map(on_disk, tmp_path.glob("*/*.result")))
        assert held <= store.limit_bytes * 17 // 16
    there = [i for i, r in enumerate(requests) if store.get(key(r), r) is not None]
    assert there[0] == 0 and there[1:] == list(range(60 - len(there) + 1, 60)) and len(there) >= 15


def test_a_replay_changes_nothing(tmp_path):
    request, result = CASES[2]
    made = ExpertSet({"segment": Canned(request, result)}, store=ResultStore(tmp_path / "cache"))
    made.store.note_experts("canned", made.identities())
    assert not (tmp_path / "cache").exists(), "making experts writes nothing"
    made.execute([request])
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    store = ResultStore(tmp_path / "cache", replay=True)
    assert store.experts_of("canned") == {"segment": "canned@1"} and store.noted() == ["canned"]
    store.put(key(DETECT), CASES[1][1])
    assert bits(store.get(key(request), request)) == bits(result)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    with pytest.raises(BadValueError, match="cache=FOLDER"):
        ResultStore(tmp_path / "none", replay=True)


def test_a_set_with_a_folder_goes_to_another_process(tmp_path):
    request, result = CASES[2]
    made = ExpertSet({"segment": Canned(request, result)}, store=ResultStore(tmp_path, limit_bytes=12345))
    there = pickle.loads(pickle.dumps(made))
    there.execute([request])
    assert there.store.limit_bytes == 12345 and made.store.get(key(request), request) is not None


WRITER = """
import sys
import numpy as np
from visenv import Image
from visenv.experts import Detections, DetectRequest, ResultStore
store = ResultStore(sys.argv[1], limit_bytes=int(sys.argv[2]))
picture = Image(np.zeros((4, 4, 3), np.uint8))
for i in range(300):
    request = DetectRequest(image=picture, phrase=str(i % 40))
    result = Detections(boxes_xyxy=np.full((i % 40, 4), i % 40 / 10), scores=np.zeros(i % 40), labels=("x",) * (i % 40))
    store.put(("e@1", *request.key()), result)
    found = store.get(("e@1", *request.key()), request)
    assert found is None or len(found.labels) == i % 40
"""


def test_processes_share_a_folder(tmp_path):
    for limit in ("100000000", "20000"):
        folder = str(tmp_path / limit)
        command = [sys.executable, "-W", "error", "-c", WRITER, folder, limit]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for one in running:
            _, told = one.communicate(timeout=120)
            assert one.returncode == 0, told
        assert not list((tmp_path / limit).rglob("*.visenv-partial"))
    assert len(list((tmp_path / "100000000").rglob("*.result"))) == 40


def test_threads_share_a_store(tmp_path):
    request, result = CASES[1]
    store = ResultStore(tmp_path)
    failed = []

    def work():
        for _ in range(30):
            store.put(key(request), result)
            if bits(store.get(key(request), request)) != bits(result):
                failed.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


def test_replay_by_name_makes_no_expert(tmp_path, monkeypatch):
    picture = Image(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    requests = [UpscaleRequest(image=picture, scale=2), SegmentRequest(image=picture, box_xyxy=(5.0, 5.0, 30.0, 30.0))]
    made = make_experts(f"Embedded:threads=1,cache={tmp_path}/c,cache_gb=0.5")
    assert made.store.limit_bytes == 5 * 10**8
    played = made.execute(requests)
    monkeypatch.setattr("visenv.experts._set.plugins.build", None)
    again = make_experts(f"embedded:threads=1,replay={tmp_path}/c")
    assert again.identities() == made.identities() and again.capabilities == made.capabilities
    assert list(map(bits, again.execute(requests))) == list(map(bits, played))
    (missing,) = again.execute([UpscaleRequest(image=picture, scale=3)])
    assert isinstance(missing, ExpertError) and "embedded-upscaler@1" in str(missing) and "cache=" in str(missing)
    assert make_experts(f"embedded,segmenter=embedded,replay={tmp_path}/c").identities() == made.identities()
    with pytest.raises(BadValueError, match=r"'embedded:threshold=0.9'.*/c': embedded\. Name"):
        make_experts(f"embedded:threshold=0.9,replay={tmp_path}/c")


@pytest.mark.parametrize(
    ("text", "canonical", "specs"),
    [
        ("embedded", "embedded", ("embedded",)),
        ("EMBEDDED:threads=2,cache=a/b:c", "embedded", ("EMBEDDED:threads=2",)),
        ("cache=a", "embedded", ("embedded",)),
        ("detector=Embedded:input_px=640, upscaler=other:a=1,b=2,replay=x", "detector=embedded:input_px=640,upscaler=other:a=1,b=2",
         ("embedded", "Embedded:input_px=640", "other:a=1,b=2")),
        ("upscaler=other:b=2,detector=embedded:threshold=0.90,weights=7,wait_s=9", "detector=embedded:threshold=0.9,weights=7,upscaler=other:b=2",
         ("embedded", "other:b=2", "embedded:threshold=0.90,weights=7")),
        ("embedded,detector=embedded", "embedded", ("embedded",)),
        ("detector=embedded:threads=3,segmenter=gone", "segmenter=gone", ("embedded", "embedded:threads=3", "gone")),
        ("gone,detector=embedded", "gone,detector=embedded", ("gone", "embedded")),
        ("gone,detector=gone", "gone", ("gone",)),
        ("ocr:threads=2,turned,min_score=0.5", "ocr:turned=true", ("ocr:threads=2,turned,min_score=0.5",)),
        ("embedded:no_such=1", "embedded:no_such=1", ("embedded:no_such=1",)),
        ("http://host:80,segmenter=embedded", "remote:url=http://host:80,segmenter=embedded", ("remote:url=http://host:80", "embedded")),
        ("https://host:80/a?b=c,token_env=T", "remote:url=https://host:80/a?b=c", ("remote:url=https://host:80/a?b=c,token_env=T",)),
        ("reader=http://h:1", "reader=remote:url=http://h:1", ("embedded", "remote:url=http://h:1")),
        ("gone:api_key=sk-12345678", "gone:api_key=***", ("gone:api_key=sk-12345678",)),
    ],
)  # fmt: skip
def test_specs_are_read(text, canonical, specs):
    spec = ExpertsSpec.parse(text)
    assert spec.canonical() == canonical and spec.specs == specs
    assert ExpertsSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    ["painter=embedded", "embedded,painter=x", "detector=", "detector=a,detector=b", "cache=a,replay=b", "cache_gb=0", "cache=a,cache_gb=much", "wait_s=0", "wait_s=nan",
     "=", "embedded,cache="],
)  # fmt: skip
def test_bad_specs_are_refused(text):
    with pytest.raises(BadValueError):
        ExpertsSpec.parse(text)
