"""Reward mixes: what their terms give, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visenv.answers import Answer, AnswerKind, Target
from visenv.errors import BadValueError
from visenv.rewards import REWARDS, StepFacts, make_reward

BOXES = ((0, 0, 10, 10), (20, 20, 30, 30), (40, 0, 50, 10))
POINTS = ((5.0, 5.0), (25.0, 25.0), (45.0, 5.0))
NONE = Answer(no_target=True)


def facts(
    answer: Answer | None, *, kind: AnswerKind = AnswerKind.COUNT, score: float = 0.0, **target: Any
) -> StepFacts:
    return StepFacts(
        target=Target(kind=kind, size_hw=(60, 60), **target), turn=2, valid=True, well_formed=True, ended=True, submitted=answer is not None,
        answer=answer, score=score, gain=0.0, best=0.0, tools_used=1,
    )  # fmt: skip


@pytest.mark.parametrize("truth", [{"boxes_xyxy": BOXES}, {"points_xy": POINTS}], ids=["boxes", "points"])
@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        (Answer(count=3), 5.0),
        (Answer(boxes_xyxy=BOXES), 5.0),
        (Answer(count=4), 5 - 8 / 3),
        (Answer(count=100), -3.0),
        (NONE, -3.0),
        (None, -3.0),
    ],
    ids=["right", "boxes", "one more", "far off", "none", "nothing submitted"],
)
def test_visharness_counts_what_there_is(truth: dict[str, Any], answer: Answer | None, reward: float) -> None:
    assert make_reward("visharness")(facts(answer, **truth))[0] == pytest.approx(reward)


@pytest.mark.parametrize(
    ("answer", "reward"), [(NONE, 5.0), (Answer(count=0), 5.0), (Answer(count=2), 1.0), (Answer(count=9), -3.0)]
)
def test_visharness_where_nothing_is(answer: Answer, reward: float) -> None:
    assert make_reward("visharness")(facts(answer))[0] == reward


@pytest.mark.parametrize("score", [0.0, 0.25, 1.0])
def test_visharness_of_masks(score: float) -> None:
    assert make_reward("visharness")(facts(NONE, kind=AnswerKind.MASK, score=score))[0] == 8 * score - 3


@pytest.mark.parametrize("truth", [{"boxes_xyxy": BOXES}, {"points_xy": POINTS}], ids=["boxes", "points"])
@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (Answer(boxes_xyxy=BOXES), 1.0),
        (Answer(boxes_xyxy=BOXES[:1]), 0.5),
        (Answer(boxes_xyxy=(BOXES[0],) * 3), 1 / 3),
        (Answer(boxes_xyxy=((0, 0, 60, 60), BOXES[0])), 0.8),  # the large one is left for another point
        (Answer(boxes_xyxy=((10, 10, 11, 11),) * 3), 0.0),
        (Answer(count=3), 0.0),
        (Answer(count=-3), 0.0),
        (Answer(points_xy=POINTS), 0.0),
        (Answer(boxes_xyxy=BOXES * 5, count=3), 2 * 3 / 18),
        (NONE, 0.0),
        (None, 0.0),
    ],
)
def test_counting_in_the_right_places(truth: dict[str, Any], answer: Answer | None, f1: float) -> None:
    reward, terms = make_reward("visharness:localisation=2")(facts(answer, **truth))
    assert terms["localisation"] == pytest.approx(2 * f1) and reward == pytest.approx(sum(terms.values()))
    assert "localisation" not in make_reward("visharness")(facts(answer, **truth))[1]


def test_nowhere_is_the_right_place_of_nothing() -> None:
    reward = make_reward("visharness:localisation=1")
    assert [
        reward(facts(a))[1]["localisation"] for a in (NONE, Answer(count=0), Answer(count=1), Answer(boxes_xyxy=BOXES))
    ] == [1, 1, 0, 0]


@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 60)] * 4), max_size=8),
    points=st.lists(st.tuples(*[st.integers(0, 60)] * 2), max_size=8),
)
def test_localisation_is_a_share(boxes: Any, points: Any) -> None:
    answer = Answer(boxes_xyxy=tuple(boxes)) if boxes else NONE
    (_, terms) = make_reward("visharness:localisation=1")(facts(answer, points_xy=tuple(points)))
    assert 0 <= terms["localisation"] <= 1
    assert (terms["localisation"] == 0) or boxes or not points


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("kind", AnswerKind)
@pytest.mark.parametrize("answer", [None, NONE, Answer(count=1), Answer(boxes_xyxy=BOXES), Answer(choice="A")], ids=str)
def test_every_reward_is_the_sum_of_its_terms(name: str, kind: AnswerKind, answer: Answer | None) -> None:
    reward, terms = make_reward(name)(facts(answer, kind=kind, score=0.5))
    assert reward == pytest.approx(sum(terms.values())) and type(reward) is float


@pytest.mark.parametrize(
    "spec", ["visharness:localization=1", "visharness:localisation=much", "visharness:localisation=true"]
)
def test_options_that_are_none(spec: str) -> None:
    with pytest.raises(BadValueError):
        make_reward(spec)
