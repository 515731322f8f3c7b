"""Vision-language models of Transformers in this process, many prompts at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from ..chat import Message
from ..encoding import resize_image
from ..errors import bad_value, missing_extra, say
from ..experts._options import check_count
from ..experts._torch import DTYPES, hash_model, pick_device
from ..vision import Vision
from ._batched import BatchedCompleter
from ._calls import split_calls
from ._generation import Draws, Ends
from ._protocol import Completion, CompletionError, CompletionRequest, Finish

__all__ = ["TransformersCompleter"]

UNNAMED = ("_name_or_path", "transformers_version")
"""Settings that replies do not depend on."""


class TransformersCompleter(BatchedCompleter):
    """Runs a model that ``AutoModelForImageTextToText`` loads: Qwen-VL, InternVL, SmolVLM and others. Extra: ``hf``.

    Prompts of many episodes are generated from together. In float32 a prompt gets the same reply alone and in company, also
    where it is drawn at random; in 16 bits rounding depends on the company. What a request says about sampling is all that
    counts: penalties and the like that a checkpoint proposes are not used. Words in a prompt that are control tokens of the model,
    such as ``<|im_end|>``, get a space inside. A model's native tool calls are understood as ``<tool_call>`` JSON only.
    """

    def __init__(
        self, model: str, *, device: str = "auto", dtype: str = "auto", batch_size: int = 8, revision: str = ""
    ) -> None:
        """Load a model from safetensors; code that comes with it is never run.

        Args:
            model: A hub id, or a folder that ``save_pretrained`` wrote, for which no network is needed.
            device: ``auto`` for the first GPU or else the CPU; ``cpu``, ``cuda``, ``cuda:1``.
            dtype: What weights are kept and computed in: ``float32``, ``bfloat16`` or ``float16``; ``auto`` is ``bfloat16`` on a
                GPU and ``float32`` on a CPU.
            batch_size: Most prompts at a time; where memory runs out, fewer.
            revision: Branch, tag or commit of a hub id.

        Raises:
            MissingExtraError: Transformers is not installed.
            BadValueError: No such model, one that is not spoken to in a chat, or an option out of range.
        """
        try:
            import torch
            import torchvision  # noqa: F401
            import transformers
        except ModuleNotFoundError as error:
            raise missing_extra("Backend 'transformers'", "hf") from error
        check_count("batch_size", batch_size, high=4096)
        place = pick_device(device)
        chosen = ("float32" if place.type == "cpu" else "bfloat16") if dtype == "auto" else dtype
        if chosen not in DTYPES:
            raise bad_value("dtype", dtype, expected=f"auto, {', '.join(DTYPES)}")
        version = {"revision": revision} if revision else {}
        self._processor: Any = _load(transformers.AutoProcessor, model, **version)
        if not getattr(self._processor, "chat_template", None) or not hasattr(self._processor, "image_processor"):
            raise bad_value("model", model, expected="a model with a chat template that takes pictures")
        loaded: Any = _load(
            transformers.AutoModelForImageTextToText, model, use_safetensors=True, dtype=getattr(torch, chosen), **version
        )  # fmt: skip
        self._model: Any = loaded.to(place).eval()
        self._tokenizer: Any = self._processor.tokenizer
        self._tokenizer.padding_side = "left"
        self._eos, self._model.generation_config = _ends_of(self._model, self._tokenizer)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token_id = self._eos[0]
        self._context = int(self._model.config.get_text_config().max_position_embeddings)
        self._control = _control_tokens(self._tokenizer)
        self.vision = _family_of(self._processor.image_processor)
        name = Path(model).expanduser().resolve().name if Path(model).expanduser().is_dir() else model
        weights = hash_model(self._model, **_settings(self._model, self._processor))
        super().__init__(identity=f"{name}@{weights[:16]}/{chosen}-{place.type}", batch_size=batch_size)

    def _kind(self, request: CompletionRequest) -> Hashable:
        # Processors take no prompts without pictures beside others with some, and templates one list of tools.
        return bool(request.images), json.dumps(request.tools, sort_keys=True)

    def _answer(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        inputs = self._encode(requests)
        lengths: list[int] = inputs["attention_mask"].sum(1).tolist()
        fitting = [k for k, length in enumerate(lengths) if length < self._context]
        answers: dict[int, Completion] = {}
        if len(fitting) == len(requests):
            answers = dict(enumerate(self._generate(inputs, requests, lengths)))
        elif fitting:
            answers = dict(zip(fitting, self._answer([requests[k] for k in fitting]), strict=True))
        return [
            answers.get(k) or Completion(content="", finish="context_full", prompt_tokens=length)
            for k, length in enumerate(lengths)
        ]

    def _encode(self, requests: Sequence[CompletionRequest]) -> Any:
        """Return the model's inputs for prompts of one kind, padded on the left."""
        tools = list(requests[0].tools) or None
        chats = [self._chat(r.messages, r.vision) for r in requests]
        if tools and self._written(chats[0], None) == self._written(chats[0], tools):
            raise CompletionError(
                f"The chat template of {self.identity} has no place for tools. Use a grammar that lists them in the prompt, such "
                "as hermes."
            )
        try:
            return self._processor.apply_chat_template(
                chats, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
                processor_kwargs={"padding": True},
            )  # fmt: skip
        except Exception as error:  # the boundary to the template and the processor, which come with the model
            raise CompletionError(f"{self.identity} cannot take a prompt in: {say(error)}") from error

    def _written(self, chat: list[Message], tools: list[dict[str, Any]] | None) -> str:
        return str(self._processor.apply_chat_template(chat, tools=tools, add_generation_prompt=True, tokenize=False))

    def _generate(self, inputs: Any, requests: Sequence[CompletionRequest], lengths: Sequence[int]) -> list[Completion]:
        import torch

        samplings = [r.sampling for r in requests]
        limits = [min(s.max_tokens, self._context - length) for s, length in zip(samplings, lengths, strict=True)]
        begin = inputs["input_ids"].shape[1]
        ends = Ends(self._tokenizer, samplings, limits, begin=begin, eos=frozenset(self._eos))
        with torch.inference_mode():
            written = self._model.generate(
                **inputs.to(self._model.device, dtype=self._model.dtype), max_new_tokens=max(limits),
                logits_processor=[Draws(samplings)], stopping_criteria=[ends],
            ).cpu()  # fmt: skip
        return [
            self._completion(request, written[row, begin:].tolist(), ends.of(row), length)
            for row, (request, length) in enumerate(zip(requests, lengths, strict=True))
        ]

    def _completion(
        self, request: CompletionRequest, tokens: list[int], ended: tuple[int, Finish], length: int
    ) -> Completion:
        count, finish = ended
        text = self._tokenizer.decode(tokens[:count], skip_special_tokens=True)
        content, calls = split_calls(text) if request.tools else (text, ())
        return Completion(
            content=content, tool_calls=calls, finish=finish, prompt_tokens=length, completion_tokens=count
        )

    def _chat(self, messages: Sequence[Message], vision: Vision) -> list[Message]:
        """Return messages in the form of chat templates: contents are lists of parts, arguments of calls are objects."""
        chat = []
        for message in messages:
            content = message.get("content") or []
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            made = {**message, "content": [self._part(part, vision) for part in parts]}
            if "tool_calls" in message:
                made["tool_calls"] = [_with_object(call) for call in message["tool_calls"]]
            chat.append(made)
        return chat

    def _part(self, part: dict[str, Any], vision: Vision) -> dict[str, Any]:
        if part["type"] != "image":
            return {**part, "text": self._control.sub(lambda m: f"{m[0][0]} {m[0][1:]}", part["text"])}
        seen = resize_image(part["image"], vision.resized_wh(part["image"].size_wh))
        return {"type": "image", "image": PilImage.fromarray(np.asarray(seen.pixels))}

    def _free_memory(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _release(self) -> None:
        self._model = None


def _load(kind: Any, model: str, **more: Any) -> Any:
    folder = Path(model).expanduser()
    where = str(folder) if folder.is_dir() else model
    try:
        return kind.from_pretrained(where, trust_remote_code=False, **more)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise bad_value(
            "model", model, expected=f"a vision-language model whose files can be read, weights as safetensors ({line})",
            remedy="Pass a hub id, with the network up, or a folder that `save_pretrained` wrote.",
        ) from error  # fmt: skip


def _ends_of(model: Any, tokenizer: Any) -> tuple[list[int], Any]:
    """Return the tokens that end a reply, and settings of generation that hold nothing but these."""
    from transformers import GenerationConfig

    found = model.generation_config.eos_token_id if model.generation_config else None
    found = tokenizer.eos_token_id if found is None else found
    eos = [found] if isinstance(found, int) else list(found or ())
    if not eos:
        raise bad_value("model", model.config.model_type, expected="a model with a token that ends its replies")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos[0]
    return eos, GenerationConfig(eos_token_id=eos, pad_token_id=pad, do_sample=False)


def _control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Return what finds a token in a text that has a meaning for the model beyond its letters."""
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special and len(t.content) > 1}
    return re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")


def _family_of(images: Any) -> str | None:
    """Return the family that sizes pictures as an image processor of Qwen's does."""
    if "Qwen2VL" not in type(images).__name__:
        return None
    family = {28: "qwen2.5-vl", 32: "qwen3-vl"}.get(images.patch_size * images.merge_size)
    limits = images.size
    return family and f"{family}:min_pixels={limits['shortest_edge']},max_pixels={limits['longest_edge']}"


def _settings(model: Any, processor: Any) -> dict[str, Any]:
    """Return all that replies depend on beside weights and requests."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in UNNAMED}
    return {
        "config": config, "pictures": processor.image_processor.to_dict(), "template": processor.chat_template,
        "words": sorted(processor.tokenizer.get_vocab().items()),
    }  # fmt: skip


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call whose arguments are an object; templates write them as JSON themselves."""
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
