"""What scoring masks costs: run-length codes against decoding and dense counting, on as many samples as gRefCOCO's val has.

pytest tests/benchmarks/test_scoring.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import cv2
import numpy as np
from pycocotools import mask as coco
from visenv.tasks.profiles import PROFILES

from visenv import Answer, AnswerKind, Mask, Target

NUM_SAMPLES = 14_229
SIZE_HW = (480, 640)
NUM_SHAPES = 500
"""Different pairs of masks; samples go round them, so that the files would not fit a cache but the test its time."""


def blob(rng):
    """Return a convex polygon of 10 corners, up to 300 x 250 px, with a bite taken out: about what an object mask weighs."""
    canvas = np.zeros(SIZE_HW, np.uint8)
    corners = rng.random((10, 2)) * [300, 250] + rng.random(2) * [340, 230]
    cv2.fillPoly(canvas, [cv2.convexHull(corners.astype(np.int32))], 1)
    cv2.circle(canvas, tuple(int(v) for v in corners.mean(0)), 20, 0, -1)
    return canvas.astype(bool)


def pairs():
    rng = np.random.default_rng(0)
    dense = [(blob(rng), blob(rng)) for _ in range(NUM_SHAPES)]
    return dense, [tuple(Mask.from_dense(m).to_json() for m in pair) for pair in dense]


def samples(codes, *, checked: bool) -> Iterator[tuple[Target, Answer]]:
    """Yield targets and answers made from codes, each anew, as a stream would."""
    make = Mask.from_json if checked else lambda code: Mask(code["size"], code["counts"].encode())
    for i in range(NUM_SAMPLES):
        truth, predicted = map(make, codes[i % len(codes)])
        yield Target(kind=AnswerKind.MASK, size_hw=SIZE_HW, masks=(truth,)), Answer(masks=(predicted,))


def ours(codes, *, checked=False):
    row = PROFILES["gres/native"].row
    rows = [row(*s) for s in samples(codes, checked=checked)]
    return [(r["inter"], r["union"]) for r in rows]


def decoded(codes):
    """Decode both masks and count densely, as scorers do that keep no codes."""
    out = []
    for i in range(NUM_SAMPLES):
        first, second = (coco.decode(code).astype(bool) for code in codes[i % len(codes)])
        out.append((int((first & second).sum()), int((first | second).sum())))
    return out


def counted(dense):
    """Count masks that are dense already: no time is spent on getting them."""
    out = []
    for i in range(NUM_SAMPLES):
        first, second = dense[i % len(dense)]
        out.append((int(np.count_nonzero(first & second)), int(np.count_nonzero(first | second))))
    return out


def timed(run, *arguments, **options):
    start = time.perf_counter()
    result = run(*arguments, **options)
    return time.perf_counter() - start, result


def test_scoring_of_masks(report):
    dense, codes = pairs()
    ours(codes[:1])
    fast, found = timed(ours, codes)
    checked, _ = timed(ours, codes, checked=True)
    slow, wanted = timed(decoded, codes)
    plain, same = timed(counted, dense)
    fast = min(fast, timed(ours, codes)[0])
    assert found == wanted == same
    tracemalloc.start()
    rows = ours(codes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    report(
        f"{NUM_SAMPLES} samples of {SIZE_HW[1]} x {SIZE_HW[0]}: codes {fast:.2f} s ({1e6 * fast / NUM_SAMPLES:.0f} us each; "
        f"{checked:.2f} s with every code checked), decoding and dense counting {slow:.1f} s ({slow / fast:.0f} x), "
        f"counting of dense masks at hand {plain:.2f} s ({plain / fast:.1f} x); peak {peak / 2**20:.0f} MiB for {len(rows)} rows"
    )
    assert slow > 20 * fast and plain > 4 * fast and peak < 64 * 2**20
