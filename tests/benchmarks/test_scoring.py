"""What scoring masks costs: run-length codes against decoding and dense counting, on as many samples as gRefCOCO's val has.

pytest tests/benchmarks/test_scoring.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from visenv.leaderboard.scoring import score_file
from visenv.tasks.profiles import PROFILES

from visenv import Answer, AnswerKind, Mask, Target

NUM_SAMPLES = 14_229
TARGETED = 5_324 / NUM_SAMPLES
"""Share of gRefCOCO's val that has a target."""
SPOTTED = 0.6
"""Share of the others that are declared to have none, about what published models reach; for the rest they mark something."""
SIZE_HW = (480, 640)
NUM_SHAPES = 500
"""Different samples; others go round them, so that the files would not fit a cache but the test its time."""
ROUNDS = 3
PART = 1_000
"""Samples that each way has its turn on, so that whatever else the machine does falls on all of them."""


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


def mixture():
    """Return pairs of dense masks and of codes as in gRefCOCO's val: ``None`` where there is no target, or none is declared."""
    rng = np.random.default_rng(1)
    dense, codes = [], []
    for truth, predicted in pairs()[0]:
        is_targeted = rng.random() < TARGETED
        is_marked = is_targeted or rng.random() >= SPOTTED
        held = [m & is_there for m, is_there in ((truth, is_targeted), (predicted, is_marked))]
        dense.append(held)
        codes.append([Mask.from_dense(m).to_json() if m.any() else None for m in held])
    return dense, codes


def samples(codes, part=range(NUM_SAMPLES)) -> Iterator[tuple[Target, Answer]]:
    """Yield targets and answers made from codes, each anew, as a stream would."""
    kind = AnswerKind.MASK
    for i in part:
        truth, predicted = (
            () if c is None else (Mask(c["size"], c["counts"].encode()),) for c in codes[i % len(codes)]
        )
        target = Target(kind=kind, size_hw=SIZE_HW, masks=truth)
        yield target, Answer(masks=predicted, no_target=not predicted)


def ours(codes, part=range(NUM_SAMPLES), name="gres/native"):
    row = PROFILES[name].row
    rows = [row(*s) for s in samples(codes, part)]
    return [(r["inter"], r["union"]) for r in rows]


def decoded(codes, part):
    """Decode both masks and count densely, as scorers do that keep no codes."""
    empty = Mask.empty(SIZE_HW).to_json()
    out = []
    for i in part:
        first, second = (coco.decode(code or empty).astype(bool) for code in codes[i % len(codes)])
        out.append((int((first & second).sum()), int((first | second).sum())))
    return out


def counted(dense, part):
    """Count masks that are dense already: no time is spent on getting them."""
    out = []
    for i in part:
        first, second = dense[i % len(dense)]
        out.append((int(np.count_nonzero(first & second)), int(np.count_nonzero(first | second))))
    return out


def written(codes, part, path):
    """Write a file for ``visenv score``."""
    with path.open("w", encoding="utf-8") as file:
        for i in part:
            truth, predicted = codes[i % len(codes)]
            target = {"mask": truth} if truth else {"no_target": True, "size_hw": SIZE_HW}
            prediction = {"mask": predicted} if predicted else {"no_target": True}
            file.write(json.dumps({"id": str(i), "target": target, "prediction": prediction}) + "\n")
    return path


def timed(run, *arguments, **options):
    start = time.perf_counter()
    result = run(*arguments, **options)
    return time.perf_counter() - start, result


def test_scoring_by_further_profiles(report):
    """They score once an episode: what they add, for the masks of a picture of 640 x 480 and of one of 2048 x 1536."""
    families = {
        "reasonseg": ("lisa", "segzero", "visionreasoner"), "gres": ("native", "rela", "gsva"), "refcoco": ("native", "lavt480", "box"),
    }  # fmt: skip
    _, codes = pairs()
    for family, (own, *beside) in families.items():
        for scale in (1.0, 3.2):
            size_hw = tuple(round(scale * length) for length in SIZE_HW)
            given = [
                [Mask.from_json(code).warp(np.array([[scale, 0, 0], [0, scale, 0]]), size_hw) for code in pair]
                for pair in codes[:60]
            ]
            drawn = [
                (Target(kind=AnswerKind.MASK, size_hw=size_hw, masks=(truth,)), Answer(masks=(predicted,)))
                for truth, predicted in given
            ]
            costs = []
            for names in ((own,), beside):
                rows = [PROFILES[f"{family}/{name}"].row for name in names]
                seconds = [timed(lambda s=s, rows=rows: [row(*s) for row in rows])[0] for s in drawn]
                costs.append(1e3 * float(np.median(seconds)))
            report(
                f"{family} at {size_hw[1]} x {size_hw[0]}: {own} {costs[0]:.2f} ms an answer, {' and '.join(beside)} beside it {costs[1]:.2f} ms"
            )
            if not {"rela", "lavt480"} & set(beside):  # those have to look at pixels: they resize
                assert costs[1] < 4 * costs[0] + 0.5
            assert costs[1] < (8 if scale == 1 else 40)


def said(fast, whole, plain, slow):
    """Put seconds into words."""
    return (
        f"rows {fast:.2f} s ({1e6 * fast / NUM_SAMPLES:.0f} us each), files {whole:.2f} s ({1e6 * whole / NUM_SAMPLES:.0f} us), "
        f"decoding and counting {slow:.1f} s ({slow / fast:.0f} x, {slow / whole:.0f} x), "
        f"counting alone {plain:.2f} s ({plain / fast:.1f} x, {plain / whole:.1f} x)"
    )


@pytest.mark.parametrize("of", ["gRefCOCO's val", "targets only"])
def test_scoring_of_masks(report, tmp_path, of):
    """Rows from codes, and a whole file with its JSON and all checks, against two ways of counting pixels, in turn."""
    dense, codes = mixture() if "val" in of else pairs()
    parts = [range(start, min(start + PART, NUM_SAMPLES)) for start in range(0, NUM_SAMPLES, PART)]
    files = [written(codes, part, tmp_path / f"{part.start}.jsonl") for part in parts]
    seconds = np.zeros((ROUNDS, len(parts), 4))
    for number in range(ROUNDS):
        for k, (part, path) in enumerate(zip(parts, files, strict=True)):
            fast, found = timed(ours, codes, part)
            whole, told = timed(score_file, "gres/native", path)
            plain, wanted = timed(counted, dense, part)
            slow, same = timed(decoded, codes, part)
            assert found == wanted == same and told["n"] == len(part)
            seconds[number, k] = fast, whole, plain, slow
        report(f"{of}, round {number + 1}: {said(*seconds[number].sum(0))}")
    best = seconds.min(0).sum(0)  # of each part: what interrupts is not measured
    report(f"{of}, {NUM_SAMPLES} samples of {SIZE_HW[1]} x {SIZE_HW[0]}, the best of each part: {said(*best)}")
    path = written(codes, range(NUM_SAMPLES), tmp_path / "all.jsonl")
    tracemalloc.start()
    score_file("gres/native", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fast, whole, plain, slow = best
    report(f"{of}: peak {peak / 2**20:.0f} MiB for the rows of {path.stat().st_size / 2**20:.0f} MiB")
    assert peak < 64 * 2**20 and slow > 20 * fast
    if "val" in of:
        assert plain > 4 * fast and slow > 15 * whole and plain > whole


@pytest.mark.parametrize("name", ["gres/rela", "refcoco/lavt480"])
def test_scoring_at_480_x_480(report, name):
    """Papers' own size: masks are resized without being decoded."""
    _, codes = mixture()
    seconds, _ = timed(ours, codes, range(NUM_SAMPLES), name)
    report(f"{name}: {NUM_SAMPLES} samples in {seconds:.1f} s ({1e6 * seconds / NUM_SAMPLES:.0f} us each)")
