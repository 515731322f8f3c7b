"""visenv: visual benchmarks as Gymnasium environments, in which agents call visual experts as tools.

>>> import gymnasium as gym, visenv
>>> env = gym.make("visenv/EmojiRef-v0")
>>> observation, info = env.reset(seed=0)
"""

from importlib.util import find_spec as _find_spec

for _room in ("tasks", "agents", "leaderboard"):
    if _find_spec(f"visenv.{_room}") is None:
        raise ImportError(
            f"The package visenv.{_room} is missing: Python found the bare folder {__path__[0]!r} before the installed "
            "package. In a checkout, install it with `pip install -e .`; with a plain install, start Python elsewhere."
        )

from .agent import Agent, EpisodeSpec, Manner, Player, make_agent
from .answers import Answer, AnswerKind, Target
from .asked import Asked
from .asking import ask
from .env import VisenvEnv, make_task
from .episode import EndReason, Episode, Rules
from .errors import VisenvError
from .experts import Expert, ExpertSet, make_experts
from .function_agent import FunctionAgent
from .images import Image
from .masks import Mask
from .registration import env_ids, register_envs
from .spaces import ImageSpace, ToolCallSpace, UnicodeText
from .task import Profile, Sample, Task
from .tools import Tool, ToolCall, Toolset, tool
from .vector import VisenvVectorEnv

__all__ = [
    "Agent",
    "Answer",
    "AnswerKind",
    "Asked",
    "EndReason",
    "Episode",
    "EpisodeSpec",
    "Expert",
    "ExpertSet",
    "FunctionAgent",
    "Image",
    "ImageSpace",
    "Manner",
    "Mask",
    "Player",
    "Profile",
    "Rules",
    "Sample",
    "Target",
    "Task",
    "Tool",
    "ToolCall",
    "ToolCallSpace",
    "Toolset",
    "UnicodeText",
    "VisenvEnv",
    "VisenvError",
    "VisenvVectorEnv",
    "ask",
    "env_ids",
    "make_agent",
    "make_experts",
    "make_task",
    "register_envs",
    "tool",
]

__version__ = "0.1.0"

register_envs()
