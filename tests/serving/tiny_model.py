"""A Qwen2.5-VL of a few hundred thousand parameters, made on the spot from nothing and saved as published ones are.

Architecture, special tokens and processors are those of Transformers; the vocabulary is learnt from the texts that the model
will read, so that a page of tools is a few tokens, and the chat template is our own. :func:`overfit` trains it on turns of
episodes until it knows their replies by heart.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visenv import Image
from visenv.chat import Message

__all__ = ["MAX_PIXELS", "TEXT_ONLY", "TOKEN_PX", "Lesson", "load", "num_prompt_tokens", "overfit", "save_tiny"]

MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
TAGS = ("<tool_call>", "</tool_call>")
"""One token each, but part of the text, as in Qwen's vocabulary. Replies begin with one, so no token spans their beginning."""
TOKEN_PX = 28
MAX_PIXELS = 9 * TOKEN_PX**2
"""Pictures are shrunk to at most nine visual tokens."""
WIDTH, LAYERS, HEADS = 64, 2, 4
VOCABULARY = 6000

TEMPLATE = r"""
{%- macro written(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for part in content or [] -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if tools -%}
{{ '<|im_start|>system\n# Functions\n' }}
{%- for tool in tools -%}{{ tool | tojson + '\n' }}{%- endfor -%}
{{ '<|im_end|>\n' }}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{{ '<|im_start|>user\n<tool_response>\n' + written(message.content) + '\n</tool_response>' }}
{%- else -%}
{{ '<|im_start|>' + message.role + '\n' + written(message.content) }}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{{ '<tool_call>\n{"name": ' + call.function.name | tojson + ', "arguments": ' + call.function.arguments | tojson + '}\n</tool_call>' }}
{%- endfor -%}
{{ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""

TEXT_ONLY = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {"content": {"close_pattern": r"\s*<\|im_end\|>", "content": "text"}},
}
"""A response template that has ``transformers serve`` send replies as they were written. Without one it takes tool calls out of
the replies of every Qwen, whether the request has tools or not."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One turn to learn by heart."""

    messages: Sequence[Message]
    """What the model is sent."""
    reply: str
    """What it shall answer: text that begins with a tag, without the mark that ends a message."""
    tools: Sequence[dict[str, Any]] = ()
    """What is sent beside the messages."""

    @property
    def images(self) -> list[Image]:
        """The pictures, in the order of the prompt."""
        parts = itertools.chain(*(m["content"] for m in self.messages if isinstance(m["content"], list)))
        return [part["image"] for part in parts if part["type"] == "image"]


def save_tiny(
    folder: Path, lessons: Sequence[Lesson], *, seed: int = 0, response_template: dict[str, Any] | None = TEXT_ONLY
) -> None:
    """Save a model with random weights and its processor, for ``AutoModelForImageTextToText`` and ``AutoProcessor``.

    Args:
        folder: Where to; made.
        lessons: The vocabulary is learnt from their prompts and replies.
        seed: Of the weights.
        response_template: What a server makes of replies; ``None`` leaves it to the server.
    """
    import torch
    import transformers as hf

    tokenizer = _learn_vocabulary(lessons)
    if response_template is not None:
        tokenizer.response_template = response_template
    end, pad, image, video, begin_vision, end_vision = tokenizer.convert_tokens_to_ids(
        ["<|im_end|>", "<|endoftext|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    )
    config = hf.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]},
            "bos_token_id": pad, "eos_token_id": end, "pad_token_id": pad, "initializer_range": 0.15,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH,
            "window_size": 4 * TOKEN_PX, "fullatt_block_indexes": [1],
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=begin_vision, vision_end_token_id=end_vision,
        tie_word_embeddings=True,
    )  # fmt: skip
    limits = {"shortest_edge": 4 * TOKEN_PX**2, "longest_edge": MAX_PIXELS}
    hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(size=limits), tokenizer, hf.Qwen2VLVideoProcessor(size=limits), chat_template=TEMPLATE
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = hf.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = hf.GenerationConfig(bos_token_id=pad, eos_token_id=end, pad_token_id=pad)
    model.save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """Return the model and the processor of a folder."""
    import transformers as hf

    return hf.AutoModelForImageTextToText.from_pretrained(folder), hf.AutoProcessor.from_pretrained(folder)


def num_prompt_tokens(processor: Any, lesson: Lesson) -> int:
    """Return how many tokens a lesson's prompt is, visual ones included."""
    return int(_encode(processor, _prompt(processor, lesson), lesson.images)["input_ids"].shape[1])


def overfit(
    folder: Path, lessons: Sequence[Lesson], *, limit_s: float = 60.0, num_steps: int = 450, seed: int = 0
) -> float:
    """Train a saved model in place until it knows all lessons, or the steps or the time are over. One thread does.

    The vision tower stays as it is: what it makes of the pictures is computed once, and the rest learns from it.

    Args:
        folder: As :func:`save_tiny` leaves it.
        lessons: What to learn by heart.
        limit_s: Seconds at most.
        num_steps: Steps of eight lessons at most. Those that were wrong when last seen come in every round, others in one of four.
        seed: Of the order of the lessons.

    Returns:
        The share of lessons whose reply's every token is the likeliest in the end.
    """
    import torch

    began = time.monotonic()
    model, processor = load(folder)
    items = [_prepare(model, processor, lesson) for lesson in lessons]
    embedding = model.get_input_embeddings().weight
    others = [p for name, p in model.named_parameters() if "visual" not in name and p is not embedding]
    optimiser = torch.optim.AdamW(
        [{"params": others, "lr": 4e-3}, {"params": [embedding], "lr": 1e-2}], betas=(0.9, 0.98), weight_decay=0.0
    )
    rates = [group["lr"] for group in optimiser.param_groups]
    order, known, step, whole_round = random.Random(seed), [False] * len(items), 0, False
    while not (whole_round and all(known)):
        whole_round = all(known)
        chosen = [k for k in range(len(items)) if whole_round or not known[k] or order.random() < 0.25]
        for batch in _batches(chosen, items, order):
            used = max(step / num_steps, (time.monotonic() - began) / limit_s)
            if used >= 1.0:
                break
            step += 1
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, step / 20) * (1.0 - used)
            loss, right = _loss(model, [items[k] for k in batch])
            for k, is_right in zip(batch, right, strict=True):
                known[k] = is_right
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*others, embedding], 1.0)
            optimiser.step()
        else:
            continue
        break
    model.save_pretrained(folder)
    with torch.no_grad():
        right = [r for at in range(0, len(items), 8) for r in _loss(model, items[at : at + 8])[1]]
    return sum(right) / len(right)


def _learn_vocabulary(lessons: Sequence[Lesson]) -> Any:
    """Learn byte pairs that merge across words and lines: what many prompts share becomes one token, a page of tools too."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    plain = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE)
    pieces: set[str] = set()
    for lesson in lessons:
        pieces.update(re.split("|".join(map(re.escape, MARKS + TAGS)), _prompt(plain, lesson) + lesson.reply))
    texts = [text for text in sorted(pieces) for _ in range(2 if len(text) > 1000 else 1)]  # once is too rare to merge
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, min_frequency=2, special_tokens=list(MARKS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    made.add_tokens([tokenizers.AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="right"
    )


def _prompt(writer: Any, lesson: Lesson) -> str:
    """Return a lesson's prompt as the chat template writes it."""
    text: str = writer.apply_chat_template(
        list(lesson.messages), tools=list(lesson.tools) or None, add_generation_prompt=True, tokenize=False
    )
    return text


def _encode(processor: Any, text: str, images: Sequence[Image]) -> Any:
    pixels = [image.pixels.copy() for image in images]
    return processor(text=[text], images=pixels or None, return_tensors="pt")


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A lesson as tensors; ``L`` tokens, ``V`` of them visual."""

    ids: Any
    """``int64 (L,)``."""
    visual: Any
    """``bool (L,)``: places of visual tokens."""
    features: Any
    """``float32 (V, WIDTH)``: what the vision tower makes of the pictures."""
    positions: Any
    """``int64 (L, 3)``: time, row and column."""
    num_prompt: int


def _prepare(model: Any, processor: Any, lesson: Lesson) -> _Item:
    import torch

    prompt = _prompt(processor, lesson)
    inputs = _encode(processor, f"{prompt}{lesson.reply}<|im_end|>", lesson.images)
    ids = inputs["input_ids"]
    before = _encode(processor, prompt, lesson.images)["input_ids"]
    assert torch.equal(ids[:, : before.shape[1]], before), "a token spans the beginning of the reply"
    with torch.no_grad():
        features = [torch.zeros(0, WIDTH)]
        if lesson.images:
            features += model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
        positions, _ = model.model.get_rope_index(
            ids, mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )  # fmt: skip
    return _Item(
        ids=ids[0], visual=ids[0] == model.config.image_token_id, features=torch.cat(features), positions=positions[:, 0].T,
        num_prompt=before.shape[1],
    )  # fmt: skip


def _batches(chosen: Sequence[int], items: Sequence[_Item], order: random.Random, size: int = 8) -> list[list[int]]:
    """Return the lessons in batches of nearly one length, in random order."""
    ordered = sorted(chosen, key=lambda k: len(items[k].ids) + 8 * order.random())
    batches = [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]
    order.shuffle(batches)
    return batches


def _loss(model: Any, batch: Sequence[_Item]) -> tuple[Any, list[bool]]:
    """Return the cross entropy of the replies' tokens, and which replies are right in every one."""
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([item.ids for item in batch], batch_first=True)  # at the end: causal attention never sees it
    visual = pad([item.visual for item in batch], batch_first=True)
    positions = pad([item.positions for item in batch], batch_first=True).permute(2, 0, 1)
    features = torch.cat([item.features for item in batch])
    embedded = model.get_input_embeddings()(ids).masked_scatter(visual[..., None], features)
    states = model.model.language_model(inputs_embeds=embedded, position_ids=positions).last_hidden_state
    rows, places = zip(
        *((row, place) for row, item in enumerate(batch) for place in range(item.num_prompt, len(item.ids))),
        strict=True,
    )
    logits = model.lm_head(states[list(rows), [place - 1 for place in places]])
    wanted = ids[list(rows), list(places)]
    wrong = set(itertools.compress(rows, (logits.argmax(-1) != wanted).tolist()))
    return torch.nn.functional.cross_entropy(logits, wanted), [row not in wrong for row in range(len(batch))]
