"""What it costs to ask experts in another process: each request, and each picture once.

pytest tests/benchmarks/test_remote.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from visenv import Expert, ExpertSet, Image, Mask, plugins
from visenv.experts import DetectRequest, SegmentRequest

for package in ("msgpack", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(package, reason=f"needs the extra `serve`: {package} is not installed")

ROUNDS = 5
NUM_REQUESTS = 40
PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"


@pytest.fixture(scope="module")
def both():
    """The same experts here and behind a server in a process of its own."""
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "visenv.cli", "experts", "serve", "blobs", "--port", "0"]
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(PLUGIN))
    plugins.plugins.cache_clear()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as served:
        there = plugins.build("experts", f"remote:url={served.stdout.readline().split()[-1]}")
        here = plugins.build("experts", "blobs")
        yield {"here": lambda capability: here, "there": {c: e for e in there for c in e.capabilities}.__getitem__}
        for expert in there:
            expert.close()
        served.terminate()
    patch.undo()
    plugins.plugins.cache_clear()


def seconds_of(expert: Expert, capability: str, requests) -> list[float]:
    """The time of each request, one after the other."""
    times = []
    for request in requests:
        experts = ExpertSet({capability: expert})  # a set of its own: nothing is remembered on this side
        start = time.perf_counter()
        experts.execute([request])
        times.append(time.perf_counter() - start)
    return times


def picture(side: int, seed: int) -> Image:
    image = Image(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))
    assert image.hash  # an episode knows it already
    return image


def requests_of(capability: str, image: Image, first: int):
    if capability == "detect":
        return [DetectRequest(image=image, phrase=f"thing {first + i}") for i in range(NUM_REQUESTS)]
    previous = Mask.from_dense(np.add.outer(np.arange(512), np.arange(512)) % 97 < 40)
    return [
        SegmentRequest(image=image, box_xyxy=(0, 0, 100, 100 + first + i), points_xy=((5, 5),), points_positive=(True,), previous=previous)
        for i in range(NUM_REQUESTS)
    ]  # fmt: skip


@pytest.mark.parametrize("capability", ["detect", "segment"])
def test_a_request_about_a_known_picture(both, report, capability):
    image = picture(512, 0)
    both["there"](capability).run(requests_of(capability, image, 10**6)[:1])
    times: dict[str, list[list[float]]] = {"here": [], "there": []}
    for turn in range(ROUNDS):
        for where, found in times.items():
            requests = requests_of(capability, image, NUM_REQUESTS * turn)
            found.append(seconds_of(both[where](capability), capability, requests))
    here, there = (
        float(np.median(np.min(times[where], axis=0))) for where in ("here", "there")
    )  # each the best of five
    report(
        f"remote {capability}: {1e3 * here:.2f} ms here, {1e3 * there:.2f} ms there, overhead {1e3 * (there - here):.2f} ms"
    )
    assert there - here <= 0.005


@pytest.mark.parametrize("side", [512, 2048])
def test_a_request_about_a_new_picture(both, report, side):
    """The overhead beyond handing over the same bytes by a plain socket and hashing them, which both sides of any wire must."""
    extra, moved = [], []
    for turn in range(ROUNDS):
        image = picture(side, 1 + turn)
        request = [DetectRequest(image=image, phrase="thing")]
        (here,) = seconds_of(both["here"]("detect"), "detect", request)
        (there,) = seconds_of(both["there"]("detect"), "detect", request)
        moved.append(_hand_over(image))
        extra.append(there - here)
    overhead, transfer = min(extra), min(moved)
    size = side * side * 3 / 2**20
    report(
        f"remote, new picture of {size:.1f} MiB: {1e3 * overhead:.1f} ms over in-process; plain socket and hash {1e3 * transfer:.1f} ms"
    )
    assert overhead - transfer <= 0.005 + 2 * transfer  # the body is put together, read and copied once each


def _hand_over(image: Image) -> float:
    left, right = socket.socketpair()
    start = time.perf_counter()
    sender = threading.Thread(target=lambda: (left.sendall(image.pixels.data), left.close()))
    sender.start()
    held = bytearray()
    while chunk := right.recv(65536):
        held += chunk
    got = Image(np.frombuffer(held, np.uint8).reshape(image.pixels.shape))
    assert got.hash == image.hash
    sender.join()
    right.close()
    return time.perf_counter() - start
