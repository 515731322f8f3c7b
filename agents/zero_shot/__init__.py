"""A language model plays: it is shown the episode as a chat, and what it writes is the call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from visenv import EpisodeSpec, Toolset
from visenv.agent import Manner
from visenv.background import run_in_background
from visenv.chat import Message
from visenv.completions import Completion, CompletionError, CompletionRequest, Sampling, make_completer
from visenv.errors import TokenLimitError, UnsuitedError, bad_value, say
from visenv.grammars import Grammar, ParseError, make_grammar
from visenv.vision import make_vision

__all__ = ["ZeroShot", "ZeroShotPlayer"]

SEEDS = 2**31
NATIVE = make_grammar("openai")


class ZeroShot:
    """Plays any toolset with a vision-language model as it is: behind an OpenAI-compatible endpoint, or in this process.

    A reply that is no call is the model's mistake and costs the turn; a reply that does not come is no mistake of the model: its
    episode fails, is played again, and is never scored.
    """

    name = "zero-shot"
    LOCAL = frozenset(
        "cache in_flight input_price key_env output_price patience_s replay send_stop stream timeout_s url".split()
    )

    def __init__(
        self,
        model: str,
        *,
        backend: str = "openai",
        grammar: str = "hermes",
        coordinates: str = "thousandths",
        vision: str = "",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        context_tokens: int = 0,
        in_flight: int = 32,
        input_price: float = 0.0,
        output_price: float = 0.0,
        cache: str = "",
        replay: str = "",
        **options: Any,
    ) -> None:
        """Ask nothing yet.

        Args:
            model: Its name at the endpoint, or its folder or Hub name.
            backend: ``openai`` (any compatible endpoint), ``transformers`` or ``vllm`` (in this process).
            grammar: How it writes calls: ``hermes``, ``qwen-xml``, ``openai``, ``json``, ``rsagent`` or ``sam3agent``.
            coordinates: How it writes places: ``thousandths`` (0-1000), ``pixels`` (of the picture as it sees it) or ``fractions``.
            vision: How it takes pictures in, such as ``qwen2.5-vl`` or ``qwen3-vl``. By default as the checkpoint says with
                ``transformers``, if its family is known; else ``estimate``, which fits any model.
            temperature: 0 takes the likeliest token; above, replies are drawn with the episode's seed.
            top_p: Share of the likeliest tokens that replies are drawn from.
            max_tokens: Longest reply; 0 leaves that to the endpoint.
            context_tokens: Longest prompt and reply together, after which the episode ends as ``token_limit``; 0 leaves that to the
                server.
            in_flight: Episodes that wait for the model at the same time.
            input_price: US dollars for a million tokens of prompts.
            output_price: The same for replies.
            cache: Folder in which replies are kept, and from which they come if they are there.
            replay: Folder from which all replies come.
            **options: The backend's: ``url``, ``key_env``, ``stream``, ``timeout_s`` and ``patience_s`` for ``openai``; see
                docs/agents.md for the others.

        Raises:
            BadValueError: An option out of range, or one that the backend does not have.
            UnknownNameError: No such backend, grammar, coordinates or vision.
            MissingExtraError: The backend's package is not installed.
        """
        written = grammar if coordinates == "thousandths" else f"{grammar}:coordinates={coordinates}"
        for name, value, most in (("temperature", temperature, 10.0), ("top_p", top_p, 1.0)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise bad_value(name, value, expected=f"a number from 0 to {most:g}")
        for name, count, least in (
            ("max_tokens", max_tokens, 0 if backend == "openai" else 1), ("context_tokens", context_tokens, 0), ("in_flight", in_flight, 1),
        ):  # fmt: skip
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise bad_value(name, count, expected=f"an integer of at least {least}")
        for name, price in (("input_price", input_price), ("output_price", output_price)):
            if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < 1e9:
                raise bad_value(name, price, expected="US dollars for a million tokens")
        make_grammar(written), make_vision(vision or "estimate")
        self.temperature, self.top_p, self.max_tokens = float(temperature), float(top_p), max_tokens
        self.context_tokens = context_tokens
        self.prices = {"prompt_tokens": input_price / 1e6, "completion_tokens": output_price / 1e6}
        self.completer = make_completer(model, backend=backend, cache=cache, replay=replay, **options)
        self.manner = Manner(grammar=written, vision=vision or self.completer.vision or "estimate", in_flight=in_flight)

    @property
    def identity(self) -> str:
        """The model's, for the run's settings."""
        return self.completer.identity

    def start(self, spec: EpisodeSpec) -> ZeroShotPlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The episode cannot be shown as a chat.
        """
        return ZeroShotPlayer(self, spec)

    def close(self) -> None:
        """Close the connections, or let go of the model."""
        run_in_background(self.completer.aclose()).result(timeout=30)


class ZeroShotPlayer:
    """One episode: its prompt is rendered anew each turn, so that what the memory archives is gone."""

    def __init__(self, agent: ZeroShot, spec: EpisodeSpec) -> None:
        if spec.conversation is None:
            raise UnsuitedError("`zero-shot` needs spec.conversation, the episode as a chat. The runner gives it.")
        self.agent, self.seed, self.conversation, self.toolset = agent, spec.seed, spec.conversation, spec.toolset
        self.costs: dict[str, float] = {}
        """What the model said that it read and wrote, and what that costs if prices are given."""
        self._context_tokens = 0

    def act(self, observation: dict[str, Any]) -> str | dict[str, Any]:
        """Return the model's next reply; see :meth:`aact`."""
        future = run_in_background(self.aact(observation))
        try:
            return future.result()
        finally:
            future.cancel()  # an interrupt: nobody waits any more

    async def aact(self, observation: dict[str, Any]) -> str | dict[str, Any]:
        """Return the model's next reply: text, or a message with native calls.

        Raises:
            TokenLimitError: The context is full.
            CompletionError: The model cannot be asked; the episode fails.
        """
        grammar = self.conversation.grammar
        completion = await self.ask(
            self.conversation.messages(), self.conversation.tools, turn=observation["turn"], stop=grammar.stop
        )
        if grammar.sends_tools:
            return {"content": completion.content or None, "tool_calls": list(completion.tool_calls)}
        reply = _put_back(completion, grammar, self.toolset)
        return grammar.restore_stop(reply) if completion.stop_left_out else reply

    async def ask(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), *, turn: int, stop: Sequence[str] = ()
    ) -> Completion:
        """Return the reply to a prompt, its tokens counted.

        Raises:
            TokenLimitError: The context is full.
            CompletionError: The model cannot be asked.
        """
        agent = self.agent
        if agent.context_tokens and self._context_tokens >= agent.context_tokens:
            raise TokenLimitError(f"{self._context_tokens} tokens are in the context of {agent.context_tokens}.")
        request = CompletionRequest(
            messages=messages, tools=tools, vision=self.conversation.vision,
            sampling=Sampling(
                temperature=agent.temperature, top_p=agent.top_p, max_tokens=agent.max_tokens,
                seed=(self.seed * 1_000_003 + turn) % SEEDS, stop=tuple(stop),
            ),
        )  # fmt: skip
        try:
            completion = await agent.completer.complete(request)
        except CompletionError:
            raise
        except Exception as error:  # no fault of the model's, whatever it is: memory, a disk, a bug of ours
            raise CompletionError(f"The model cannot be asked: {say(error)}") from error
        if completion.finish == "context_full":
            raise TokenLimitError("The prompt is longer than the model's context.")
        self._count(completion)
        return completion

    def _count(self, completion: Completion) -> None:
        """Add what a reply cost, as far as the model's server says it."""
        counts = {"prompt_tokens": completion.prompt_tokens, "completion_tokens": completion.completion_tokens}
        self._context_tokens = sum(filter(None, counts.values()))
        for name, count in counts.items():
            if count is not None:
                self.costs[name] = self.costs.get(name, 0) + count
        if any(self.agent.prices.values()):
            self.costs["cost_usd"] = sum(self.costs.get(name, 0) * price for name, price in self.agent.prices.items())


def _put_back(completion: Completion, grammar: Grammar, toolset: Toolset) -> str:
    """Return a reply as text although the server took its calls out unasked, as ``transformers serve`` does for every Qwen."""
    parts = [completion.content]
    for call in completion.tool_calls:
        try:
            parts.append(grammar.render(NATIVE.parse({"content": None, "tool_calls": [call]}, toolset).call, toolset))
        except ParseError:
            parts.append(json.dumps(call))
    return "\n".join(filter(None, parts))
