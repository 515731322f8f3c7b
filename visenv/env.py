"""The Gymnasium environment: one episode after another of one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import EzPickle

from . import plugins
from .context import invert_matrix
from .drawing import draw_objects
from .drivers import drive
from .episode import Episode, Observation, Rules
from .errors import InfrastructureError, bad_value
from .experts import ExpertSet, make_experts
from .grammars import make_grammar
from .memory import make_policy
from .rewards import make_reward
from .spaces import ImageSpace, ToolCallSpace, UnicodeText
from .task import Sample, Task
from .tools import ToolCall, Toolset

__all__ = ["VisenvEnv", "default_split", "make_rules", "make_task", "observation_space"]

STREAM = 2**31
"""Indices of a split without end are drawn below this."""


class VisenvEnv(gym.Env[Observation, ToolCall], EzPickle):
    """A visual benchmark as an environment: read an instruction, call tools on images, submit an answer.

    ## Description
    Each episode is one sample of the task: an instruction and one or more images. The agent calls tools, behind which stand
    visual experts, sees what they return, and ends the episode by submitting.

    ## Action Space
    A :class:`~visenv.spaces.ToolCallSpace`: ``{"name": str, "arguments": {…}}``. ``step`` also takes a model's raw text,
    which the grammar parses. Coordinates are integers 0-1000 of the named image.

    ## Observation Space
    | key | space | meaning |
    |---|---|---|
    | ``instruction`` | text | what is asked |
    | ``feedback`` | text | what the last call returned, or what was wrong with it |
    | ``images`` | sequence of ``uint8 (H, W, 3)`` | the visible images, oldest first |
    | ``image_names`` | sequence of text | their names |
    | ``archive`` | sequence of dicts | name, width, height [px] and origin of images out of view |
    | ``objects`` | sequence of dicts | id, label, score, box (xyxy px of the source image), area [px], image |
    | ``turn`` | integer | turns played |
    | ``visual_tokens`` | integer | what the visible images cost a prompt |

    ## Starting State
    The sample's images are visible under the names ``img_0``, ``img_1``, …; there are no objects.

    ## Rewards
    A named mix (``reward=``), each term reported in ``info["terms"]``; by default the task's primary score in [0, 1] at the end.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or after too many invalid calls (``agent_error``); truncated at
    the turn limit. ``info["reason"]`` says which. If an expert fails, ``step`` raises ``InfrastructureError``: not a result.

    ## Information
    ``sample_id``; ``reason``, ``error`` (class of the agent's mistake), ``failed``, ``terms``; at the end ``score``.

    ## Arguments
    See :meth:`__init__`.

    ## Version History
    v0: first release.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        task: str,
        *,
        task_options: Mapping[str, Any] | None = None,
        split: str | None = None,
        level: int | None = None,
        toolset: str | Toolset = "full",
        memory: str = "archive",
        experts: str | ExpertSet = "embedded",
        reward: str = "primary",
        grammar: str = "hermes",
        max_turns: int | None = None,
        max_invalid_calls: int = 5,
        render_mode: str | None = None,
    ) -> None:
        """Make the environment.

        Args:
            task: Task name, such as ``EmojiRef``, or with options, such as ``COCO:mode=count``.
            task_options: Options of the task instead, such as ``{"mode": "count"}``, for ``gym.make`` with an id.
            split: Which samples; by default ``val``, or the first of a task without it.
                ``reset(options={"split": …})`` overrides it for one episode.
            level: Difficulty; the first level by default.
            toolset: Name of the tools to play with, or a toolset.
            memory: Memory policy, such as ``archive`` or ``prune:k=2``.
            experts: Who stands behind the tools, such as ``embedded``, or an expert set to share.
            reward: Reward mix, such as ``primary`` or ``rsagent:turn_cost=0.02``.
            grammar: How raw text is parsed: ``hermes`` or ``openai``.
            max_turns: Turn limit; the task's own by default.
            max_invalid_calls: The invalid call that ends the episode.
            render_mode: ``rgb_array`` or ``None``.

        Raises:
            UnknownNameError: No such task, split, level, toolset, memory policy, expert, reward or grammar.
            BadValueError: The task has no such option, or another argument is wrong.
        """
        EzPickle.__init__(
            self, task, task_options=task_options, split=split, level=level, toolset=toolset, memory=memory,
            experts=experts, reward=reward, grammar=grammar, max_turns=max_turns, max_invalid_calls=max_invalid_calls,
            render_mode=render_mode,
        )  # fmt: skip
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise bad_value("render_mode", render_mode, expected=f"one of {self.metadata['render_modes']} or None")
        self.task = make_task(task, **(task_options or {}))
        self.split = default_split(self.task) if split is None else split
        self.level = self.task.levels[0] if level is None else level
        self.task.num_samples(self.split, self.level)
        self.experts = make_experts(experts)
        self._owns_experts = isinstance(experts, str)
        self.rules = make_rules(
            self.task, self.experts, toolset=toolset, memory=memory, reward=reward, grammar=grammar,
            max_turns=max_turns, max_invalid_calls=max_invalid_calls,
        )  # fmt: skip
        self.render_mode = render_mode
        self.episode: Episode | None = None
        self.action_space = ToolCallSpace(self.rules.toolset.for_answers(self.task.kind))
        self.observation_space = observation_space(self.rules)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on a random sample of the split, or a chosen one.

        Args:
            seed: Seeds the choice of samples, of this and later episodes.
            options: ``index`` (integer) picks the sample; ``split`` and ``level`` override the environment's.

        Raises:
            BadValueError: An unknown option, or an index outside the split.
        """
        super().reset(seed=seed)
        self.episode = Episode(self._draw(dict(options or {})), profile=self.task.profile, rules=self.rules)
        return self.episode.observe(), self.episode.info()

    def step(self, action: ToolCall | str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one turn.

        Args:
            action: A tool call or raw model text. What is wrong with it is an observation, never an exception.

        Raises:
            InfrastructureError: An expert failed; the episode must be dropped, not scored.
        """
        if self.episode is None:
            raise gym.error.ResetNeeded("Call reset() before step().")
        outcome = drive(self.episode.play(action), self.experts)
        if outcome.failed:
            raise InfrastructureError(f"{self.episode.failure} The episode is not scored. Call reset() to go on.")
        return outcome.observation, outcome.reward, outcome.terminated, outcome.truncated, outcome.info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the newest visible image with the objects found so far, ``uint8 (H, W, 3)``."""
        if self.render_mode is None or self.episode is None:
            return None
        return render_episode(self.episode)

    def close(self) -> None:
        """Give back the experts that were made here; a shared set stays open. May be called twice."""
        if self._owns_experts:
            self.experts.close()

    def _draw(self, options: dict[str, Any]) -> Sample:
        split = options.pop("split", self.split)
        level = options.pop("level", self.level)
        size = self.task.num_samples(split, level)
        index = options.pop("index", None)
        if options:
            raise bad_value("options", list(options), expected="only index, split and level")
        for name, value in (("level", level), ("index", index)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer, type(None))):
                raise bad_value(name, value, expected="an integer")
        if index is None:
            index = int(self.np_random.integers(STREAM if size is None else size))
        return self.task.sample(split, int(level), int(index))


def render_episode(episode: Episode) -> npt.NDArray[np.uint8]:
    """Draw an episode's newest visible image with the objects as they are now, ``uint8 (H, W, 3)``."""
    images = episode.memory.images
    newest = images[(episode.memory.visible or list(episode.sources))[-1]]
    if newest.is_overlay:
        newest = images[newest.parent]
    here = [o for o in episode.objects if o.image == newest.source]
    matrix = None if newest.name == newest.source else invert_matrix(newest.to_source)
    return draw_objects(newest.image, here, from_source=matrix).pixels.copy()


def make_task(spec: str, /, **options: Any) -> Task:
    """Return a task by name.

    Args:
        spec: Its name, such as ``EmojiRef``, or with options, such as ``COCO:mode=count``.
        **options: Further options, of any type; ``root``, where its data lies, can only be given here.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option.

    Example:
        >>> make_task("COCO:mode=count").kind.value
        'count'
    """
    task: Task = plugins.build("tasks", spec, **options)
    return task


def default_split(task: Task) -> str:
    """Return the split that is meant when none is named: ``val``, or a task's first."""
    return "val" if "val" in task.splits else task.splits[0]


def make_rules(
    task: Task,
    experts: ExpertSet,
    *,
    toolset: str | Toolset = "full",
    memory: str = "archive",
    reward: str = "primary",
    grammar: str = "hermes",
    max_turns: int | None = None,
    max_invalid_calls: int = 5,
) -> Rules:
    """Turn names into the rules of a task's episodes; tools without an expert behind them are left out."""
    tools: Toolset = plugins.load("toolsets", toolset) if isinstance(toolset, str) else toolset
    return Rules(
        toolset=tools.for_capabilities(experts.capabilities), memory=make_policy(memory), reward=make_reward(reward), grammar=make_grammar(grammar),
        max_turns=min(task.max_turns, tools.max_turns or task.max_turns) if max_turns is None else max_turns, max_invalid_calls=max_invalid_calls,
    )  # fmt: skip


def observation_space(rules: Rules) -> gym.spaces.Dict:
    """Return the observation space of episodes under these rules."""
    spaces = gym.spaces
    name = UnicodeText(200)
    return spaces.Dict(
        {
            "instruction": UnicodeText(),
            "feedback": UnicodeText(),
            "images": spaces.Sequence(ImageSpace()),
            "image_names": spaces.Sequence(name),
            "archive": spaces.Sequence(
                spaces.Dict(
                    {
                        "name": name,
                        "width": spaces.Discrete(8192, start=1),
                        "height": spaces.Discrete(8192, start=1),
                        "origin": UnicodeText(1000),
                    }
                )
            ),
            "objects": spaces.Sequence(
                spaces.Dict(
                    {
                        "id": spaces.Discrete(10_000),
                        "label": UnicodeText(400),
                        "score": spaces.Box(0.0, 1.0, (1,), np.float32),
                        "box": spaces.Box(0.0, 8192.0, (4,), np.float32),
                        "area": spaces.Discrete(2**26),
                        "image": name,
                    }
                )
            ),
            "turn": spaces.Discrete(rules.max_turns + 1),
            "visual_tokens": spaces.Discrete(2**24),
        }
    )
