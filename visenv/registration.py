"""Gymnasium ids for every installed task, without importing any of them."""

from __future__ import annotations

import gymnasium as gym

from . import plugins

__all__ = ["env_ids", "register_envs"]


def env_ids() -> list[str]:
    """Return the Gymnasium ids, ``visenv/<Task>-v<version>``, of all installed tasks."""
    return [f"visenv/{p.name}-v{p.version}" for p in plugins.plugins("tasks").values()]


def register_envs() -> None:
    """Register every installed task, once; done by ``import visenv``."""
    for plugin in plugins.plugins("tasks").values():
        env_id = f"visenv/{plugin.name}-v{plugin.version}"
        if env_id not in gym.registry:
            gym.register(
                id=env_id,
                entry_point="visenv.env:VisenvEnv",
                vector_entry_point="visenv.vector:VisenvVectorEnv",
                kwargs={"task": plugin.name},
            )
