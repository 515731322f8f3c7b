"""The same question with its pictures in another order: for training (PeRL's idea) and for measuring what order changes.

What is permuted: the pictures of a sample of kind ``choice`` with two or more of them. Letters and their options stay where they
are, so the right letter stays right. In the instruction and the option texts, what refers to a picture by its place is
rewritten to its new place: names (``img_0``), numbers (``image 2``, ``Image #2``, ``Figure 2``) and ordinals of one picture
(``the first image``, ``2nd picture``). The pictures are named ``img_0``, ``img_1``, … in the order shown, as always.

What keeps its order: everything else. A question with words such as "left", "next", "last", "before", "sequence", with an
ordinal of anything but one picture ("the first shows …", "the first two images", "a first person image"), with a list or a
letter ("images 1 and 2", "image B"), with ``<image>`` tags, or with a number that no picture has, may hang on the order in ways
that no rule rewrites safely; its sample is returned as it is, with ``meta["order"]`` the given one. A question without any
reference may still mean "the first is the reference" silently: look at ``meta["order"]`` and at the data before training on it.

Source: PeRL (arXiv 2506.14907) permutes the pictures of multi-image prompts; its code is not public, the rewriting is ours.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import gymnasium as gym

from .answers import AnswerKind
from .env import VisenvEnv
from .episode import Observation
from .errors import bad_value
from .task import Profile, Sample, Task
from .tools import ToolCall

__all__ = ["PermuteImages", "PermutedTask", "consistency", "permute_images"]

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
NTH_DIGITS = r"\d+(?:st|nd|rd|th)"
KINDS = "image|picture|photo|photograph|figure|painting"
NOUN = rf"(?:{KINDS})s?"
SINGLE = (
    rf"\s+(?:(?:given|reference|input|query|source|target)\s+)?(?:{KINDS})\b"
    r"(?!\s+(?:pair|set|group|series|row|column|half)s?\b)"
)
"""What may follow an ordinal that means one picture: "first two images" and "first person image" mean something else."""
NAME = re.compile(r"\bimg_(\d+)\b")
NUMBER = re.compile(rf"\b((?:{KINDS})[ \t]*(?:#|no\.|number)?[ \t]*)(\d+)\b(?![.,]\d)", re.IGNORECASE)
ORDINAL = re.compile(rf"(?<![\w-])({'|'.join(ORDINALS)})({SINGLE})", re.IGNORECASE)
NTH = re.compile(rf"(?<![\w-])(\d+)(?:st|nd|rd|th)({SINGLE})", re.IGNORECASE)
UNSAFE = re.compile(
    rf"<image>|\b(?:{'|'.join(ORDINALS)}|last|final|next|previous|former|latter|initial|left|right|top|bottom|middle|upper|lower"
    r"|before|after|between|order|sequence|sequential|sequentially|consecutive|chronological|start|begin|beginning|end"
    rf"|{NTH_DIGITS})\b|\b{NOUN}\s*(?:#|no\.|number)?\s*\(?\d",
    re.IGNORECASE,
)
"""Looked for in what is left when references that can be rewritten are gone."""
LIST = re.compile(
    rf"\b{NOUN}[ \t]*(?:#|no\.|number)?[ \t]*"
    r"(?:\d+\s*(?:,|and|or|to|&|-|–|/)\s*\d|\(?(?:[a-j]|one|two|three|four|five|six)\b)"
    rf"|\b(?:an?|one|another|each|every|any)\s+(?:{'|'.join(ORDINALS)}|{NTH_DIGITS})\b",
    re.IGNORECASE,
)
"""``images 1 and 2``, ``image B``, ``image two``, ``every second image``: what is not rewritten."""
HOLD = "\x02"
"""Stands before a reference that has been rewritten, while the rest of the text is looked at."""


def permute_images(sample: Sample, seed: int) -> Sample:
    """Return a sample with its pictures in an order that depends on nothing but the sample's id and ``seed``.

    Args:
        sample: Of any kind; see the module for what is left as it is.
        seed: 0 is the given order.

    Returns:
        The sample; ``meta["order"]`` tells for each place which picture of the given order is shown there.
    """
    number = len(sample.images)
    order = _order(sample.id, number, seed)
    given = tuple(range(number))
    texts = [sample.instruction, *sample.target.options]
    if sample.target.kind is not AnswerKind.CHOICE or order == given:
        return replace(sample, meta={**sample.meta, "order": given})
    places = {old: new for new, old in enumerate(order)}
    written = [_rewritten(text, places) for text in texts]
    if any(text is None for text in written):
        return replace(sample, meta={**sample.meta, "order": given})
    instruction, *options = (text or "" for text in written)
    images = tuple(sample.images[k] for k in order)
    return replace(
        sample, images=images, instruction=instruction, meta={**sample.meta, "order": order},
        files=tuple(sample.files[k] for k in order) if sample.files else (),
        target=replace(sample.target, options=tuple(options), size_hw=images[0].size_wh[::-1]),
    )  # fmt: skip


class PermutedTask:
    """A task whose samples are shown in several orders of their pictures.

    Sample ``orders * i + k`` is sample ``i`` of the task in order ``k``; order 0 is the given one. All orders of a question are
    one ``cluster``, as they were; ``meta["given"]`` is the id of the sample of the task. Its name is the task's with ``Orders`` behind it; to register one, make a subclass with the
    attributes of a task and a constructor without arguments, as ``visenv.tasks.orders`` does.

    Example:
        >>> from visenv import make_task
        >>> task = PermutedTask(make_task("EmojiMulti"), orders=4)
        >>> task.num_samples("val", 1)
        2000
    """

    name: ClassVar[str]
    version: ClassVar[str]
    kind: ClassVar[AnswerKind]
    max_turns: ClassVar[int]
    splits: ClassVar[tuple[str, ...]]
    levels: ClassVar[tuple[int, ...]]
    profile: ClassVar[Profile]

    def __init__(self, task: Task, *, orders: int = 4, seed: int = 0) -> None:
        """Wrap a task.

        Args:
            task: Of multiple-choice questions; samples of other kinds stay as they are.
            orders: How many orders of each question, the given one among them. A question of few pictures repeats some.
            seed: Another seed gives other orders.

        Raises:
            BadValueError: ``orders`` is less than 1.
        """
        if isinstance(orders, bool) or not isinstance(orders, int) or orders < 1:
            raise bad_value("orders", orders, expected="an integer of at least 1")
        self.task, self.orders, self.seed = task, orders, seed
        own = {"name": f"{task.name}Orders"}
        for attribute in ("name", "version", "kind", "max_turns", "splits", "levels", "profile"):
            if not hasattr(type(self), attribute):  # a subclass has them itself
                setattr(self, attribute, own.get(attribute, getattr(task, attribute)))

    def num_samples(self, split: str, level: int) -> int | None:
        """Return how many samples there are: ``orders`` for each question."""
        size = self.task.num_samples(split, level)
        return None if size is None else size * self.orders

    def sample(self, split: str, level: int, index: int) -> Sample:
        """Return one question in one order.

        Raises:
            UnknownNameError: The task has no such split or level.
            BadValueError: ``index`` is outside the split.
        """
        size = self.num_samples(split, level)
        if isinstance(index, bool) or not isinstance(index, int) or index < 0 or (size is not None and index >= size):
            end = "on" if size is None else f"to {size - 1}"
            raise bad_value("index", index, expected=f"an integer from 0 {end}, of split {split!r}")
        question, order = divmod(index, self.orders)
        given = self.task.sample(split, level, question)
        shown = permute_images(given, 0 if order == 0 else 1 + self.seed * 10_000 + order)
        meta = {**shown.meta, "given": given.id}
        return replace(shown, id=f"{self.name}/{split}/{level}/{index}", task=self.name, index=index, meta=meta)


class PermuteImages(gym.Wrapper[Observation, ToolCall, Observation, ToolCall]):
    """Show the pictures of each episode in another order.

    The order is drawn at every ``reset`` from the wrapper's own generator: equal seeds give equal orders. ``reset(seed=…)`` seeds
    it again, so that a seed determines the sample and its order. ``info["order"]`` tells for each place which picture of the
    given order is there.

    Example:
        >>> import gymnasium as gym
        >>> env = PermuteImages(gym.make("visenv/EmojiMulti-v0"), seed=1)
        >>> _, info = env.reset(seed=3)
        >>> sorted(info["order"]) == list(range(len(info["order"])))
        True
    """

    def __init__(self, env: gym.Env[Observation, ToolCall], *, seed: int = 0) -> None:
        """Wrap an environment of visenv.

        Raises:
            BadValueError: It is none.
        """
        super().__init__(env)
        if not isinstance(env.unwrapped, VisenvEnv):
            raise bad_value("env", env, expected="an environment of visenv, such as gym.make('visenv/EmojiMulti-v0')")
        self._seed = seed
        self._draws = random.Random(seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode whose pictures are in an order of its own."""
        if seed is not None:
            self._draws = random.Random(f"{self._seed}/{seed}")
        inner = self.env.unwrapped
        assert isinstance(inner, VisenvEnv)
        task = inner.task
        inner.task = cast(Task, _Once(task, self._draws.getrandbits(32) + 1))
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        finally:
            inner.task = task
        assert inner.episode is not None
        return observation, {**info, "order": inner.episode.sample.meta["order"]}


class _Once:
    """A task for one reset: everything is the task's own, but for the order of pictures."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._order_seed = task, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def sample(self, split: str, level: int, index: int) -> Sample:
        return permute_images(self._task.sample(split, level, index), self._order_seed)


def consistency(questions: Sequence[Hashable], scores: Sequence[float]) -> dict[str, float | None]:
    """Say how much answers hang on the order of the pictures.

    Args:
        questions: Of each answer, which question it is an answer to.
        scores: Primary score of each answer; 1 is right.

    Returns:
        ``accuracy`` over all answers; ``all_right``: share of questions that are right in every order; ``any_right``: in at least
        one; ``consistent``: right in every order or in none. ``None`` without answers.

    Example:
        >>> consistency(["a", "a", "b", "b"], [1, 1, 1, 0])
        {'accuracy': 0.75, 'all_right': 0.5, 'any_right': 1.0, 'consistent': 0.5}
    """
    by_question: dict[Hashable, list[bool]] = {}
    for question, score in zip(questions, scores, strict=True):
        by_question.setdefault(question, []).append(score == 1)
    answers = list(by_question.values())
    if not answers:
        return dict.fromkeys(("accuracy", "all_right", "any_right", "consistent"))
    every, some = sum(map(all, answers)), sum(map(any, answers))
    return {
        "accuracy": sum(map(sum, answers)) / len(scores),
        "all_right": every / len(answers),
        "any_right": some / len(answers),
        "consistent": (len(answers) - some + every) / len(answers),
    }


def _order(name: str, number: int, seed: int) -> tuple[int, ...]:
    """Return an order of ``number`` places; for a seed other than 0 never the given one, if there is another."""
    given = tuple(range(number))
    if seed == 0 or number < 2:
        return given
    digest = hashlib.sha256(f"{name}\0{seed}".encode()).digest()
    draws = random.Random(int.from_bytes(digest, "big"))
    order = given
    while order == given:
        order = tuple(draws.sample(given, number))
    return order


def _rewritten(text: str, places: dict[int, int]) -> str | None:
    """Return the text with every reference to a picture moved to its new place; ``None`` if that cannot be done safely."""
    missing = False

    def moved(number: int) -> int:
        nonlocal missing
        missing |= number not in places
        return places.get(number, 0)

    def ordinal(match: re.Match[str]) -> str:
        new = moved(ORDINALS.index(match[1].lower()))
        if new >= len(ORDINALS):  # there is no word for it
            return f"{HOLD}{new + 1}th{match[2]}"
        word = ORDINALS[new]
        return f"{HOLD}{word.capitalize() if match[1][0].isupper() else word}{match[2]}"

    if HOLD in text or LIST.search(text):
        return None
    text = NAME.sub(lambda m: f"{HOLD}img_{moved(int(m[1]))}", text)
    text = NUMBER.sub(lambda m: f"{HOLD}{m[1]}{moved(int(m[2]) - 1) + 1}", text)
    text = ORDINAL.sub(ordinal, text)
    text = NTH.sub(lambda m: f"{HOLD}{_nth(moved(int(m[1]) - 1) + 1)}{m[2]}", text)
    rest = re.sub(rf"{HOLD}(?:img_\d+|\w+)", "", text)
    if missing or UNSAFE.search(rest):
        return None
    return text.replace(HOLD, "")


def _nth(number: int) -> str:
    ending = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
