"""The oracle gets what each profile gives a task's own targets; who submits nothing gets what the official code gives for that."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import pytest
from visenv.leaderboard.cast import Grant
from visenv.tasks.benchmark import Benchmark
from visenv.tasks.profiles import PROFILES, blink, muirbench_official

from visenv import Answer, AnswerKind, Episode, EpisodeSpec, VisenvEnv, make_agent, plugins
from visenv.experts import ExpertSet
from visenv.task import Metrics, Profile, Sample, Task, profiles_of
from visenv.testing._profile import perfect_answer

SPECS = [*plugins.names("tasks"), "COCO:mode=segment", "COCO:mode=count"]
FEW = 6
"""Samples of a task that makes them, whose split has hundreds."""


def zeros(*names: str) -> Metrics:
    return dict.fromkeys(names, 0.0)


AP = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
BOXES = tuple(f"{m}{at}" for m in ("P", "R", "F1") for at in ("@0.5", "@0.95", "_mean"))
GRES = ("gIoU", "cIoU", "T_acc", "N_acc", "Pr@0.7", "Pr@0.8", "Pr@0.9")
RES = ("mIoU", "oIoU", "Pr@0.5", "Pr@0.6", "Pr@0.7", "Pr@0.8", "Pr@0.9")

NOTHING: dict[str, Metrics] = {
    "blink/micro": zeros("accuracy", "parsed"),
    "blink/official": zeros("Total", "parsed", *blink.TASKS),  # evaluate.py: a missing prediction is not the answer
    "coco/ap": zeros(*AP),  # COCOeval: no detections
    "dense200/rexomni": zeros(*BOXES),  # other_metric.py: no predictions, precision and recall are 0
    "dense200/visharness": zeros(*BOXES),
    "grec/iou": zeros("F1_score", "N_acc", "T_acc"),
    "grec/mdetr": zeros("F1_score", "N_acc", "T_acc"),  # a failure is no declared "no target": N_acc is 0
    "gres/gsva": zeros("gIoU", "cIoU", "T_acc", "N_acc"),
    "gres/native": zeros(*GRES),
    "gres/rela": zeros(*GRES),
    "hrbench/letter": zeros("accuracy", "FSP", "FCP", "parsed"),
    "muirbench/official": zeros("accuracy", "parsed", *muirbench_official.TASKS),
    "multiqa/accuracy": zeros("accuracy", "parsed"),
    "reasonseg/lisa": zeros("gIoU", "cIoU"),
    "reasonseg/segzero": zeros("gIoU"),  # evaluation.py: I = 0, U = the target
    "reasonseg/segzero-multi": zeros("gIoU", "box_accuracy"),
    "reasonseg/visionreasoner": zeros("gIoU", "cIoU", "box_accuracy"),
    "refcoco/box": zeros("Acc@0.5"),  # evaluate_grounding.py: what cannot be read is a box without area
    "refcoco/lavt480": zeros(*RES),
    "refcoco/native": zeros(*RES),
    "visdrone/coco": zeros(*(name.replace("100", "500") for name in AP)),
    "visdrone/rexf1": zeros(*BOXES),
    "visdrone/toolkit": zeros("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500"),
    "vstar/letter": zeros("accuracy", "parsed", "direct_attributes", "relative_position"),
    "vstar/likelihood": zeros("accuracy", "parsed", "direct_attributes", "relative_position"),
}
"""What each profile gives an agent that never submits, from the official code's description; ``rec8k/official`` is below."""
COUNTING = {"REC8K": (290, 14_854, 16), "EmojiCount": (26, 142, 6), "COCO:mode=count": (19, 29, 14)}
"""``rec8k/official``: nothing submitted errs by as many as there are, and by one where there is none; the sum of that over the
samples, the sum of its squares, and how many samples there are."""
BY_HAND = {"reasonseg/segzero-multi": "ReasonSeg", "vstar/likelihood": "VStar"}
"""Profiles that no task has, which ``visenv score`` alone uses."""

Act = Callable[[VisenvEnv, Episode], object]


def oracle(env: VisenvEnv, episode: Episode) -> object:
    """Act as the shipped oracle does with the runner's own grant."""
    spec = EpisodeSpec(
        task=env.task.name, split=env.split, level=env.level, kind=env.task.kind, toolset=episode.toolset,
        max_turns=env.rules.max_turns, seed=0, privilege=Grant(episode, may_register=True),
    )  # fmt: skip
    return make_agent("oracle").start(spec).act(episode.observe())


def silence(env: VisenvEnv, episode: Episode) -> object:
    """Say nothing that could be a call; the only turn is over."""
    return ""


def played(spec: str, act: Act) -> Iterator[tuple[Sample, Answer | None, float]]:
    """Play every sample of the default split in one turn each, without any expert."""
    env = VisenvEnv(spec, experts=ExpertSet({}), max_turns=1)
    size = env.task.num_samples(env.split, env.level) if reads_data(env.task) else FEW
    for index in range(size or 0):
        env.reset(options={"index": index})
        episode = env.episode
        assert episode is not None
        *_, info = env.step(act(env, episode))
        assert info["reason"] == ("submitted" if act is oracle else "turn_limit"), info
        yield episode.sample, episode.answer, info["score"]


def reads_data(task: Task) -> bool:
    return isinstance(getattr(task, "task", task), Benchmark)


def scored(profile: Profile, answers: list[tuple[Sample, Answer | None]]) -> Metrics:
    """Aggregate one profile's rows as records have them."""
    return profile.aggregate([json.loads(json.dumps(profile.row(sample.target, answer))) for sample, answer in answers])


@pytest.mark.parametrize("spec", SPECS)
def test_the_oracle_gets_what_every_profile_gives_the_targets_themselves(spec):
    task = VisenvEnv(spec, experts=ExpertSet({})).task
    found = list(played(spec, oracle))
    assert len(found) >= FEW
    for sample, _, score in found:
        own = task.profile.primary(task.profile.row(sample.target, perfect_answer(sample.target)))
        assert score == own and abs(own - 1) < 1e-12, "primary scores are at native resolution: the truth is perfect"
    for profile in profiles_of(task):
        got = scored(profile, [(sample, answer) for sample, answer, _ in found])
        own_value = scored(profile, [(sample, perfect_answer(sample.target)) for sample, _, _ in found])
        assert set(got) == set(own_value)
        for name, value in own_value.items():
            assert got[name] == (None if value is None else pytest.approx(value, abs=1e-12, rel=0)), (
                profile.name,
                name,
            )
        assert any(value is not None for value in got.values())


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_submitted_gets_the_official_value(spec):
    task = VisenvEnv(spec, experts=ExpertSet({})).task
    found = list(played(spec, silence))
    assert all(answer is None and score == 0 for _, answer, score in found)
    for profile in profiles_of(task):
        nothing = scored(profile, [(sample, None) for sample, _, _ in found])
        truth = scored(profile, [(sample, perfect_answer(sample.target)) for sample, _, _ in found])
        wanted = NOTHING[profile.name] if task.kind is not AnswerKind.COUNT else counting(spec)
        assert set(nothing) == set(wanted)
        for name, value in wanted.items():
            undefined = value is None or truth[name] is None  # no sample of that kind
            assert nothing[name] == (None if undefined else pytest.approx(value, abs=1e-12)), (profile.name, name)


def counting(spec: str) -> Metrics:
    """Return the errors of one who counts nothing; without boxes there is no precision."""
    errors, squares, size = COUNTING[spec]
    mean, root = errors / size, math.sqrt(squares / size)
    undefined: Metrics = dict.fromkeys(("precision", "recall", "F1"))
    return {"MAE": mean, "RMSE": root, "MAE_true": mean, "RMSE_true": root, **undefined}


@pytest.mark.parametrize(("name", "spec"), BY_HAND.items(), ids=list(BY_HAND))
def test_nothing_gets_the_official_value_of_profiles_for_files(name, spec):
    found = list(played(spec, silence))
    profile = PROFILES[name]
    assert scored(profile, [(sample, None) for sample, _, _ in found]) == NOTHING[name]
    assert all(profile.primary(profile.row(s.target, perfect_answer(s.target))) > 0 for s, _, _ in found)


def test_every_profile_is_looked_at():
    of_tasks = {p.name for spec in SPECS for p in profiles_of(VisenvEnv(spec, experts=ExpertSet({})).task)}
    assert of_tasks.isdisjoint(BY_HAND)
    assert of_tasks | set(BY_HAND) == {*NOTHING, "rec8k/official"} >= set(PROFILES)
