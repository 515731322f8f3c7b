"""Transcripts to learn from: episodes that a shipped agent plays, and the prompt and reply of each of their turns."""

from __future__ import annotations

from collections.abc import Sequence

from tiny_model import Lesson

from visenv import Episode, EpisodeSpec, make_agent, make_experts
from visenv.chat import Conversation
from visenv.drivers import drive
from visenv.env import make_rules, make_task

__all__ = ["play_lessons"]


def play_lessons(
    task: str,
    indices: Sequence[int],
    *,
    split: str,
    agent: str = "scripted",
    memory: str = "archive",
    grammar: str = "hermes",
) -> list[list[Lesson]]:
    """Return the turns of episodes on level 1 with the toolset ``full``, each with what a language model would be sent.

    Args:
        task: Its name.
        indices: Of the samples.
        split: Where they are.
        agent: Who plays.
        memory: Which pictures stay visible.
        grammar: How prompts and replies are written.
    """
    made, experts = make_task(task), make_experts("embedded")
    rules = make_rules(made, experts, toolset="full", memory=memory, grammar=grammar)
    player_maker = make_agent(agent)
    episodes = []
    for index in indices:
        sample = made.sample(split, 1, index)
        episode = Episode(sample, profile=made.profile, rules=rules)
        conversation = Conversation(episode)
        spec = EpisodeSpec(
            task=task,
            split=split,
            level=1,
            kind=sample.target.kind,
            toolset=episode.toolset,
            max_turns=rules.max_turns,
            seed=0,
        )
        player = player_maker.start(spec)
        turns = []
        while not episode.ended:
            call = player.act(episode.observe())
            assert isinstance(call, dict)
            turns.append((conversation.messages(), call))
            drive(episode.play(call), experts)
        tools = conversation.tools
        hermes = make_rules(made, experts).grammar  # the tiny model's chat template has one form for calls
        episodes.append(
            [
                Lesson(messages=messages, reply=hermes.render(call, episode.toolset), tools=tools)
                for messages, call in turns
            ]
        )
    experts.close()
    return episodes
