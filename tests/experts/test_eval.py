"""Measuring experts: figures by hand, perfect and blind experts, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from visenv.leaderboard.expert_quality import Found, View, error_click, judge_finds, measure_segmenter
from visenv.leaderboard.experts_eval import EvalPlan, evaluate_experts, val_views
from visenv.tasks.emojiworld import EmojiCount, EmojiDense, EmojiReason, EmojiRef

from visenv.cli import main
from visenv.errors import BadValueError, ExpertError
from visenv.experts import Detections, Expert, ExpertSet, Request, Result, Segmentation
from visenv.masks import Mask

PLAN = EvalPlan(levels=(1,), scenes=1, absent=2)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [val_views(family(), 1, 1)[0] for family in (EmojiRef, EmojiReason, EmojiCount, EmojiDense)]


class Knowing(Expert):
    """Knows the objects of some pictures by heart; of those it does not, shrunk or cut ones, it finds nothing."""

    name = "knowing"
    version = "1"
    capabilities = frozenset({"detect", "segment"})
    mixed_sizes = True

    def __init__(self, views: Sequence[View], *, tell: bool = True) -> None:
        self.objects = {view.image.hash: view.objects for view in views}
        self.tell = tell
        self.phrases: set[str] = set()

    def run(self, requests: Sequence[Request]) -> list[Result]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Result:
        objects = self.objects.get(request.image.hash, ()) if self.tell else ()
        if request.capability == "segment":
            size_hw = request.image.size_wh[::-1]
            inside = [o for o in objects if request.box_xyxy in (None, o.target_box_xyxy)]
            for x, y in request.points_xy[:1]:
                inside = [o for o in inside if o.mask(size_hw).to_dense()[int(y), int(x)]]
            return Segmentation(mask=inside[0].mask(size_hw) if inside else Mask.empty(size_hw), score=1.0)
        self.phrases.add(request.phrase)
        boxes = [o.target_box_xyxy for o in objects if o.category == request.phrase]
        return Detections(
            boxes_xyxy=np.array(boxes, float).reshape(-1, 4),
            scores=np.ones(len(boxes)),
            labels=(request.phrase,) * len(boxes),
        )


def test_a_perfect_expert_is_perfect(views: list[View]) -> None:
    knowing, ticks = Knowing(views), []
    experts = ExpertSet({"detect": knowing, "segment": knowing})
    rows = {(r.what, r.part): r for r in evaluate_experts(experts, PLAN, tick=lambda: ticks.append(1))}
    assert len(ticks) == PLAN.num_steps(experts)
    for part in ("EmojiRef", "EmojiReason", "EmojiCount", "EmojiDense", "all"):
        figures = rows["detector", part].figures
        assert [figures[k] for k in ("map50", "any_recall", "precision", "recall", "f1")] == pytest.approx([1.0] * 5)
    assert rows["detector", "all"].figures["objects"] == sum(len(view.objects) for view in views)
    assert [rows["dense", way].figures["f1"] for way in ("native", "resized", "sliced")] == [1.0, 0.0, 0.0]
    assert [rows["dense", way].side_px for way in ("native", "resized", "sliced")] == [1024, 768, 512]
    for part in ("box", "click"):
        assert rows["segmenter", part].figures["miou"] == pytest.approx((1.0,) * 4)


def test_a_blind_expert_has_no_figures_but_zero(views: list[View]) -> None:
    blind = Knowing(views, tell=False)
    rows = list(evaluate_experts(ExpertSet({"detect": blind}), PLAN))
    assert {r.what for r in rows} == {"detector", "dense"}
    assert all(r.figures["map50"] == r.figures["any_recall"] == r.figures["f1"] == 0.0 for r in rows)
    assert all(r.figures["precision"] is None for r in rows)
    shown = {name for view in views for name in view.names}
    assert shown < blind.phrases and len(blind.phrases) <= len(shown) + 2 * len(views) + 1


def test_no_picture_is_timed_after_it_was_seen() -> None:
    class Watching(Knowing):
        seen: set[str]

        def run(self, requests: Sequence[Request]) -> list[Result]:
            if len({r.phrase for r in requests}) == 1:  # a first question: those that follow come together
                again.extend(r.image.size_wh for r in requests if r.image.hash in self.seen)
            self.seen.update(r.image.hash for r in requests)
            return super().run(requests)

    again: list[tuple[int, int]] = []
    watching = Watching([])
    watching.seen = set()
    rows = list(evaluate_experts(ExpertSet({"detect": watching}), EvalPlan(levels=(1,), scenes=1, absent=5)))
    assert [r.part for r in rows if r.what == "dense"] == ["resized", "native", "sliced"]
    assert watching.seen and not again


def test_a_failing_expert_is_no_figure(views: list[View]) -> None:
    class Failing(Knowing):
        def answer(self, request: Request) -> Result:
            raise ExpertError("out of order")

    with pytest.raises(ExpertError, match="out of order"):
        list(evaluate_experts(ExpertSet({"segment": Failing(views)}), PLAN))


def test_figures_by_hand(views: list[View]) -> None:
    distinct = {o.category: o for o in views[0].objects}
    view = View(image=views[0].image, objects=tuple(distinct.values()))
    boxes = np.array([o.target_box_xyxy for o in view.objects])
    names = [o.category for o in view.objects]
    count = len(names)
    assert count >= 4

    def judged(names: list[str], boxes: np.ndarray, scores: list[float]) -> tuple[float | None, ...]:
        found = Found(boxes_xyxy=boxes, scores=np.array(scores), names=tuple(names), seconds=0.01, cpu_seconds=0.02)
        f = judge_finds([view], [found], threshold=0.5)
        assert (f.ms, f.cpu_ms) == (10.0, 20.0)
        return round(f.map50 or 0.0, 9), f.any_recall, f.precision, f.recall

    half = [0.9, *[0.4] * (count - 1)]
    assert judged(names, boxes, half) == (1.0, 1.0, 1.0, 1 / count), "the threshold is not for average precision"
    assert judged(names[::-1], boxes, [0.9] * count)[1] == 1.0, "whatever the name"
    twice = judged([*names, names[0]], np.concatenate([boxes, boxes[:1]]), [0.9] * count + [0.8])
    assert twice == (1.0, 1.0, count / (count + 1), 1.0), "an object is found once"
    assert judged(names, boxes + 500, [0.9] * count) == (0.0, 0.0, 0.0, 0.0)


def test_clicks_go_where_the_mask_is_most_wrong() -> None:
    truth = np.zeros((40, 60), bool)
    truth[5:35, 5:35] = True
    assert error_click(truth, truth)[2]
    mask = truth.copy()
    mask[10:30, 40:55] = True
    x, y, positive = error_click(mask, truth)
    assert 40 <= x < 55 and 10 <= y < 30 and not positive
    mask[5:35, 5:35] = False
    x, y, positive = error_click(mask, truth)
    assert truth[int(y), int(x)] and positive


def test_a_segmenter_is_asked_again_with_clicks(views: list[View]) -> None:
    class Refining(Knowing):
        def answer(self, request: Request) -> Result:
            if len(request.points_xy) < 2:
                return Segmentation(mask=Mask.empty(request.image.size_wh[::-1]), score=0.0)
            assert request.previous is not None and request.points_positive == (True, True)
            return super().answer(request)

    found = measure_segmenter(Refining(views), views[:1], clicks=2, per_picture=2)
    assert found.objects == 2 and found.miou == pytest.approx((0.0, 0.0, 1.0))


def test_views_are_the_tasks_own_pictures(views: list[View]) -> None:
    sample = EmojiCount().sample("val", 1, 0)
    assert views[2].image == sample.images[0] and len(views[2].objects) <= sample.meta["num_objects"][0]
    assert set(sample.target.boxes_xyxy) <= {o.target_box_xyxy for o in views[2].objects}


def test_plans() -> None:
    assert EvalPlan(scenes=17).count(EmojiDense()) == 3 and EvalPlan(scenes=17).count(EmojiRef()) == 17
    with pytest.raises(BadValueError, match="scenes"):
        EvalPlan(scenes=0)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = "experts eval --level 1 --scenes 1 --absent 1"
    with pytest.raises(SystemExit) as end:
        main([*words.split(), "--json"])
    said = capsys.readouterr()
    assert end.value.code == 0 and "detect: embedded-detector@" in said.err
    result = json.loads(said.out)
    assert set(result) == {"experts", "plan", "rows"} and result["plan"]["levels"] == [1]
    assert [(r["what"], r["part"]) for r in result["rows"]] == [
        *(("detector", p) for p in ("EmojiRef", "EmojiReason", "EmojiCount", "EmojiDense", "all")),
        *(("dense", p) for p in ("resized", "native", "sliced")),
        *(("segmenter", p) for p in ("box", "click")),
    ]
    by_part = {r["part"]: r for r in result["rows"]}
    assert by_part["all"]["map50"] > 0.9 and by_part["sliced"]["f1"] > 0.9
    with pytest.raises(SystemExit) as end:
        main(words.split())
    said = capsys.readouterr()
    assert end.value.code == 0 and "mAP50" in said.out and "\x1b" not in said.out and "EmojiDense" in said.out
    assert said.out.count("asked for the categories shown and 1 others\n") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--experts", "embeded"], "embedded"), (["--scenes", "0"], "--scenes"), (["--level", "4"], "--level")],
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["experts", "eval", *words])
    assert end.value.code == 2 and said in capsys.readouterr().err
