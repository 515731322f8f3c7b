"""The checks for outsiders catch what goes wrong in practice, and name it."""

from __future__ import annotations

import itertools
import random
import re
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pytest

from visenv import AnswerKind, Expert, Image, Mask, Profile, Sample, Target, Toolset, plugins, tool
from visenv.answers import Answer
from visenv.arguments import ArgumentKind, ImageName, IntegerKind, Phrase
from visenv.context import ToolContext
from visenv.errors import (
    BadValueError,
    ExpertError,
    InfrastructureError,
    TokenLimitError,
    UnknownNameError,
    UnsuitedError,
    bad_value,
    unknown_name,
)
from visenv.experts import Detections, DetectRequest, SegmentRequest
from visenv.masks import union_masks
from visenv.objects import DetectedObject
from visenv.specs import split_options
from visenv.testing import ConformanceError, check_agent, check_expert, check_task, check_tool, check_toolset
from visenv.tools import CallError, NewImage, ToolBody, ToolResult
from visenv.toolsets import FULL, NONE


def refuses(check: Any, name: str, reason: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check()
    message = str(caught.value)
    assert re.search(reason, message), message
    assert name in message.split(":")[0], "the plugin is named first"
    assert re.fullmatch(r"(?s).+: .+\. Expected .+\. .+\.", message), message
    assert isinstance(caught.value, AssertionError)


# --- tasks ---


def row(target, answer):
    given = union_masks([m for m in (answer.masks if answer else ()) if m.size_hw == target.size_hw], target.size_hw)
    both = given.intersection_px(target.union)
    return {"both": both, "either": given.area_px + target.union.area_px - both}


def primary(row):
    return row["both"] / row["either"] if row["either"] else 1.0


def mean(rows):
    return {"iou": sum(map(primary, rows)) / len(rows) if rows else None}


PROFILE = Profile(name="squares/iou", source="none: made for the tests", row=row, aggregate=mean, primary=primary)


class Squares:
    """A task without a fault: find the dark square."""

    name = "Squares"
    version = "0"
    kind = AnswerKind.MASK
    max_turns = 4
    splits = ("val", "test")
    levels = (1,)
    profile = PROFILE

    def num_samples(self, split, level):
        if split not in self.splits or level not in self.levels:
            raise unknown_name("split or level", f"{split}/{level}", self.splits, remedy="Use these.")
        return 9

    def sample(self, split, level, index):
        if not 0 <= index < self.num_samples(split, level):
            raise bad_value("index", index, expected="0 to 8")
        rng = self.rng(split, level, index)
        x, y = rng.randrange(50), rng.randrange(30)
        pixels = np.full((60, 80, 3), 200, np.uint8)
        pixels[y : y + 20, x : x + 25] = 30
        box = (x, y, x + 25, y + 20)
        return Sample(
            id=f"{self.name}/{split}/{level}/{index}", task=self.name, split=split, level=level, index=index,
            instruction="the dark square", images=(Image(pixels),), cluster=f"{split}/{index}", target=self.target(box),
        )  # fmt: skip

    def rng(self, split, level, index):
        return random.Random(f"{split}/{level}/{index}")

    def target(self, box):
        mask = Mask.from_box(box, (60, 80))
        return Target(
            kind=AnswerKind.MASK,
            size_hw=(60, 80),
            masks=(mask,),
            boxes_xyxy=(tuple(map(float, box)),),
            labels=("square",),
        )


class Drifting(Squares):
    shared = random.Random(0)

    def rng(self, split, level, index):
        return self.shared


class Deaf(Squares):
    def rng(self, split, level, index):
        return random.Random(split)


class SplitBlind(Squares):
    def rng(self, split, level, index):
        return random.Random(index)


class Turned(Squares):
    def target(self, box):
        return replace(super().target(box), size_hw=(80, 60))


class OtherSize(Squares):
    def target(self, box):
        return replace(super().target(box), masks=(Mask.from_box((0, 0, 4, 4), (30, 40)),))


class WidthAndHeight(Squares):
    def target(self, box):
        x1, y1, x2, y2 = box
        return replace(super().target(box), boxes_xyxy=((x1 + 30.0, y1 + 30.0, x2 - x1, y2 - y1),))


class Elsewhere(Squares):
    def target(self, box):
        return replace(super().target(box), boxes_xyxy=((79.0, 59.0, 80.0, 60.0),))


class Unlabelled(Squares):
    def target(self, box):
        return replace(super().target(box), labels=("a", "b"))


class OtherKind(Squares):
    kind = AnswerKind.COUNT


class OneId(Squares):
    def sample(self, split, level, index):
        return replace(super().sample(split, level, index), id="Squares")


class PlainPixels(Squares):
    def sample(self, split, level, index):
        return replace(super().sample(split, level, index), images=(np.zeros((60, 80, 3), np.uint8),))


class TextSplits(Squares):
    splits = "val"


class AnySplit(Squares):
    def num_samples(self, split, level):
        return 9


class PlainErrors(Squares):
    def sample(self, split, level, index):
        if index >= 9:
            raise IndexError(index)
        return super().sample(split, level, index)


class FromTheEnd(Squares):
    def sample(self, split, level, index):
        return super().sample(split, level, index % 9 if index < 0 else index)


class Locked(Squares):
    def __init__(self):
        self.lock = threading.Lock()


class Damaged(Squares):
    def sample(self, split, level, index):
        if index == 4:
            raise FileNotFoundError("000004.jpg")
        return super().sample(split, level, index)


class Scored(Squares):
    """With a profile that cannot be pickled, as most cannot, and need not: a task is found again by its class."""

    made: list[Scored] = []  # noqa: RUF012

    def __init__(self, **changes):
        self.profile = replace(PROFILE, **changes)
        self.made.append(self)

    def __reduce__(self):
        return find_scored, (self.made.index(self),)


def find_scored(number):
    return Scored.made[number]


def last(rows):
    return {"iou": primary(rows[-1]) if rows else None}


BAD_TASKS = [
    ("drawn from a shared generator", Drifting(), "is not that of a second call"),
    ("the index is not used", Deaf(), "are all the same"),
    ("the split is not used", SplitBlind(), r"\('test', 1\) hold the samples of \('val', 1\)"),
    ("width before height", Turned(), r"`size_hw` is \(80, 60\).*\(60, 80\)"),
    ("a mask of another size", OtherSize(), r"mask 0 has the size \(30, 40\)"),
    ("boxes as x, y, width, height", WidthAndHeight(), "box 0 is .*not width and height"),
    ("a box that is not the mask's", Elsewhere(), "a box around the mask"),
    ("labels that do not fit", Unlabelled(), "2 labels for 1 objects"),
    ("another kind of target", OtherKind(), "kind is .*mask"),
    ("one id for all", OneId(), r"its `id` is 'Squares'. Expected 'Squares/val/1/0'"),
    ("an array for an image", PlainPixels(), "its image 0 is .*visenv.Image"),
    ("splits as text", TextSplits(), "`splits` is 'val'. Expected a tuple"),
    ("unknown splits taken", AnySplit(), r"num_samples\('no-such-split', 1\) gives 9.*UnknownNameError"),
    ("errors of other classes", PlainErrors(), r"sample\('val', 1, 9\) raises IndexError.*BadValueError"),
    ("an index from the end", FromTheEnd(), r"sample\('val', 1, -1\) gives"),
    ("a lock inside", Locked(), "pickling or copying it raised TypeError"),
    ("a file is missing", Damaged(), r"sample\('val', 1, 4\) raised FileNotFoundError: 000004.jpg"),
    ("a score above 1", Scored(primary=lambda r: 1.5 * primary(r)), r"primary score of the perfect answer is 1.5. Expected a number in \[0, 1\]"),
    ("a float in a row", Scored(row=lambda t, a: {**row(t, a), "iou": primary(row(t, a))}), "has 'iou': 1.0, a float"),
    ("numpy in a row", Scored(row=lambda t, a: {k: np.int64(v) for k, v in row(t, a).items()}), "a int64"),
    ("no row of nothing", Scored(row=lambda t, a: row(t, Answer(masks=a.masks))), "nothing submitted raised AttributeError"),
    ("a mask of another size crashes", Scored(row=lambda t, a: row(t, a) if not a or {m.size_hw for m in a.masks} <= {t.size_hw} else {}["x"]), "a mask of another size raised KeyError"),
    ("silence beats the truth", Scored(primary=lambda r: primary(r) / 2 if r["both"] else 0.9), "no answer to be better than the truth"),
    ("the truth is worth nothing", Scored(primary=lambda r: 0.0), "perfect answer is 0.0. Expected more than 0"),
    ("nothing to average", Scored(aggregate=lambda rows: {"iou": sum(map(primary, rows)) / len(rows)}), "`profile.aggregate` of no rows raised ZeroDivisionError"),
    ("no number", Scored(aggregate=lambda rows: {"iou": float("nan")}), "has 'iou': nan"),
    ("metrics come and go", Scored(aggregate=lambda rows: mean(rows) if rows else {"none": None}), "the same metrics whatever the rows"),
    ("the order matters", Scored(aggregate=last), "in another order"),
    ("a name without a variant", Scored(name="iou"), "the profile's name is 'iou'"),
]  # fmt: skip


def test_a_good_task_passes():
    check_task(Squares())
    check_task(Squares, split="val", level=1, num_samples=9)


@pytest.mark.parametrize(("task", "reason"), [c[1:] for c in BAD_TASKS], ids=[c[0] for c in BAD_TASKS])
def test_a_broken_task_is_named(task, reason):
    refuses(lambda: check_task(task), "Squares", reason)


def test_unknown_names_keep_their_errors():
    with pytest.raises(UnknownNameError):
        check_task("NoSuchTask")
    with pytest.raises(UnknownNameError):
        check_task(Squares(), split="no-such-split")
    with pytest.raises(UnknownNameError):
        check_tool("full/no-such-tool")
    with pytest.raises(BadValueError):
        check_tool("full/submit_choice", kind=AnswerKind.MASK)


HASHED = """
from test_squares import Squares

class Hashed(Squares):
    name = "Hashed"

    def rng(self, split, level, index):
        import random
        return random.Random(hash((split, level, index)))
"""


def test_a_sample_that_depends_on_the_process_is_named(tmp_path, monkeypatch):
    """``hash`` of text is another one in every process: only a second process can tell."""
    (tmp_path / "test_squares.py").write_text(f"import runpy\nSquares = runpy.run_path({__file__!r})['Squares']\n")
    (tmp_path / "hashed.py").write_text(HASHED)
    meta = tmp_path / "hashed-0.1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: hashed\nVersion: 0.1\n")
    (meta / "entry_points.txt").write_text("[visenv.tasks]\nHashed-v0 = hashed:Hashed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.plugins.cache_clear()
    try:
        refuses(lambda: check_task("Hashed", split="val"), "Hashed", "is another one in another process")
    finally:
        plugins.plugins.cache_clear()
        for name in ("hashed", "test_squares"):
            sys.modules.pop(name, None)


# --- tools ---


@dataclass(frozen=True, slots=True)
class Lax(IntegerKind):
    """Says one range and takes another."""

    def check(self, value: object) -> int:
        return int(value) if isinstance(value, int) else IntegerKind.check(self, value)


@dataclass(frozen=True, slots=True)
class Nested(ArgumentKind):
    """A box as one argument."""

    def schema(self):
        return {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}

    def check(self, value):
        return value

    def sample(self, rng):
        return [[1, 2]]

    def words(self):
        return "a list of lists"


@tool(requires=["detect"])
def look(context: ToolContext, image: ImageName, phrase: Phrase) -> ToolBody:
    """Look for a thing.

    Args:
        image: Where.
        phrase: What.
    """
    place = context.image(image)
    (found,) = yield [DetectRequest(image=place.image, phrase=phrase)]
    return ToolResult(text=f"{len(found.labels)} found.")


@tool()
def lose(context: ToolContext, image: ImageName) -> ToolBody:
    """Raise.

    Args:
        image: Where.
    """
    yield from ()
    return ToolResult(text=f"{context.images[image]}")


@tool()
def show_ghost(context: ToolContext) -> ToolBody:
    """Show an image that is not there."""
    yield from ()
    return ToolResult(text="Here.", show=("ghost",))


@tool()
def take_any(context: ToolContext, count: Annotated[int, Lax(0, 9)]) -> ToolBody:
    """Take any number.

    Args:
        count: A number.
    """
    yield from ()
    return ToolResult(text="Taken.")


@tool()
def take_nested(context: ToolContext, box: Annotated[list[Any], Nested()]) -> ToolBody:
    """Take a nested list.

    Args:
        box: A box.
    """
    yield from ()
    return ToolResult(text="Taken.")


@tool()
def hurry(context: ToolContext) -> ToolBody:
    """Return at once."""
    return ToolResult(text="Done.")


@tool()
def sneak(context: ToolContext) -> ToolBody:
    """Ask without having said so."""
    yield [DetectRequest(image=context.images["img_0"].image, phrase="thing")]
    return ToolResult(text="Asked.")


@tool(requires=["detect"])
def ask_one(context: ToolContext) -> ToolBody:
    """Yield a request without a list."""
    yield DetectRequest(image=context.images["img_0"].image, phrase="thing")  # type: ignore[misc]
    return ToolResult(text="Asked.")


@tool(requires=["segment"])
def ask_lists(context: ToolContext) -> ToolBody:
    """Ask with a list where a tuple belongs."""
    yield [SegmentRequest(image=context.images["img_0"].image, box_xyxy=[0, 0, 5, 5])]  # type: ignore[arg-type]
    return ToolResult(text="Asked.")


@tool(requires=["detect"])
def take_first(context: ToolContext) -> ToolBody:
    """Take the first find, if there is one or not."""
    (found,) = yield [DetectRequest(image=context.images["img_0"].image, phrase="thing")]
    return ToolResult(text=f"Best: {found.labels[0]}.")


@tool(requires=["detect"])
def swallow(context: ToolContext) -> ToolBody:
    """Go on when the expert is down."""
    try:
        yield [DetectRequest(image=context.images["img_0"].image, phrase="thing")]
    except InfrastructureError:
        return ToolResult(text="Nothing found.")
    return ToolResult(text="Found.")


@tool()
def scribble(context: ToolContext) -> ToolBody:
    """Write into the episode."""
    yield from ()
    context.state["seen"] = context.turn  # type: ignore[index]
    return ToolResult(text="Noted.")


COUNTER = itertools.count()


@tool()
def count_up(context: ToolContext) -> ToolBody:
    """Count across episodes."""
    yield from ()
    return ToolResult(text=f"Call {next(COUNTER)}.")


@tool()
def whisper(context: ToolContext) -> ToolBody:
    """Say nothing."""
    yield from ()
    return ToolResult(text="")


def _object(number: int, **changes: Any) -> DetectedObject:
    base = DetectedObject(id=number, image="img_0", label="thing", score=0.5, box_xyxy=(1.0, 1.0, 9.0, 9.0))
    return replace(base, **changes)


@tool()
def number_anew(context: ToolContext) -> ToolBody:
    """Give ids from 0 to whatever was found now."""
    yield from ()
    return ToolResult(text="Found.", objects=(_object(0, label=f"thing {context.turn}"),) if context.turn % 2 else ())


@tool()
def miss_image(context: ToolContext) -> ToolBody:
    """Find in pixels of a larger picture."""
    yield from ()
    return ToolResult(text="Found.", objects=(_object(context.next_object_id, box_xyxy=(500.0, 500.0, 900.0, 900.0)),))


@tool()
def wrong_mask(context: ToolContext) -> ToolBody:
    """Find with the mask of another picture."""
    yield from ()
    mask = Mask.from_box((0, 0, 4, 4), (30, 40))
    return ToolResult(text="Found.", objects=(_object(context.next_object_id, mask=mask),))


def _crop(context: ToolContext, matrix: Any) -> ToolResult:
    name = context.free_name("part")
    part = Image(context.images["img_0"].image.pixels[60:100, 80:120].copy())
    made = NewImage(name=name, image=part, parent="img_0", to_parent=matrix, origin="a part")
    return ToolResult(text="Cut.", new_images=(made,), show=(name,))


@tool()
def cut_nan(context: ToolContext) -> ToolBody:
    """Cut, and lose the place."""
    yield from ()
    return _crop(context, np.full((2, 3), np.nan))


@tool()
def cut_backwards(context: ToolContext) -> ToolBody:
    """Cut, with the map from the parent."""
    yield from ()
    return _crop(context, np.array([[1.0, 0, -80], [0, 1, -60]]))


@tool()
def cut_as_overlay(context: ToolContext) -> ToolBody:
    """Cut, and call it an overlay."""
    yield from ()
    return _crop(context, None)


@tool()
def cut_again(context: ToolContext) -> ToolBody:
    """Cut, always under one name."""
    yield from ()
    result = _crop(context, np.array([[1.0, 0, 80], [0, 1, 60]]))
    return replace(result, new_images=(replace(result.new_images[0], name="part"),), show=())


@tool(answers=[AnswerKind.MASK])
def end_without(context: ToolContext) -> ToolBody:
    """End without an answer."""
    yield from ()
    return ToolResult(text="The end.")


@tool()
def end_unannounced(context: ToolContext) -> ToolBody:
    """Answer without having said so."""
    yield from ()
    return ToolResult(text="The end.", answer=Answer(no_target=True))


@tool()
def refuse(context: ToolContext) -> ToolBody:
    """Refuse everything."""
    yield from ()
    raise CallError("never", "Not now.")


def _make_inner() -> Any:
    @tool()
    def inner(context: ToolContext) -> ToolBody:
        """Be defined where no worker finds it."""
        yield from ()
        return ToolResult(text="Done.")

    return inner


BAD_TOOLS = [
    (lose, "no_such_image.*raised KeyError"),
    (show_ghost, "it shows 'ghost'"),
    (take_any, "argument `count`: its validator accepts .*, which its schema refuses"),
    (take_nested, "argument `box`: its schema is .*a scalar"),
    (hurry, "at once. Expected a generator"),
    (sneak, r"it asks for `detect` and requires \[\]"),
    (ask_one, "it yields DetectRequest"),
    (ask_lists, "remembering its SegmentRequest raised TypeError"),
    (take_first, "experts that find nothing, call {}: it raised IndexError"),
    (swallow, "experts that are down.*it goes on.*InfrastructureError to pass through"),
    (scribble, "it changed the context"),
    (count_up, "the same episode twice gives another feedback: 'Call 0.'"),
    (whisper, "its text is ''"),
    (number_anew, "object #0: its id is 0, the next free one [1-9]"),
    (miss_image, r"its box is \(500.0, 500.0, 900.0, 900.0\).*160 x 120"),
    (wrong_mask, "its mask is .*of 120 x 160"),
    (cut_nan, "`to_parent` is .*a finite 2x3 matrix"),
    (cut_backwards, "a place inside the parent"),
    (cut_as_overlay, "it is an overlay of"),
    (cut_again, "an image is called 'part' already"),
    (end_without, "its answer is None"),
    (end_unannounced, "an answer|it answers"),
    (refuse, "none of 192 calls succeeded.*Not now"),
    (_make_inner(), "pickling it raised"),
    (replace(look, summary=" "), "it has no description"),
    (replace(look, requires=frozenset({"detect", "smell"})), "it requires"),
    (replace(look, name="look at"), "its name is 'look at'"),
]


def test_a_good_tool_passes():
    check_tool(look)
    check_tool(look, toolset=replace(FULL, tools=(look, *FULL.tools)), experts="embedded:threads=1", num_calls=8)


@pytest.mark.parametrize(("broken", "reason"), BAD_TOOLS, ids=[t[0].summary or t[1] for t in BAD_TOOLS])
def test_a_broken_tool_is_named(broken, reason):
    refuses(lambda: check_tool(broken), broken.name, reason)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Toolset(name="mute", tools=(look,)), "no tool of it can answer"),
        (Toolset(name="twins", tools=(look, replace(FULL["submit"], name="look"))), "different names"),
        (
            Toolset(name="take_first", tools=(look, take_first, FULL["submit"])),
            "experts that find nothing|it raised IndexError",
        ),
        (replace(NONE, at_turn_limit=lambda context: "nothing"), "pickling it|`at_turn_limit` gives 'nothing'"),
    ],
)
def test_a_broken_toolset_is_named(broken, reason):
    refuses(lambda: check_toolset(broken), broken.name, reason)


# --- agents ---


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


class Clicking:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.turn = 0

    def act(self, observation):
        self.turn += 1
        x, y = self.rng.randrange(500), self.rng.randrange(500)
        if self.turn < 3:
            return call("draw_box", image="img_0", x1=x, y1=y, x2=x + 300, y2=y + 200)
        return call("submit") if observation["objects"] else '<tool_call>{"name": "submit_none"}</tool_call>'


class Clicker:
    """An agent without a fault."""

    name = "clicker"

    def start(self, spec):
        return Clicking(spec.seed)


class Batched(Clicker):
    """As good, in batches."""

    def act_batch(self, players, observations):
        return [p.act(o) for p, o in zip(players, observations, strict=True)]


class OnePlayer(Clicker):
    def start(self, spec):
        self.player = getattr(self, "player", None) or Clicking(0)
        self.player.turn = 0
        return self.player


class Careless(Clicker):
    def start(self, spec):
        return Clicking(random.randrange(10**9))


class Scribbler(Clicker):
    def start(self, spec):
        player = Clicking(spec.seed)

        def act(observation):
            observation["images"][0][:5] = 0
            return player.act(observation)

        return type("Player", (), {"act": staticmethod(act)})()


class Popper(Scribbler):
    def start(self, spec):
        player = Clicking(spec.seed)

        def act(observation):
            observation.pop("archive")
            return player.act(observation)

        return type("Player", (), {"act": staticmethod(act)})()


def acting(function, **more):
    """An agent whose players are one function of the observation."""
    player = type("Player", (), {"act": staticmethod(function)})
    return type("Acting", (Clicker,), {"name": "acting", "start": lambda self, spec: player(), **more})()


class Swapped(Batched):
    def act_batch(self, players, observations):
        return super().act_batch(players, observations)[::-1]


class Short(Batched):
    def act_batch(self, players, observations):
        return super().act_batch(players, observations)[:1]


class Unsuited(Clicker):
    def start(self, spec):
        raise UnsuitedError("It needs a piano.")


class Crashing(Clicker):
    def start(self, spec):
        raise RuntimeError("no weights")


class Nameless(Clicker):
    name = ""


BAD_AGENTS = [
    ("one player for all", OnePlayer(), r"its actions are others (a second time|while another)"),
    ("seeded by nobody", Careless(), "its actions are others a second time: .*spec.seed"),
    ("draws into the image", Scribbler(), "it changed 'images' of the observation"),
    ("takes from the observation", Popper(), "it changed 'archive' of the observation"),
    ("another form of call", acting(lambda o: {"tool": "submit_none", "args": {}}), "`act` gives .*tool"),
    ("nothing", acting(lambda o: None), "`act` gives None"),
    ("needs objects", acting(lambda o: call("submit", first=o["objects"][0])), "`act` in turn 0 raised IndexError"),
    ("calls what is not there", acting(lambda o: call("grasp")), "all its .* calls are invalid.*no tool 'grasp'"),
    ("a batch out of order", Swapped(), "in a batch"),
    ("a batch too short", Short(), "`act_batch` gives 1 actions for 2 players"),
    ("plays nothing", Unsuited(), "none of the 1 combinations.*It needs a piano"),
    ("cannot start", Crashing(), "`start` raised RuntimeError: no weights"),
    ("no name", Nameless(), "its `name` is ''"),
    ("no player", type("NoPlayer", (Clicker,), {"start": lambda self, spec: None})(), "`start` gives None"),
]
PLAYED = {"tasks": [Squares()], "toolsets": ["none"]}


@pytest.mark.parametrize("agent", [Clicker(), Batched()])
def test_a_good_agent_passes(agent):
    check_agent(agent, **PLAYED)


@pytest.mark.parametrize(("agent", "reason"), [c[1:] for c in BAD_AGENTS], ids=[c[0] for c in BAD_AGENTS])
def test_a_broken_agent_is_named(agent, reason):
    refuses(lambda: check_agent(agent, **PLAYED), f"Agent {agent.name!r}", reason)


def test_a_model_that_samples_is_checked_without_comparing():
    check_agent(Careless(), deterministic=False, **PLAYED)


def test_an_agent_whose_service_is_down_is_not_at_fault():
    def act(observation):
        raise InfrastructureError("The endpoint does not answer.")

    with pytest.raises(InfrastructureError, match="endpoint"):
        check_agent(acting(act), **PLAYED)


# --- experts ---


class Corner(Expert):
    """An expert without a fault: finds the upper left quarter; a picture of a pixel is too small for it."""

    name, version = "corner", "1"
    capabilities = frozenset({"detect"})

    def run(self, requests):
        return [self.one(r, k) for k, r in enumerate(requests)]

    def one(self, request, place):
        width, height = request.image.size_wh
        if min(width, height) < 2:
            raise ExpertError("The picture is too small.")
        box = np.array([[0.0, 0.0, width / 2, height / 2], [0.0, 0.0, width, height]])
        return Detections(boxes_xyxy=box, scores=np.array([0.9, 0.4]), labels=(request.phrase,) * 2)


def finding(**changes):
    """A Corner whose detections are changed."""
    return type("Changed", (Corner,), {"one": lambda self, r, k: replace(Corner.one(self, r, k), **changes)})()


class ByPlace(Corner):
    def one(self, request, place):
        return replace(super().one(request, place), scores=np.array([0.9, 0.4]) / (place + 1))


class Tiring(Corner):
    asked = 0

    def run(self, requests):
        self.asked += 1
        return [replace(r, scores=r.scores / self.asked) for r in super().run(requests)]


class Sharing(Corner):
    """Keeps what it works on in itself, where another thread finds it."""

    def run(self, requests):
        self.asked = requests
        time.sleep(0.002)
        return [replace(r, labels=(q.phrase,) * 2) for r, q in zip(super().run(requests), self.asked, strict=True)]


class Painter(Corner):
    def one(self, request, place):
        request.image.pixels.flags.writeable = True
        request.image.pixels[:2, :2] ^= 255
        return super().one(request, place)


class Needy(Corner):
    def run(self, requests):
        assert requests[0].capability == "detect"
        return super().run(requests)


class Dropping(Corner):
    def run(self, requests):
        return super().run(requests)[:1]


class Fragile(Corner):
    def one(self, request, place):
        width, height = request.image.size_wh
        assert width * height > 1000, "empty tensor"
        return super().one(request, place)


class Refusing(Corner):
    def one(self, request, place):
        raise ExpertError("Not today.")


class RefusingInPlace(Corner):
    def run(self, requests):
        return [ExpertError("Not today.") for _ in requests]


class Stacking(Corner):
    """Counts on what is promised: pictures of one size, and few of them; says in place what it cannot answer."""

    batch_pixels = 40_000

    def run(self, requests):
        assert len(requests) < 2 or np.stack([r.image.pixels for r in requests]).size <= 3 * self.batch_pixels
        small = [min(r.image.size_wh) < 2 for r in requests]
        return [
            ExpertError("The picture is too small.") if s else self.one(r, 0)
            for r, s in zip(requests, small, strict=True)
        ]


class CloseOnce(Corner):
    def close(self):
        del self.weights_hash


class Overstated(Corner):
    capabilities = frozenset({"detect", "read"})


BAD_EXPERTS = [
    ("depends on the place in the batch", ByPlace(), "another one when asked"),
    ("depends on how often it was asked", Tiring(), "another one when asked"),
    ("shares its state between threads", Sharing(), "another one when asked by 3 threads at once"),
    ("has nothing to say", type("Mute", (Corner,), {"health": lambda self: None})(), "its `health` is None"),
    ("paints over the picture", Painter(), "it changes the picture"),
    ("no empty batch", Needy(), "`run` of an empty batch raised IndexError"),
    ("a result too few", Dropping(), "for 3 requests. Expected a list with one result each"),
    ("breaks at a pixel", Fragile(), "on 1 x 1 px: it raised AssertionError: empty tensor"),
    ("refuses what is plain", Refusing(), "raised ExpertError: Not today"),
    ("refuses in place", RefusingInPlace(), "it gives a refusal: Not today"),
    ("closes once", CloseOnce(), "`close`, called twice raised AttributeError"),
    ("claims what it cannot", Overstated(), "capability 'read'"),
    ("single precision", finding(boxes_xyxy=np.zeros((2, 4), np.float32) + np.float32([0, 0, 5, 5])), "boxes as float32"),
    ("width and height", finding(boxes_xyxy=np.array([[50.0, 60.0, 20.0, 30.0]] * 2)), "boxes that end before they begin"),
    ("nothing inside", finding(boxes_xyxy=np.array([[50.0, 60.0, 70.0, 60.0]] * 2)), "boxes without area"),
    ("pixels of another size", finding(boxes_xyxy=np.array([[0.0, 0.0, 999.0, 999.0]] * 2)), "boxes outside the 200 x 150 px"),
    ("worst first", finding(scores=np.array([0.4, 0.9])), "scores that do not descend"),
    ("scores in percent", finding(scores=np.array([90.0, 40.0])), r"scores outside \[0, 1\]"),
    ("a label too few", finding(labels=("one",)), r"boxes of shape \(2, 4\) where \(1, 4\)"),
    ("a name of two words", type("Spaced", (Corner,), {"name": "my corner"})(), "its `name` is 'my corner'"),
    ("capabilities as text", type("Texted", (Corner,), {"capabilities": "detect"})(), "its `capabilities` are 'detect'"),
]  # fmt: skip


def test_a_good_expert_passes():
    check_expert(Corner())
    check_expert([Corner()], images=[Image(np.zeros((9, 9, 3), np.uint8))], phrases=["thing"])
    check_expert(Stacking())


@pytest.mark.parametrize(("expert", "reason"), [c[1:] for c in BAD_EXPERTS], ids=[c[0] for c in BAD_EXPERTS])
def test_a_broken_expert_is_named(expert, reason):
    refuses(lambda: check_expert(expert), "Expert ", reason)


def test_options_that_change_results_change_the_identity(monkeypatch):
    class Scaled(Corner):
        def __init__(self, by="1"):
            self.by = float(by)

        def one(self, request, place):
            found = super().one(request, place)
            return replace(found, scores=found.scores * self.by)

    class Named(Scaled):
        @property
        def identity(self):
            return f"corner@1-{self.by:g}"

    def build(kind):
        return lambda group, spec: kind(**{k: v for k, v in split_options(spec)[1].items() if k == "by"})

    monkeypatch.setattr("visenv.testing._expert.plugins.build", build(Scaled))
    refuses(lambda: check_expert("corner:by=0.5"), "corner", "with the options 'corner:by=0.5' and without")
    check_expert("corner:threads=4")
    monkeypatch.setattr("visenv.testing._expert.plugins.build", build(Named))
    check_expert("corner:by=0.5")


def test_arithmetic_that_depends_on_the_batch_has_a_tolerance():
    class Rounding(Corner):
        def one(self, request, place):
            found = super().one(request, place)
            return replace(found, boxes_xyxy=found.boxes_xyxy - 1e-4 * place * np.array([0, 0, 1, 1]))

    refuses(lambda: check_expert(Rounding()), "corner", "pass `tolerance=`")
    check_expert(Rounding(), tolerance=0.01)


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_task("EmojiRef", num_samples=0),
        lambda: check_toolset("none", kinds=[]),
        lambda: check_expert("embedded", images=[]),
        lambda: check_expert("embedded", phrases=()),
        lambda: check_agent("random", num_episodes=0),
        lambda: check_agent("random", tasks=[]),
    ],
)
def test_a_check_of_nothing_is_refused(check):
    with pytest.raises(BadValueError, match="nothing is checked"):
        check()


class Batch:
    """Answers for all players at once, in ways that are given."""

    name = "batch"

    def __init__(self, answer):
        self.answer = answer

    def start(self, spec):
        return spec.seed

    def act_batch(self, players, observations):
        return [self.answer(players) for _ in players]


def test_a_batch_of_none_is_named():
    with pytest.raises(ConformanceError, match="`act_batch` gives None"):
        check_agent(Batch(lambda players: None), tasks=["EmojiRef"], toolsets=["none"])


def test_a_batch_with_a_full_context_is_fine():
    def answer(players):
        if len(players) > 1:
            raise TokenLimitError("one of these")
        return {"name": "submit_none", "arguments": {}}

    check_agent(Batch(answer), tasks=["EmojiRef"], toolsets=["none"])


def test_an_agent_that_exits_is_named():
    def leave(players):
        raise SystemExit(0)

    with pytest.raises(ConformanceError, match="SystemExit"):
        check_agent(Batch(leave), tasks=["EmojiRef"], toolsets=["none"])
