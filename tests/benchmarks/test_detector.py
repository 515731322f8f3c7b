"""How long the embedded detector looks at a picture of 512 px, on one core.

taskset -c 0 pytest tests/benchmarks/test_detector.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from visenv.leaderboard.experts_eval import val_views
from visenv.tasks.emojiworld import EmojiRef

from visenv.experts.embedded import DetectorNetwork

PICTURES, ROUNDS = 16, 5


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_picture_of_512_px(benchmark, report, level: int) -> None:
    network = DetectorNetwork()
    pictures = [view.image.pixels for view in val_views(EmojiRef(), level, PICTURES)]
    assert all(pixels.shape == (512, 512, 3) for pixels in pictures)
    medians_ms: list[float] = []

    def look() -> None:
        seconds = []
        for pixels in pictures:
            start = time.perf_counter()
            assert len(network.find(pixels).boxes)
            seconds.append(time.perf_counter() - start)
        medians_ms.append(1000 * float(np.median(seconds)))

    benchmark.pedantic(look, rounds=ROUNDS, warmup_rounds=1)
    rounds = medians_ms[-ROUNDS:]
    listed = ", ".join(f"{r:.1f}" for r in rounds)
    report(
        f"embedded detector, level {level}: best of {ROUNDS} rounds {min(rounds):.1f} ms a picture of 512 px ({listed})"
    )
