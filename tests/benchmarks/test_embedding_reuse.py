"""What keeping embeddings is worth: eight rollouts of five clicks over one picture, against the package's own predictor.

pytest tests/benchmarks/test_embedding_reuse.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from visenv import Episode, Expert, ExpertSet, Rules, make_task
from visenv.drivers import drive_all
from visenv.experts import Request, Result
from visenv.toolsets import FULL

NUM_ROLLOUTS, NUM_CLICKS = 8, 5
FASTER = 3.5
"""Than one ``set_image`` per rollout, which a careful user writes."""


class Recorder(Expert):
    """Passes requests on, and keeps them with the results."""

    name, version = "recorder", "1"
    capabilities = frozenset({"segment"})
    mixed_sizes, batch_pixels = True, 2**62

    def __init__(self, inner: Expert) -> None:
        self.inner = inner
        self.rounds: list[list[tuple[Request, Result]]] = []

    def run(self, requests: Sequence[Request]) -> list[Result]:
        results = self.inner.run(requests)
        self.rounds.append(list(zip(requests, results, strict=True)))
        return results


@pytest.fixture(scope="module")
def model():
    """SAM 2.1 tiny, random weights; in one thread: threads that wait for a core in use elsewhere would blur what is compared."""
    pytest.importorskip("sam2", reason="needs the extra visenv[sam2]")
    import torch
    from sam2.build_sam import build_sam2

    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    torch.set_num_threads(before)


def play(expert: Expert, sample, task) -> Iterator[None]:
    """Play all rollouts side by side, a click each per round: each one's own clicks, first on nothing, then on what it has."""
    experts = ExpertSet({"segment": expert})
    episodes = [Episode(sample, profile=task.profile, rules=Rules(toolset=FULL)) for _ in range(NUM_ROLLOUTS)]
    rng = np.random.default_rng(0)
    for turn in range(NUM_CLICKS):
        calls = []
        for _ in episodes:
            x, y = rng.integers(100, 900, 2).tolist()
            if turn:
                sign = "positive" if turn % 2 else "negative"
                calls.append(
                    {"name": "refine", "arguments": {"object": 0, "image": "img_0", "x": x, "y": y, "sign": sign}}
                )
            else:
                calls.append({"name": "segment_point", "arguments": {"image": "img_0", "x": x, "y": y}})
        drive_all([episode.play(call) for episode, call in zip(episodes, calls, strict=True)], experts)
        yield
    assert all(episode.turns[-1].error is None for episode in episodes)


class Clock:
    """Adds up seconds by the wall, and of CPU time: with one thread, what the wall says on a core that nobody else uses."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


def answer_plainly(predictor, expert, requests, embedding: Clock) -> list[np.ndarray]:
    """Answer a rollout's requests with one ``set_image``, as a careful user of the package writes it who refines binary masks."""
    with embedding:
        predictor.set_image(requests[0].image.pixels.copy())
    masks = []
    for request in requests:
        found, scores, _ = predictor.predict(
            np.array(request.points_xy), np.array(request.points_positive, int),
            None if request.box_xyxy is None else np.array(request.box_xyxy),
            request.previous and expert.mask_to_logits(request.previous)[0].numpy(), multimask_output=request.previous is None,
        )  # fmt: skip
        masks.append(found[scores.argmax()] > 0)
    return masks


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")
def test_rollouts_over_one_picture_share_its_embedding(model, report):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from visenv.experts.sam2 import Sam2Segmenter

    task = make_task("EmojiReason")
    sample = next(s for i in range(50) if (s := task.sample("val", 2, i)).images[0].size_wh == (512, 512))
    predictor = SAM2ImagePredictor(copy.deepcopy(model))
    known = Recorder(Sam2Segmenter(model, device="cpu"))
    list(play(known, sample, task))  # what the rollouts ask for; and both have run before anything is measured
    rollouts = [[one[k][0] for one in known.rounds] for k in range(NUM_ROLLOUTS)]
    assert len({request.key() for requests in rollouts for request in requests}) == NUM_ROLLOUTS * NUM_CLICKS
    answer_plainly(predictor, known.inner, rollouts[0][:1], Clock())

    # Turn by turn, so that what else the machine does weighs on both.
    ours, theirs, embedding = Clock(), Clock(), Clock()
    recorder = Recorder(Sam2Segmenter(model, device="cpu"))
    rounds, left, masks = play(recorder, sample, task), iter(rollouts), []
    for share in (2, 2, 2, 1, 1):
        with ours:
            next(rounds)
        with theirs:
            for requests in itertools.islice(left, share):
                masks += answer_plainly(predictor, known.inner, requests, embedding)
    given = [one[k][1].mask.to_dense() for k in range(NUM_ROLLOUTS) for one in recorder.rounds]
    assert len(masks) == NUM_ROLLOUTS * NUM_CLICKS and all(map(np.array_equal, given, masks))
    more = (NUM_CLICKS - 1) * embedding.cpu  # what a set_image per click would cost on top, reckoned
    report(
        f"SAM 2.1 tiny, {NUM_ROLLOUTS} rollouts x {NUM_CLICKS} clicks, 512 px, one thread: {ours.cpu:.1f} s behind the tools ({ours.wall:.1f} s by the "
        f"wall), {theirs.cpu:.1f} s ({theirs.wall:.1f} s) with a set_image ({embedding.cpu / NUM_ROLLOUTS:.2f} s) per rollout: "
        f"{theirs.cpu / ours.cpu:.1f} times ({theirs.wall / ours.wall:.1f} by the wall); with one per click: {(theirs.cpu + more) / ours.cpu:.1f} times"
    )
    assert theirs.cpu / ours.cpu >= FASTER
