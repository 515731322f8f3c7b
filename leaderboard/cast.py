"""Who plays what, with which experts: the settings of a run, and what they name made real in one process."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import visenv
from visenv import plugins
from visenv.agent import Agent, Manner, make_agent
from visenv.answers import Target
from visenv.env import default_split, make_rules, make_task
from visenv.episode import Episode, Rules
from visenv.errors import VisenvError, bad_value, say, stops_the_process
from visenv.experts import ExpertSet, ExpertsSpec, make_experts
from visenv.grammars import make_grammar
from visenv.objects import DetectedObject
from visenv.redaction import find_secrets, redact
from visenv.specs import name_of, split_options
from visenv.task import Sample, Task, profiles_of
from visenv.tools import Toolset
from visenv.vision import ESTIMATE, make_vision

from .records import AgentInfo, RunInfo, TaskInfo
from .sampling import indices_of, num_asked
from .shelf import task_label

__all__ = ["Cast", "Grant", "RunSettings"]

PRIVILEGED = {
    "demonstrator": "visenv.agents.demonstrator:Demonstrator",
    "oracle": "visenv.agents.oracle:Oracle",
}
"""The two agents that may know the truth, by plugin name and by the code behind it."""

COMPUTING = ("numpy", "opencv-python-headless", "pillow", "pycocotools", "scipy")
"""Distributions whose version may change pixels or scores."""
SAMPLES_KEPT = 16


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run. Everything may be a name; agents, tasks, toolset and experts may also be objects."""

    agents: Sequence[str | Agent]
    """Names with options, or agents; an object never gets privileges."""
    tasks: Sequence[str | Task]
    """Names with options, or tasks. Only what has a name can be made again by whoever verifies the run."""
    split: str | None = None
    """Which samples; ``None`` is ``val``, or the first split of a task without it."""
    level: int | None = None
    """Difficulty; ``None`` is each task's first."""
    toolset: str | Toolset = "full"
    memory: str = "archive"
    experts: str | ExpertSet = "embedded"
    reward: str = "primary"
    grammar: str = "hermes"
    limit: int | None = None
    """How many samples of each task, drawn by ``seed``; ``None`` is all."""
    samples: Sequence[str] | None = None
    """Chosen samples instead, by id ``Task/split/level/index``, whatever options the task has, or by index in every task."""
    seed: int = 0
    max_turns: int | None = None
    """``None`` is each task's own."""
    keep_images: int = 8
    """For how many samples of each task every picture of every agent is stored; of files on disk the originals always
    are, as links."""

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("max_turns", 1), ("seed", 0), ("keep_images", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise bad_value(name, value, expected=f"an integer of at least {least}")
        for name in ("agents", "tasks"):
            if not getattr(self, name):
                raise bad_value(name, list(getattr(self, name)), expected="at least one name")
        if self.samples is not None and (self.limit is not None or not self.samples):
            raise bad_value("samples", self.samples, expected="at least one sample, and no limit beside it")

    @property
    def specs(self) -> tuple[str, ...]:
        """Everything given by name, options included."""
        return tuple(v for v in (*self.agents, *self.tasks, self.toolset, self.experts) if isinstance(v, str))


class Grant:
    """The :class:`~visenv.agent.Privilege` of one episode."""

    def __init__(self, episode: Episode, *, may_register: bool) -> None:
        self._episode = episode
        self._may_register = may_register

    @property
    def target(self) -> Target:
        """The truth of the sample."""
        return self._episode.sample.target

    @property
    def objects(self) -> Sequence[DetectedObject]:
        """The objects of the episode now."""
        return self._episode.objects

    def register_target(self) -> None:
        """Put the truth into the object table.

        Raises:
            VisenvError: Only the oracle may.
        """
        if not self._may_register:
            raise VisenvError("This agent may not register the target. Only the oracle may. Use tools.")
        self._episode.register_target()


class Cast:
    """The agents, tasks, experts and rules that settings name.

    Args:
        settings: What to run.
        threads: Threads of the embedded experts; ``None`` leaves it to them.

    Raises:
        UnknownNameError: A name does not exist.
        BadValueError: Two agents or tasks have one name, or an option is wrong.
    """

    def __init__(self, settings: RunSettings, *, threads: int | None = None) -> None:
        self.settings = settings
        self.secrets = find_secrets(settings.specs)
        self.agents: dict[str, Agent] = {}
        self.agent_infos: list[AgentInfo] = []
        self.registering: set[str] = set()
        for given in settings.agents:
            self._add_agent(given)
        self.tasks: dict[str, Task] = {}
        for wanted in settings.tasks:
            self._add_task(wanted)
        self.profiles = {name: profiles_of(task) for name, task in self.tasks.items()}
        self.task_infos = [self._task_info(label, task) for label, task in self.tasks.items()]
        self._check_samples()
        toolset = settings.toolset
        if isinstance(toolset, str):
            toolset = plugins.load("toolsets", toolset)
        self.toolset: Toolset = toolset
        self._owns_experts = isinstance(settings.experts, str)
        self.experts = make_experts(_with_threads(settings.experts, threads))
        if isinstance(settings.experts, str) and self.experts.store is not None:  # noted as a replay will name them
            spec = ExpertsSpec.parse(settings.experts)
            self.experts.store.note_experts(spec.canonical(), self.experts.identities())
        try:
            self.rules: dict[str, Rules] = {
                name: make_rules(
                    task, self.experts, toolset=toolset, memory=settings.memory.lower(), reward=settings.reward.lower(),
                    grammar=settings.grammar.lower(), max_turns=settings.max_turns,
                )
                for name, task in self.tasks.items()
            }  # fmt: skip
            self._manners = {a.name: (make_grammar(a.grammar), make_vision(a.vision)) for a in self.agent_infos}
        except BaseException:
            self.close()
            raise
        self._samples: OrderedDict[tuple[str, str, int, int], Sample] = OrderedDict()

    @property
    def info(self) -> RunInfo:
        """What ``run.json`` says."""
        s = self.settings
        return RunInfo(
            versions=self._versions(), agents=tuple(self.agent_infos), tasks=tuple(self.task_infos),
            toolset=self.toolset.name, memory=s.memory.lower(), reward=s.reward.lower(), grammar=s.grammar.lower(),
            experts=ExpertsSpec.parse(s.experts).canonical() if isinstance(s.experts, str) else "(given as an object)",
            expert_identities={str(c): i for c, i in self.experts.identities().items()},
            limit=s.limit, samples=None if s.samples is None else tuple(s.samples), seed=s.seed, max_turns=s.max_turns, keep_images=s.keep_images,
        )  # fmt: skip

    def rules_of(self, agent: str, task: str) -> Rules:
        """Return the rules of a task's episodes, in the manner of an agent."""
        grammar, vision = self._manners[agent]
        return replace(self.rules[task], grammar=grammar, vision=vision)

    @property
    def in_flight(self) -> int:
        """How many episodes the agents want to have in flight at least."""
        return max(_manner_of(agent).in_flight for agent in self.agents.values())

    def sample(self, task: str, split: str, level: int, index: int) -> Sample:
        """Return a sample, kept for a while because several agents play it."""
        key = (task, split, level, index)
        if key not in self._samples:
            self._samples[key] = self.tasks[task].sample(split, level, index)
            while len(self._samples) > SAMPLES_KEPT:
                self._samples.popitem(last=False)
        return self._samples[key]

    def grant(self, agent: str, episode: Episode) -> Grant | None:
        """Return what a privileged agent gets, ``None`` for all others."""
        if not any(a.privileged for a in self.agent_infos if a.name == agent):
            return None
        return Grant(episode, may_register=agent in self.registering)

    def close_agents(self) -> None:
        """Close the agents made here; what one of them raises is a warning, for nothing depends on it any more."""
        for agent, given in zip(self.agents.values(), self.settings.agents, strict=False):
            close = getattr(agent, "close", None)
            if isinstance(given, str) and close is not None:
                _close(close, agent.name)
        self.agents.clear()

    def close(self) -> None:
        """Close the agents, and the experts made here."""
        self.close_agents()
        if self._owns_experts:
            _close(self.experts.close, "experts")

    def _add_agent(self, given: str | Agent) -> None:
        privileged = False
        if isinstance(given, str):
            plugin = plugins.find("agents", name_of(given))
            privileged = PRIVILEGED.get(plugin.name) == plugin.entry_point.value
            made, _ = plugins.check("agents", given)
            label = redact(_without(given, plugin.name, getattr(made, "LOCAL", frozenset())))
        else:
            label = given.name
        if not label.isprintable():
            raise bad_value("agents", label, expected="a name that can be printed")
        if any(a.name == label for a in self.agent_infos):
            raise bad_value("agents", label, expected="each agent once")
        agent = make_agent(given) if isinstance(given, str) else given
        self.agents[label] = agent
        manner = _manner_of(agent)
        self.agent_infos.append(
            AgentInfo(
                name=label, privileged=privileged, grammar=(manner.grammar or self.settings.grammar).lower(),
                vision=(manner.vision or ESTIMATE.spec).lower(), identity=str(getattr(agent, "identity", "")),
            )
        )  # fmt: skip
        if privileged and isinstance(given, str) and plugin.name == "oracle":
            self.registering.add(label)

    def _add_task(self, given: str | Task) -> None:
        label = task_label(given) if isinstance(given, str) else given.name
        if not label.isprintable() or not (isinstance(given, str) or name_of(label) == label):
            raise bad_value(
                "tasks", label, expected="a name that can be printed, in a task of your own without a colon"
            )
        if label in self.tasks:
            raise bad_value("tasks", label, expected="each task once")
        self.tasks[label] = make_task(given) if isinstance(given, str) else given

    def _task_info(self, label: str, task: Task) -> TaskInfo:
        s = self.settings
        asked = default_split(task) if s.split is None else s.split
        split = next((name for name in task.splits if name.lower() == asked.lower()), asked)
        level = task.levels[0] if s.level is None else s.level
        size = task.num_samples(split, level)
        if s.samples is None:
            number = num_asked(size, s.limit, where=f"{label}, split {split!r}")
        else:
            number = len(indices_of(label, split, level, size=size, samples=s.samples, limit=None, seed=s.seed))
        return TaskInfo(name=label, version=task.version, split=split, level=level, num_samples=number)

    def _check_samples(self) -> None:
        """Check that every chosen sample is of this run, and every task has one."""
        homes = {f"{name_of(t.name)}/{t.split}/{t.level}".lower() for t in self.task_infos}
        for sample in self.settings.samples or ():
            home = sample.rpartition("/")[0]
            if home and home.lower() not in homes:
                raise bad_value("sample", sample, expected=f"a sample of {', '.join(sorted(homes))}")
        for task in self.task_infos:
            if not task.num_samples:
                raise bad_value(
                    "samples", self.settings.samples or (), expected=f"at least one of {task.name}, {task.split}"
                )

    def _versions(self) -> dict[str, str]:
        """Return the version of what computes pixels and scores, and of the packages whose plugins are in use."""
        named = [("agents", a) for a in self.settings.agents if isinstance(a, str)]
        named += [("tasks", t) for t in self.settings.tasks if isinstance(t, str)]
        if isinstance(self.settings.toolset, str):
            named.append(("toolsets", self.settings.toolset))
        if isinstance(self.settings.experts, str):
            named += [("experts", name) for name in _installed_experts(self.settings.experts)]
        found = {"visenv": visenv.__version__}
        found |= {name: importlib.metadata.version(name) for name in COMPUTING}
        for group, name in named:
            dist = plugins.find(group, name_of(name)).entry_point.dist
            if dist is not None:
                found[dist.name] = dist.version
        return dict(sorted(found.items()))


def _without(spec: str, name: str, local: Collection[str]) -> str:
    """Return a spec without the options that say where an agent runs rather than how it plays; of paths their ends."""
    options = {key: text for key, text in split_options(spec)[1].items() if key not in local}
    options = {
        key: Path(text).name if text is not None and text.startswith(("/", "~", "./", "../")) else text
        for key, text in options.items()
    }
    texts = [key if text is None else f"{key}={text}" for key, text in options.items()]
    return f"{name}:{','.join(texts)}" if texts else name


def _manner_of(agent: Agent) -> Manner:
    manner = getattr(agent, "manner", Manner())
    if not isinstance(manner, Manner):
        raise bad_value("manner", manner, expected=f"a visenv.Manner, as an attribute of {agent.name!r}")
    if isinstance(manner.in_flight, bool) or not isinstance(manner.in_flight, int) or manner.in_flight < 1:
        raise bad_value(
            "in_flight", manner.in_flight, expected=f"an integer of at least 1 in the manner of {agent.name!r}"
        )
    return manner


def _close(close: Callable[[], object], name: str) -> None:
    try:
        close()
    except BaseException as error:  # the boundary to a plugin's code
        if stops_the_process(error):
            raise
        warnings.warn(f"{name!r} cannot be closed: {redact(say(error))}.", RuntimeWarning, stacklevel=3)


def _installed_experts(experts: str) -> list[str]:
    """Return the names of a spec; of a replay those that are there, for it needs none."""
    spec = ExpertsSpec.parse(experts)
    here = {name.lower() for name in plugins.names("experts")}
    return [name for name in map(name_of, spec.specs) if spec.replay is None or name.lower() in here]


def _with_threads(experts: str | ExpertSet, threads: int | None) -> str | ExpertSet:
    """Return a spec in which the embedded experts use so many threads, where it does not say how many; a replay has none."""
    if threads is None or not isinstance(experts, str):
        return experts
    spec = ExpertsSpec.parse(experts)
    return experts if spec.replay is not None else str(spec.map(lambda one: _limit_threads(one, threads)))


def _limit_threads(spec: str, threads: int) -> str:
    name, options = split_options(spec)
    if name.lower() == "sliced":  # what it slices for is a spec of its own, with semicolons for commas
        inner = (options.get("of") or "embedded").replace(";", ",")
        options["of"] = _limit_threads(inner, threads).replace(",", ";")
        return f"{name}:{','.join(key if text is None else f'{key}={text}' for key, text in options.items())}"
    if name.lower() != "embedded" or "threads" in options:
        return spec
    return f"{spec}{',' if options else ':'}threads={threads}"
