"""The wire of remote experts: what goes over it comes back equal, and whatever else arrives is refused."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from visenv import ExpertSet, Image, Mask
from visenv.errors import ExpertError
from visenv.experts import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
)

msgpack = pytest.importorskip("msgpack", reason="needs the extra `serve`: msgpack is not installed")

from visenv.experts.remote import calls  # noqa: E402
from visenv.experts.remote.arrival import Arrival  # noqa: E402
from visenv.experts.remote.calls import Identity, read_answer, read_unknown  # noqa: E402
from visenv.experts.remote.frames import MAGIC, FrameError, WireError, pack, unpack  # noqa: E402

WHO = Identity(name="known", version="1", weights_hash="ab" * 32, identity="known@1+abababababab")
PICTURE = Image(np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8))
OTHER = Image(np.zeros((3, 4, 3), np.uint8))


def write_call(*arguments, **options) -> bytes:
    return b"".join(calls.write_call(*arguments, **options))


def write_answer(*arguments) -> bytes:
    return b"".join(calls.write_answer(*arguments))


def read_call(body: bytes, piece: int = 2**16, limit_bytes: int = 2**28):
    """Read a call that comes in pieces."""
    arrival = Arrival(limit_bytes=limit_bytes)
    for start in range(0, len(body), piece):
        if arrival.take(body[start : start + piece]):
            arrival.open()
    return arrival.finish()


numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
pairs = st.tuples(numbers, numbers)
finite = st.floats(-1e9, 1e9)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def masks(draw):
    return Mask.from_dense(np.array(draw(st.lists(st.booleans(), min_size=35, max_size=35))).reshape(7, 5))


@st.composite
def segment_requests(draw):
    clicks = draw(st.lists(st.tuples(pairs, st.booleans()), max_size=4))
    return SegmentRequest(
        image=PICTURE, box_xyxy=draw(st.none() | st.tuples(*[numbers] * 4)), points_xy=tuple(xy for xy, _ in clicks),
        points_positive=tuple(p for _, p in clicks), previous=draw(st.none() | masks()),
        prefer=draw(st.sampled_from(["score", "area"])),
    )  # fmt: skip


@st.composite
def detections(draw):
    n = draw(st.integers(0, 4))
    rows = draw(st.lists(st.lists(finite, min_size=5, max_size=5), min_size=n, max_size=n))
    data = np.array(rows, draw(st.sampled_from([np.float64, np.float32]))).reshape(n, 5)
    with_masks = draw(st.booleans())
    return Detections(
        boxes_xyxy=data[:, :4], scores=data[:, 4], labels=tuple(draw(st.lists(texts, min_size=n, max_size=n))),
        masks=tuple(draw(st.lists(masks(), min_size=n, max_size=n))) if with_masks else None,
    )  # fmt: skip


def same(first, second) -> bool:
    """Whether two results are equal in type, value and array type."""
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    names = getattr(type(first), "__dataclass_fields__", None)
    if names is not None and not isinstance(first, Image):
        return type(first) is type(second) and all(same(getattr(first, n), getattr(second, n)) for n in names)
    return type(first) is type(second) and first == second


def there(requests):
    """What the server reads of a call with all its pictures."""
    call = read_call(write_call(requests, send={r.image.hash for r in requests}))
    return call.requests(call.images)


@settings(max_examples=60, deadline=None)
@given(st.lists(segment_requests(), min_size=1, max_size=3))
def test_segment_requests_arrive_equal_whole_numbers_whole(requests):
    arrived = there(requests)
    assert arrived == requests and [r.key() for r in arrived] == [r.key() for r in requests]
    types = [[type(v) for v in (*(r.box_xyxy or ()), *(v for xy in r.points_xy for v in xy))] for r in requests]
    assert types == [[type(v) for v in (*(r.box_xyxy or ()), *(v for xy in r.points_xy for v in xy))] for r in arrived]


@pytest.mark.parametrize(
    "requests",
    [
        [DetectRequest(image=PICTURE, phrase="a “red” car\n\x00"), DetectRequest(image=OTHER, phrase="")],
        [PointRequest(image=PICTURE, phrase="x" * 4096)],
        [UpscaleRequest(image=OTHER, scale=4)],
        [DescribeRequest(image=OTHER, question="What colour is “it”?")],
        [ReadRequest(image=PICTURE), ReadRequest(image=OTHER)],
        [SegmentRequest(image=PICTURE, box_xyxy=tuple(np.array([1.5, 2, 3, 4], np.float32)), points_xy=((np.int64(3), np.float64(0.1)),), points_positive=(np.True_,))],
    ],
    ids=lambda r: r[0].capability,
)  # fmt: skip
@pytest.mark.parametrize("png", [False, True], ids=["raw", "png"])
def test_requests_arrive_equal(requests, png):
    call = read_call(write_call(requests, send={r.image.hash for r in requests}, as_png=png))
    assert call.requests(call.images) == requests
    assert [i.hash for i in call.images.values()] == list({r.image.hash: 0 for r in requests})


@settings(max_examples=60, deadline=None)
@given(st.lists(detections(), min_size=1, max_size=3))
def test_detections_come_back_equal(results):
    requests = [DetectRequest(image=PICTURE, phrase="a")] * len(results)
    who, outcomes = read_answer(write_answer(WHO, results), requests)
    assert who == WHO and all(same(a, b) for a, b in zip(results, outcomes, strict=True))
    assert all(o.boxes_xyxy.flags.writeable for o in outcomes)


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (ReadRequest(image=PICTURE), TextLines(lines=("Café", ""), boxes_xyxy=np.arange(8.0).reshape(2, 4))),
        (PointRequest(image=PICTURE, phrase="a"), Points(points_xy=np.zeros((0, 2)), scores=np.zeros(0))),
        (DescribeRequest(image=PICTURE, question="a?"), Description(text="Ein Café.")),
        (SegmentRequest(image=PICTURE), Segmentation(mask=Mask.empty((7, 5)), score=0.1 + 0.2)),
        (UpscaleRequest(image=OTHER, scale=2), Upscaled(image=Image(np.full((6, 8, 3), 7, np.uint8)))),
    ],
    ids=lambda v: getattr(v, "capability", ""),
)
def test_results_come_back_equal(request_, result):
    _, (found, failed) = read_answer(write_answer(WHO, [result, ExpertError("it is\nbroken")]), [request_, request_])
    assert same(result, found) and isinstance(failed, ExpertError) and str(failed) == "it is\nbroken"


def test_a_result_that_has_no_form_fails_alone():
    good = Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
    odd = [
        Detections(boxes_xyxy=np.zeros((0, 4), object), scores=np.zeros(0), labels=()),
        Detections(boxes_xyxy=np.zeros((1, 4)), scores=np.zeros(1), labels=("\ud800",)),
    ]
    requests = [DetectRequest(image=PICTURE, phrase="a")] * 3
    _, outcomes = read_answer(write_answer(WHO, [odd[0], good, odd[1]]), requests)
    assert same(outcomes[1], good) and isinstance(outcomes[0], ExpertError) and isinstance(outcomes[2], ExpertError)


def test_what_a_server_lacks():
    assert read_unknown(*calls.write_unknown([PICTURE.hash])) == [PICTURE.hash]
    for wrong in ([], ["x"], [PICTURE.hash.upper()], [PICTURE.hash + "\n"], [1], "abc"):
        with pytest.raises(WireError):
            read_unknown(pack({"unknown": wrong}))


def framed(packed: bytes, blobs: bytes = b"") -> bytes:
    return MAGIC + struct.pack(">I", len(packed)) + packed + blobs


HOSTILE_FRAMES = {
    "nothing": b"",
    "short": MAGIC + b"\x00",
    "a pickle": pickle.dumps({"capability": "detect"}),
    "a pickle in a frame": framed(pickle.dumps(Image)),
    "html": b"<html>",
    "another version": b"VEX\x02" + bytes(8),
    "a length beyond the body": MAGIC + b"\xff\xff\xff\xff" + b"\x80",
    "a length one too long": MAGIC + struct.pack(">I", 2) + b"\x80",
    "no map": framed(msgpack.packb([1])),
    "bytes behind the map": framed(msgpack.packb({}) + b"\x00"),
    "an extension type": framed(msgpack.packb({"a": msgpack.ExtType(5, b"")})),
    "an extension with bytes": framed(msgpack.packb({"a": msgpack.ExtType(5, b"x" * 40)})),
    "a time": framed(msgpack.packb({"a": msgpack.Timestamp(1, 2)})),
    "a time of 12 bytes": framed(msgpack.packb({"a": msgpack.Timestamp(2**40, 2)})),
    "a key that is no text": framed(b"\x81\x01\x01"),
    "a key of bytes": framed(b"\x81\xc4\x01a\x01"),
    "a key twice": framed(b"\x82\xa1a\x01\xa1a\x02"),
    "many keys": framed(msgpack.packb({str(i): 0 for i in range(100)})),
    "text that is no UTF-8": framed(b"\x81\xa1a\xa2\xff\xfe"),
    "a list of four thousand million": framed(b"\x81\xa1a\xdd\xff\xff\xff\xff"),
    "a map of four thousand million": framed(b"\xdf\xff\xff\xff\xff"),
    "bytes of four thousand million": framed(b"\x81\xa1a\xc6\xff\xff\xff\xff"),
    "deep lists": framed(b"\x81\xa1a" + b"\x91" * 100_000 + b"\x00"),
    "deep long lists": framed(b"\x81\xa1a" + (b"\xdd" + struct.pack(">I", 1024)) * 1000),
    "many small lists": framed(b"\x81\xa1a\xdc\x01\x2c" + (b"\xdc\x03\xff" + b"\x90" * 1023) * 300),
    "a reserved byte": framed(b"\x81\xa1a\xc1"),
}


@pytest.mark.parametrize("body", HOSTILE_FRAMES.values(), ids=HOSTILE_FRAMES)
def test_what_is_no_frame_is_refused_and_costs_little(body):
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        unpack(body, max_header_bytes=2**24, max_items=2**10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20 and len(str(error.value)) < 300


def test_a_long_map_is_not_looked_at():
    with pytest.raises(FrameError, match="at most 100"):
        unpack(pack({"a": "x" * 200}), max_header_bytes=100, max_items=9)


def plain_call(**changes):
    """The map of a good call, changed, and its blob."""
    form = {"hash": OTHER.hash, "size_hw": [3, 4], "encoding": "raw", "num_bytes": 36}
    header = {"capability": "detect", "requests": [{"image": OTHER.hash, "phrase": "a"}], "images": [form]}
    for path, value in changes.items():
        place, last = header, path.split("__")
        for step in last[:-1]:
            place = place[int(step[1:]) if step[0] == "n" and step[1:].isdigit() else step]
        key = last[-1]
        if value is DROP:
            del place[key]
        else:
            place[key] = value
    return header


DROP = object()
SEGMENT = {
    "image": OTHER.hash, "box_xyxy": None, "points_xy": [[1, 2]], "points_positive": [True], "previous": None, "prefer": "score",
}  # fmt: skip


def a_png(size_wh=(4, 3), kind="PNG"):
    buffer = io.BytesIO()
    PilImage.new("RGB", size_wh).save(buffer, kind)
    return buffer.getvalue()


def segment(**changes):
    return plain_call(capability="segment", requests=[SEGMENT | changes])


HOSTILE_CALLS = {
    "a key too many": plain_call(path="/etc/passwd"),
    "a key too few": plain_call(images=DROP),
    "another capability": plain_call(capability="eval"),
    "no requests": plain_call(requests=[]),
    "requests that are none": plain_call(requests=[1]),
    "many requests": plain_call(requests=[{"image": OTHER.hash, "phrase": "a"}] * 257),
    "a phrase of bytes": plain_call(requests__n0__phrase=b"a"),
    "a long phrase": plain_call(requests__n0__phrase="a" * 4097),
    "a request with more": plain_call(requests__n0__scale=2),
    "an image that is not there": plain_call(requests__n0__image="0" * 64),
    "an image by path": plain_call(requests__n0__image="../../etc/passwd"),
    "an image by number": plain_call(requests__n0__image=7),
    "a hash by path": plain_call(images__n0__hash="../" * 21 + "x"),
    "a hash in capitals": plain_call(images__n0__hash=OTHER.hash.upper()),
    "another hash": plain_call(images__n0__hash="0" * 64),
    "another size": plain_call(images__n0__size_hw=[4, 3]),
    "a size without pixels": plain_call(images__n0__size_hw=[0, 4]),
    "a negative size": plain_call(images__n0__size_hw=[-3, -4]),
    "a huge size": plain_call(images__n0__size_hw=[2**27, 2**27]),
    "a size as text": plain_call(images__n0__size_hw=["3", "4"]),
    "too few bytes": plain_call(images__n0__num_bytes=35),
    "too many bytes": plain_call(images__n0__num_bytes=37),
    "all the bytes there are": plain_call(images__n0__num_bytes=2**62),
    "a truth value as number": plain_call(images__n0__num_bytes=True),
    "another encoding": plain_call(images__n0__encoding="pickle"),
    "raw as png": plain_call(images__n0__encoding="png"),
    "a box of three": segment(box_xyxy=[1, 2, 3]),
    "a box that is not a number": segment(box_xyxy=[float("nan"), 2, 3, 4]),
    "a box without end": segment(box_xyxy=[float("inf"), 2, 3, 4]),
    "a box of truth values": segment(box_xyxy=[True, False, True, True]),
    "a point of three": segment(points_xy=[[1, 2, 3]]),
    "signs that do not fit": segment(points_positive=[True, False]),
    "signs as numbers": segment(points_positive=[1]),
    "many clicks": segment(points_xy=[[1, 2]] * 1025, points_positive=[True] * 1025),
    "another preference": segment(prefer="best"),
    "a mask of another size": segment(previous={"size": [2, 2], "counts": b"4"}),
    "a mask that does not fill its size": segment(previous={"size": [3, 4], "counts": b"1"}),
    "a mask that is none": segment(previous={"size": [3, 4], "counts": b"\xff\xff"}),
    "a mask of text": segment(previous={"size": [3, 4], "counts": "<"}),
    "a scale of nothing": plain_call(capability="upscale", requests=[{"image": OTHER.hash, "scale": 0}]),
    "a huge scale": plain_call(capability="upscale", requests=[{"image": OTHER.hash, "scale": 17}]),
    "a scale of a half": plain_call(capability="upscale", requests=[{"image": OTHER.hash, "scale": 0.5}]),
}


@pytest.mark.parametrize("header", HOSTILE_CALLS.values(), ids=HOSTILE_CALLS)
def test_calls_of_another_form_are_refused(header):
    with pytest.raises(WireError) as error:
        call = read_call(pack(header) + bytes(36))
        call.requests(call.images)
    assert len(str(error.value)) < 500 and "passwd" not in str(error.value)


def test_a_good_call_of_that_kind_is_read():
    for header in (plain_call(), segment(), segment(previous={"size": [3, 4], "counts": b"<"})):
        call = read_call(pack(header) + bytes(36))
        assert call.requests(call.images)[0].image == OTHER


@pytest.mark.parametrize(
    ("blob", "size_hw"),
    [(a_png((4, 4)), [3, 4]), (a_png((3, 4)), [3, 4]), (a_png(kind="JPEG"), [3, 4]), (a_png()[:40], [3, 4]), (a_png((5000, 5000)), [3, 4]), (b"\x80\x04.", [3, 4])],
    ids=["taller", "turned", "jpeg", "cut off", "large", "pickle"],
)  # fmt: skip
def test_png_of_other_content_is_refused(blob, size_hw):
    form = {"hash": OTHER.hash, "size_hw": size_hw, "encoding": "png", "num_bytes": len(blob)}
    with pytest.raises(WireError):
        read_call(pack(plain_call(images=[form])) + blob)
    form["num_bytes"] = len(a_png())
    assert read_call(pack(plain_call(images=[form])) + a_png()).images


def test_bytes_behind_the_last_picture_are_refused():
    with pytest.raises(WireError, match="1 bytes behind"):
        read_call(pack(plain_call()) + bytes(37))


HOSTILE_OUTCOMES = {
    "too few": [],
    "too many": [{"error": "a", "result": None}] * 2,
    "neither": [{}],
    "both": [{"error": "a", "result": {"mask": {"size": [7, 5], "counts": b"S1"}, "score": 0.5}}],
    "an array of objects": [{"result": {"boxes_xyxy": {"dtype": "|O8", "shape": [0, 4], "data": b""}, "scores": {"dtype": "<f8", "shape": [0], "data": b""}, "labels": [], "masks": None}}],
    "an array of another length": [{"result": {"boxes_xyxy": {"dtype": "<f8", "shape": [1, 4], "data": b""}, "scores": {"dtype": "<f8", "shape": [0], "data": b""}, "labels": [], "masks": None}}],
    "a huge array": [{"result": {"boxes_xyxy": {"dtype": "<f8", "shape": [2**20, 2**20], "data": b""}, "scores": {"dtype": "<f8", "shape": [0], "data": b""}, "labels": [], "masks": None}}],
    "the result of another request": [{"result": {"mask": {"size": [7, 5], "counts": b"S1"}, "score": 0.5}}],
}  # fmt: skip


@pytest.mark.parametrize("outcomes", HOSTILE_OUTCOMES.values(), ids=HOSTILE_OUTCOMES)
def test_answers_of_another_form_are_refused(outcomes):
    body = pack({"identity": WHO.model_dump(), "outcomes": outcomes})
    with pytest.raises(WireError):
        read_answer(body, [DetectRequest(image=PICTURE, phrase="a")])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_in_words(data, in_frame):
    body = framed(data) if in_frame else data
    for read in (read_call, read_unknown, lambda b: read_answer(b, [])):
        with pytest.raises(WireError):
            read(body)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_call_with_a_byte_changed_is_refused_or_still_a_call(data):
    body = bytearray(pack(segment(previous={"size": [3, 4], "counts": b"<"})) + bytes(36))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        call = read_call(body)
        call.requests(call.images)
    except WireError:
        pass


def test_a_set_of_remote_results_is_checked_like_any_other(known):
    """What a server sends that fits the wire and not the request is an error of that request."""
    _, (odd,) = read_answer(
        write_answer(WHO, [Segmentation(mask=Mask.empty((2, 2)), score=1.0)]), [SegmentRequest(image=PICTURE)]
    )

    class Sent(type(known)):
        def run(self, requests):
            return [odd for _ in requests]

    (found,) = ExpertSet({"segment": Sent()}).execute([SegmentRequest(image=PICTURE)])
    assert isinstance(found, ExpertError) and "(2, 2)" in str(found)
