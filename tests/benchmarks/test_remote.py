"""What it costs to ask experts in another process: each request, and each picture once.

pytest tests/benchmarks/test_remote.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from visenv import Expert, ExpertSet, Image, Mask, plugins
from visenv.experts import DetectRequest, SegmentRequest

for package in ("msgpack", "fastapi", "uvicorn", "uvloop"):
    pytest.importorskip(package, reason=f"needs the extra `serve`: {package} is not installed")

ROUNDS = 5
ROUNDS_NEW = 21
WARM_UP = 8
"""Until the server's room for pictures is full: later ones take the memory of earlier ones, as in a server that runs for long."""
NUM_REQUESTS = 40
PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"


@pytest.fixture(scope="module")
def both():
    """The same experts here and behind a server in a process of its own."""
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "visenv.cli", "experts", "serve", "blobs", "--port", "0", "--pictures-mib", "48"]
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


@pytest.fixture(scope="module")
def neighbour():
    """A process that takes bytes from a plain socket, hashes them on demand, and says that it has them."""
    with (
        subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdout=subprocess.PIPE, text=True) as served,
        socket.create_connection(("127.0.0.1", int(served.stdout.readline()))) as line,
    ):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


NEIGHBOUR = """
import hashlib, socket, struct
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
line, _ = listener.accept()
while head := line.recv(9, socket.MSG_WAITALL):
    size, checked = struct.unpack(">Q?", head)
    held = bytearray(size)
    line.recv_into(held, size, socket.MSG_WAITALL)
    line.sendall(hashlib.sha256(held).digest() if checked else bytes(32))
"""


def hand_over(line: socket.socket, image: Image, *, checked: bool) -> float:
    """The time of the same bytes over a plain socket to another process, where they are hashed or not."""
    start = time.perf_counter()
    line.sendall(struct.pack(">Q?", image.pixels.nbytes, checked))
    line.sendall(image.pixels.data)
    assert len(line.recv(32, socket.MSG_WAITALL)) == 32
    return time.perf_counter() - start


@pytest.mark.parametrize("side", [512, 2048])
def test_a_request_about_a_new_picture(both, report, neighbour, side):
    """At most 5 ms beyond what the picture's own bytes take, sent once by a plain socket and hashed where they arrive.

    Whoever takes pictures under a hash must compute it: a wrong one would stand in everybody's answers.
    """
    moved, checked, extra = [], [], []
    for turn in range(-WARM_UP, ROUNDS_NEW):
        image = picture(side, 1 + WARM_UP + turn)
        request = [DetectRequest(image=image, phrase="thing")]
        moved.append(hand_over(neighbour, image, checked=False))
        checked.append(hand_over(neighbour, image, checked=True))
        (here,) = seconds_of(both["here"]("detect"), "detect", request)
        (there,) = seconds_of(both["there"]("detect"), "detect", request)
        extra.append(there - here)
    moved, checked, extra = (times[WARM_UP:] for times in (moved, checked, extra))
    plain, hashed, overhead = (1e3 * float(np.median(times)) for times in (moved, checked, extra))
    beyond = 1e3 * float(np.median(np.subtract(extra, checked)))
    report(
        f"remote, new picture of {side * side * 3 / 2**20:.1f} MiB, medians of {ROUNDS_NEW}: {overhead:.1f} ms over in-process; plain "
        f"socket {plain:.1f} ms, and hashed {hashed:.1f} ms; beyond that {beyond:.1f} ms (least {1e3 * min(np.subtract(extra, checked)):.1f} ms)"
    )
    assert beyond <= 5
