"""Asking any agent about one's own pictures. Nobody knows the truth there, so nothing is scored."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import numpy.typing as npt

from . import plugins
from .agent import Agent, EpisodeSpec, Manner, Player, act_all, costs_of, make_agent, plain_action
from .answers import AnswerKind, Target
from .asked import Asked
from .chat import Conversation
from .drivers import drive
from .episode import EndReason, Episode, Observation, Rules, Turn
from .errors import (
    InfrastructureError,
    TokenLimitError,
    UnsuitedError,
    bad_value,
    say,
    stops_the_process,
    unknown_name,
)
from .experts import ExpertSet, ExpertsSpec, make_experts
from .function_agent import FunctionAgent
from .grammars import make_grammar
from .images import Image, load_image
from .memory import make_policy
from .redaction import find_secrets, redact
from .specs import name_of
from .task import Sample
from .tools import ToolCall, Toolset
from .vision import make_vision

__all__ = ["Picture", "ask"]

Picture = str | Path | Image | npt.NDArray[np.uint8]
"""The place of a file, or pixels: ``uint8 (H, W, 3)`` RGB or ``(H, W)`` grey."""
PICTURE = (str, Path, Image, np.ndarray)
"""The same as classes."""
Action = ToolCall | str | Mapping[str, Any]

TURNS = 12
MAX_PICTURES = 32
MAX_PX = 2**28
"""Of all pictures together."""
MAX_WORDS = 20_000
"""Longest instruction with its options, characters."""
NEED_TRUTH = ("demonstrator", "oracle")
"""Shipped agents that play by the truth."""


def ask(
    pictures: Picture | Sequence[Picture],
    instruction: str,
    *,
    answer: str | AnswerKind = AnswerKind.MASK,
    options: Sequence[str] = (),
    agent: str | Agent | Callable[[Observation], Action] = "scripted",
    toolset: str | Toolset = "full",
    experts: str | ExpertSet = "embedded",
    memory: str = "archive",
    max_turns: int | None = None,
    seed: int = 0,
    on_turn: Callable[[Turn], None] | None = None,
) -> Asked:
    """Ask an agent about one's own pictures.

    Args:
        pictures: One or several, files or pixels. Masks and boxes are of the first; the others are there to compare with. A file
            is turned upright as its EXIF data says, and everything is in pixels of that.
        instruction: What is wanted, such as ``the cup`` or ``How many coins are there?``.
        answer: The form of answer: ``mask``, ``boxes``, ``count`` or ``choice``.
        options: The texts to choose from, for ``choice``; the agent reads them as A, B, C, …
        agent: A name with options, an agent, or a function that returns the next call for an observation.
        toolset: The tools it plays with.
        experts: Who stands behind the tools.
        memory: Which images stay visible.
        max_turns: Turn limit; by default 12, or the toolset's if that is lower.
        seed: Of the agent's own random choices.
        on_turn: Told of every turn.

    Returns:
        What was answered, or why nothing was. An agent or an expert that fails is no exception.

    Raises:
        UnknownNameError: No such agent, toolset, expert or memory policy.
        BadValueError: A picture is not readable or too large, or another argument is wrong.
        UnsuitedError: The agent cannot play with these tools, or needs to know the truth.

    Example:
        >>> import numpy as np
        >>> found = ask(np.zeros((90, 120, 3), np.uint8), "the cup", agent=lambda _: {"name": "submit_none", "arguments": {}})
        >>> print(found)
        No such object.
    """
    images, names, files = _read_pictures(pictures)
    sample = _sample(images, files, instruction, _kind(answer, options), options)
    secrets = find_secrets([v for v in (agent, experts) if isinstance(v, str)])
    known = ExpertsSpec.parse(experts).canonical() if isinstance(experts, str) else "(given as an object)"
    with ExitStack() as closing:
        playing, label = _cast(agent)
        if isinstance(agent, str):
            closing.callback(_close, playing, label)
        standing = make_experts(experts)
        if isinstance(experts, str):
            closing.callback(_close, standing, "experts")
        rules = _rules(playing, standing, toolset=toolset, memory=memory, max_turns=max_turns)
        episode = Episode(sample, profile=None, rules=rules)
        began = time.perf_counter()
        failure, costs = _play(episode, playing, standing, seed=seed, on_turn=on_turn)
        seconds = time.perf_counter() - began
        settings = _settings(episode, standing, label, redact(known, secrets), seed)
        identities = standing.identities()
    return Asked(
        episode=episode, agent=label, names=names, seed=seed, seconds=seconds,
        failure=None if failure is None else redact(failure, secrets), costs=costs, experts=identities, settings=settings,
        secrets=secrets,
    )  # fmt: skip


def _play(
    episode: Episode, agent: Agent, experts: ExpertSet, *, seed: int, on_turn: Callable[[Turn], None] | None
) -> tuple[str | None, dict[str, float]]:
    """Play an episode to its end; return what failed, and what the player says that it cost."""
    sample = episode.sample
    spec = EpisodeSpec(
        task=sample.task, split=sample.split, level=sample.level, kind=sample.target.kind, toolset=episode.toolset,
        max_turns=episode.rules.max_turns, seed=seed, conversation=Conversation(episode),
    )  # fmt: skip
    player: Player | None = None
    failure: str | None = None
    while not episode.ended:
        try:
            player = agent.start(spec) if player is None else player
            action = plain_action(*act_all(agent, [player], [episode.observe()]))
        except BaseException as error:  # the boundary to agent code
            if player is None and isinstance(error, UnsuitedError):
                raise
            failure = _end(episode, error)
            continue
        number = len(episode.turns)
        try:
            drive(episode.play(action), experts)
        except (Exception, SystemExit) as error:  # a bug in a tool: what was played before it is kept
            episode.fail(say(error))
        if on_turn is not None and len(episode.turns) > number:
            on_turn(episode.turns[-1])
    return episode.failure or failure, costs_of(player)


def _close(one: object, name: str) -> None:
    """Close what was made here; what goes wrong then costs nobody the answer."""
    try:
        getattr(one, "close", lambda: None)()
    except BaseException as error:  # the boundary to a plugin's code
        if stops_the_process(error):
            raise
        warnings.warn(f"{name!r} cannot be closed: {redact(say(error))}.", RuntimeWarning, stacklevel=3)


def _settings(episode: Episode, experts: ExpertSet, agent: str, named: str, seed: int) -> dict[str, str]:
    """Return what an episode was played with, as a person reads it."""
    rules = episode.rules
    return {
        "agent": agent, "tools": rules.toolset.name, "experts": named,
        "standing behind the tools": ", ".join(f"{what} {who}" for what, who in experts.identities().items()) or "none",
        "memory": rules.memory.spec, "grammar": rules.grammar.name, "coordinates": rules.coordinates.name, "vision": rules.vision.spec, "seed": str(seed),
        "turn limit": str(rules.max_turns),
    }  # fmt: skip


def _end(episode: Episode, error: BaseException) -> str | None:
    """End an episode as what its agent raised says, and return what failed."""
    if stops_the_process(error):
        raise error
    if isinstance(error, InfrastructureError):
        episode.fail(say(error))
        return None
    full = isinstance(error, TokenLimitError)
    episode.stop(EndReason.TOKEN_LIMIT if full else EndReason.AGENT_ERROR)
    return None if full else say(error)


def _cast(agent: str | Agent | Callable[[Observation], Action]) -> tuple[Agent, str]:
    """Return an agent and what it is called."""
    if isinstance(agent, str):
        if name_of(agent).strip().lower() in NEED_TRUTH:
            raise UnsuitedError(
                f"The agent {name_of(agent)!r} plays by the truth, and nobody gave the truth of your own pictures. Expected an agent "
                "that looks for itself. List them with `visenv list`."
            )
        return make_agent(agent), redact(agent)
    if isinstance(agent, Agent):
        return agent, agent.name
    if callable(agent):
        made = FunctionAgent(agent)
        return made, made.name
    raise bad_value("agent", agent, expected="a name, an agent, or a function that returns the next call")


def _rules(agent: Agent, experts: ExpertSet, *, toolset: str | Toolset, memory: str, max_turns: int | None) -> Rules:
    """Return the rules of an episode, with the agent's own manner where it has one."""
    tools: Toolset = plugins.load("toolsets", toolset) if isinstance(toolset, str) else toolset
    manner: Manner = getattr(agent, "manner", None) or Manner()
    turns = min(TURNS, tools.max_turns or TURNS) if max_turns is None else max_turns
    return Rules(
        toolset=tools.for_capabilities(experts.capabilities), memory=make_policy(memory),
        grammar=make_grammar(manner.grammar or "hermes"), vision=make_vision(manner.vision or "estimate"), max_turns=turns,
    )  # fmt: skip


def _kind(answer: str | AnswerKind, options: Sequence[str]) -> AnswerKind:
    try:
        kind = AnswerKind(str(answer).lower())
    except ValueError:
        raise unknown_name(
            "form of answer", answer, [kind.value for kind in AnswerKind], remedy="Use one of these."
        ) from None
    if isinstance(options, str) or not all(isinstance(text, str) and text.strip() for text in options):
        raise bad_value("options", options, expected="texts to choose from")
    if kind is AnswerKind.CHOICE and not 2 <= len(options) <= len(ascii_uppercase):
        raise bad_value(
            "options",
            list(options),
            expected="2 to 26 texts for a choice",
            remedy="Name each with --option (in Python: options=[…]).",
        )
    if kind is not AnswerKind.CHOICE and options:
        raise bad_value("options", list(options), expected=f"none for an answer of the form {kind.value!r}")
    return kind


def _sample(
    images: tuple[Image, ...],
    files: tuple[Path | None, ...],
    instruction: str,
    kind: AnswerKind,
    options: Sequence[str],
) -> Sample:
    if not isinstance(instruction, str) or not instruction.strip():
        raise bad_value("instruction", instruction, expected="what is wanted, in words")
    lines = [f"{letter}. {text.strip()}" for letter, text in zip(ascii_uppercase, options, strict=False)]
    asked = "\n".join([instruction.strip(), *lines])
    if len(asked) > MAX_WORDS:
        raise bad_value("instruction", asked, expected=f"at most {MAX_WORDS} characters")
    try:
        asked.encode()
    except UnicodeEncodeError as error:
        raise bad_value("instruction", asked, expected=f"text that can be written as UTF-8 ({error.reason})") from None
    width, height = images[0].size_wh
    target = Target(kind=kind, size_hw=(height, width), options=tuple(text.strip() for text in options), known=False)
    return Sample(
        id="ask", task="ask", split="own", level=1, index=0, instruction=asked, images=images, target=target, cluster="ask",
        files=files,
    )  # fmt: skip


def _read_pictures(
    pictures: Picture | Sequence[Picture],
) -> tuple[tuple[Image, ...], tuple[str, ...], tuple[Path | None, ...]]:
    """Return pictures, what they are called, and their files."""
    several = isinstance(pictures, Iterable) and not isinstance(pictures, PICTURE)
    given: list[Any] = list(pictures) if several else [pictures]  # type: ignore[arg-type]
    if not all(isinstance(one, PICTURE) for one in given):
        raise bad_value("pictures", pictures, expected="files or pixels, one or several")
    if not 1 <= len(given) <= MAX_PICTURES:
        raise bad_value("pictures", f"{len(given)} pictures", expected=f"1 to {MAX_PICTURES}")
    images: list[Image] = []
    for one in given:
        images.append(_read_picture(one))
        if sum(image.size_wh[0] * image.size_wh[1] for image in images) > MAX_PX:
            raise bad_value("pictures", f"{len(given)} pictures", expected=f"at most {MAX_PX} pixels together")
    files = tuple(Path(one) if isinstance(one, (str, Path)) else None for one in given)
    names = tuple(f"img_{i}" if file is None else file.name for i, file in enumerate(files))
    return tuple(images), names, files


def _read_picture(picture: Picture) -> Image:
    if isinstance(picture, Image):
        return picture
    if isinstance(picture, np.ndarray):
        return Image(np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture)
    return load_image(picture)
