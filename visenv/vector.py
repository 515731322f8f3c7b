"""A vector environment whose sub-episodes share each call to the experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from .drivers import drive_all
from .env import VisenvEnv, render_episode
from .episode import Observation, StepOutcome
from .errors import bad_value
from .tools import ToolCall

__all__ = ["VisenvVectorEnv"]


class VisenvVectorEnv(VectorEnv[dict[str, Any], Sequence[ToolCall], npt.NDArray[Any]]):
    """Many episodes of one task in step; in each round the expert requests of all of them make one batch.

    A sub-environment whose expert fails gives reward 0.0, truncated, and ``info["failed"]`` True at its place: trainers
    must drop that episode. Seeds work as in Gymnasium's vector environments: sub-environment ``i`` gets ``seed + i``, so
    each plays the same episodes as a :class:`~visenv.env.VisenvEnv` of its own.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the sub-environments.

        Args:
            num_envs: How many.
            autoreset_mode: ``NEXT_STEP`` resets an ended sub-environment at the next step, ignoring its action;
                ``DISABLED`` waits for ``reset(options={"reset_mask": …})``.
            render_mode: ``rgb_array`` or ``None``.
            **kwargs: Arguments of :class:`~visenv.env.VisenvEnv`, the same for all.

        Raises:
            BadValueError: ``num_envs`` below 1, or an autoreset mode that is neither.
        """
        if num_envs < 1:
            raise bad_value("num_envs", num_envs, expected="at least 1")
        modes = {m.value: m for m in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED)}
        if getattr(autoreset_mode, "value", autoreset_mode) not in modes:
            raise bad_value("autoreset_mode", autoreset_mode, expected=f"one of {', '.join(modes)}")
        self.autoreset_mode = modes[getattr(autoreset_mode, "value", autoreset_mode)]
        first = VisenvEnv(render_mode=render_mode, **kwargs)
        shared = {**kwargs, "experts": first.experts}
        self.envs = [first, *(VisenvEnv(render_mode=render_mode, **shared) for _ in range(num_envs - 1))]
        self.experts = first.experts
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._ended = np.zeros(num_envs, bool)
        self._observations: list[Observation] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start episodes.

        Args:
            seed: One seed (sub-environment ``i`` gets ``seed + i``) or one each.
            options: As for :class:`~visenv.env.VisenvEnv`, and ``reset_mask`` (``bool (num_envs,)``) to start only some.

        Raises:
            BadValueError: Seeds or mask of the wrong length, or a mask before the first full reset.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        mask = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise bad_value("reset_mask", mask, expected=f"a bool array of shape ({self.num_envs},) with a True")
        if not mask.all() and not self._observations:
            raise bad_value("reset_mask", mask, expected="all True the first time")
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = seed
        if len(seeds) != self.num_envs:
            raise bad_value("seed", seed, expected=f"one seed, or {self.num_envs}")
        self._observations = self._observations or [{} for _ in self.envs]
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(mask):
            self._observations[i], info = self.envs[i].reset(seed=seeds[int(i)], options=options)
            infos = self._add_info(infos, info, int(i))
            self._ended[i] = False
        for i in np.flatnonzero(~mask):  # fresh arrays: two calls may not return the same memory
            episode = self.envs[i].episode
            assert episode is not None
            self._observations[i] = episode.observe()
        return self._batch(), infos

    def step(
        self, actions: Sequence[ToolCall | str]
    ) -> tuple[dict[str, Any], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Play one turn in every running sub-environment.

        Args:
            actions: One call or raw text each.

        Raises:
            BadValueError: The wrong number of actions, or (``DISABLED``) a sub-environment has ended and was not reset.
        """
        actions = list(actions)
        if len(actions) != self.num_envs:
            raise bad_value("actions", len(actions), expected=f"{self.num_envs} actions")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            ended = np.flatnonzero(self._ended).tolist()
            raise bad_value(
                "actions", ended, expected="no ended sub-environment", remedy="Reset these with reset_mask."
            )
        if not self._observations:
            raise gym.error.ResetNeeded("Call reset() before step().")
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.zeros(self.num_envs, bool)
        infos: dict[str, Any] = {}
        running = [int(i) for i in np.flatnonzero(~self._ended)]
        works = []
        for i in running:
            episode = self.envs[i].episode
            assert episode is not None
            works.append(episode.play(actions[i]))
        outcomes: dict[int, StepOutcome] = dict(zip(running, drive_all(works, self.experts), strict=True))
        for i in range(self.num_envs):
            if i in outcomes:
                outcome = outcomes[i]
                self._observations[i] = outcome.observation
                rewards[i], terminated[i], truncated[i] = outcome.reward, outcome.terminated, outcome.truncated
                info = outcome.info
            else:
                self._observations[i], info = self.envs[i].reset()
            infos = self._add_info(infos, info, i)
        self._ended = terminated | truncated
        return self._batch(), rewards, terminated, truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """Draw every sub-environment."""
        if self.render_mode is None:
            return None
        return tuple(render_episode(env.episode) for env in self.envs if env.episode is not None)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the sub-environments."""
        for env in self.envs:
            env.close()

    def _batch(self) -> dict[str, Any]:
        space = self.single_observation_space
        batched = concatenate(
            space, self._observations, cast("dict[str, Any]", create_empty_array(space, n=self.num_envs))
        )
        return cast("dict[str, Any]", batched)
