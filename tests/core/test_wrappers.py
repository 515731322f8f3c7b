"""Other orders of the same pictures: deterministic, references rewritten or the order kept, the right letter still right."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest

from visenv import Answer, AnswerKind, Image, Sample, Target, make_task
from visenv.errors import BadValueError, UnknownNameError
from visenv.testing import check_task
from visenv.wrappers import PermutedTask, PermuteImages, consistency, permute_images


def sample_of(
    instruction: str, number: int = 3, *, options: tuple[str, ...] = ("yes", "no"), choice: str = "A"
) -> Sample:
    images = tuple(Image(np.full((8 + k, 9, 3), 40 * k, np.uint8)) for k in range(number))
    target = Target(kind=AnswerKind.CHOICE, size_hw=(8, 9), labels=("g",), options=options, choice=choice)
    return Sample(
        id="T/val/1/0", task="T", split="val", level=1, index=0, instruction=instruction, images=images, target=target, cluster="c"
    )  # fmt: skip


def seed_for(sample: Sample, order: tuple[int, ...]) -> int:
    return next(s for s in range(1, 500) if permute_images(sample, s).meta["order"] == order)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Is img_0 like img_2?", "Is img_1 like img_0?"),
        ("Given <img_0> and <img_1>.", "Given <img_1> and <img_2>."),
        ("What changed from Image 1 to image #2?", "What changed from Image 2 to image #3?"),
        ("The first image is a reference. Is it the third picture?", "The second image is a reference. Is it the first picture?"),
        ("See the 1st reference photo and the 3rd photo.", "See the 2nd reference photo and the 1st photo."),
        ("Third image or Second Image?", "First image or Third Image?"),
        ("How many cats do the images show? (A) 1.5 (B) 2", "How many cats do the images show? (A) 1.5 (B) 2"),
        ("Does the first input image show image 2 of 3?", "Does the second input image show image 3 of 3?"),
    ],
)  # fmt: skip
def test_references_follow_their_pictures(given, expected):
    sample = sample_of(given)
    order = (2, 0, 1)  # what was first is now second, second is third, third is first
    permuted = permute_images(sample, seed_for(sample, order))
    assert permuted.instruction == expected
    assert permuted.images == tuple(sample.images[k] for k in order)
    assert permuted.target.size_hw == permuted.images[0].size_wh[::-1]
    assert permuted.target.choice == "A"


@pytest.mark.parametrize(
    "text",
    [
        "What is to the left of the car?", "What happens next?", "Put them into order.", "Given the images 1 and 2, which?", "Is image B like it?",
        "The first shows a cat.", "Is <image> like <image>?", "Which is in image 9?", "Is it the last image?", "See img_7.",
        "The first and second images differ.", "Compare image two with the rest.", "Is it before the race?",
        "Do the first two images show the same place?", "Do the first two images show what the third image shows?",
        "Is this a first person image?", "Pick the first similar image.", "What do the first images show?", "The two first images.",
        "The first three pictures were taken by day.", "Compare the second set of images.", "Is the first image pair alike?",
        "Every second image is red.", "Is it a third image?", "The 1st two photos.", "The twenty-first image.", "See images 2.",
        "What does Figure 2a show?", "Is image (1) like image (2)?", "Is picture (b) like it?",
    ],
)  # fmt: skip
def test_what_cannot_be_rewritten_safely_keeps_its_order(text):
    sample = sample_of(text)
    for seed in range(1, 20):
        permuted = permute_images(sample, seed)
        assert permuted.images == sample.images
        assert permuted.instruction == text
        assert permuted.meta["order"] == (0, 1, 2)


def test_an_option_that_cannot_be_rewritten_keeps_the_order():
    assert permute_images(sample_of("Which?", options=("the last one", "no")), 3).meta["order"] == (0, 1, 2)


def test_options_are_rewritten_and_letters_stay():
    sample = sample_of("Which is the cat?\n(A) the first image\n(B) the second image", 2, options=("the first image", "the second image"), choice="B")  # fmt: skip
    permuted = permute_images(sample, 1)
    assert permuted.meta["order"] == (1, 0)
    assert permuted.instruction == "Which is the cat?\n(A) the second image\n(B) the first image"
    assert permuted.target.options == ("the second image", "the first image")
    assert permuted.target.choice == "B"
    assert permuted.images[0] == sample.images[1]


def test_one_picture_another_kind_and_seed_0_stay():
    assert permute_images(sample_of("Is it?", 1), 5).meta["order"] == (0,)
    assert permute_images(sample_of("Is it?"), 0).images == sample_of("Is it?").images
    counted = make_task("EmojiCount").sample("val", 1, 0)
    assert permute_images(counted, 3).instruction == counted.instruction


def test_orders_differ_by_seed_and_are_never_the_given_one():
    sample = sample_of("Is it?", 4)
    orders = [permute_images(sample, seed).meta["order"] for seed in range(1, 60)]
    assert (0, 1, 2, 3) not in orders
    assert len(set(orders)) > 15
    assert orders == [permute_images(sample, seed).meta["order"] for seed in range(1, 60)]


def test_permuted_task():
    inner = make_task("EmojiMulti")
    task = PermutedTask(inner, orders=3, seed=1)
    assert (task.name, task.num_samples("val", 1), task.num_samples("train", 1)) == ("EmojiMultiOrders", 1500, None)
    given, first, second = inner.sample("val", 1, 2), task.sample("val", 1, 6), task.sample("val", 1, 7)
    assert (first.images, first.instruction) == (given.images, given.instruction)
    assert (second.id, second.meta["given"], second.cluster) == ("EmojiMultiOrders/val/1/7", given.id, given.cluster)
    assert sorted(i.hash for i in second.images) == sorted(i.hash for i in given.images)
    again = pickle.loads(pickle.dumps(task)).sample("val", 1, 7)
    assert (again.images, again.instruction) == (second.images, second.instruction)
    for index, error in ((1500, BadValueError), (-1, BadValueError), (True, BadValueError)):
        with pytest.raises(error):
            task.sample("val", 1, index)
    with pytest.raises(UnknownNameError):
        task.sample("nosplit", 1, 0)
    with pytest.raises(BadValueError):
        PermutedTask(inner, orders=0)


def test_permuted_task_keeps_the_promises_of_a_task():
    check_task(lambda: PermutedTask(make_task("EmojiMulti"), orders=2), split="val", level=1, num_samples=5)


def test_wrapper_is_deterministic_and_leaves_the_environment_alone():
    def play(seed):
        env = PermuteImages(gym.make("visenv/EmojiMulti-v0"), seed=4)
        task = env.unwrapped.task
        found = [env.reset(seed=seed)] + [env.reset() for _ in range(4)]
        assert env.unwrapped.task is task
        return [(i["sample_id"], i["order"], [x.tobytes() for x in o["images"]]) for o, i in found]

    first = play(7)
    assert first == play(7)
    assert any(order != tuple(range(len(order))) for _, order, _ in first)
    assert [order for _, order, _ in play(8)] != [order for _, order, _ in first]


def test_wrapper_plays_and_scores():
    env = PermuteImages(gym.make("visenv/EmojiMulti-v0"), seed=2)
    for seed in range(6):
        env.reset(seed=seed)
        choice = env.unwrapped.episode.sample.target.choice
        *_, info = env.step({"name": "submit_choice", "arguments": {"choice": choice}})
        assert info["score"] == 1.0
    assert isinstance(env.unwrapped.episode.answer, Answer)


def test_wrapper_refuses_other_environments():
    with pytest.raises(BadValueError, match="environment of visenv"):
        PermuteImages(gym.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 1, 1, 1], (1.0, 1.0, 1.0, 1.0)),
        ([1, 0, 0, 0], (0.25, 0.0, 0.5, 0.5)),
        ([1, 1, 0, 0], (0.5, 0.5, 0.5, 1.0)),
        ([0, 0, 0, 0], (0.0, 0.0, 0.0, 1.0)),
    ],
)
def test_consistency(scores, expected):
    found = consistency(["a", "a", "b", "b"], scores)
    assert tuple(found.values()) == expected
    assert set(consistency([], []).values()) == {None}
