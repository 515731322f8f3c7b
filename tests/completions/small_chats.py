"""Vision-language models of several architectures, tiny and with random weights, saved as published ones are.

Their vocabulary is single bytes, and their chat templates are our own, after the form of each family's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["CONTEXT", "SAVE"]

CONTEXT = 4096
"""Longest prompt and reply of each."""
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT, "initializer_range": 0.5,
}  # fmt: skip
"""Weights so large that the likeliest token changes from place to place."""

PARTS = """
{%- macro written(content) -%}
{%- for part in content -%}{{ picture if part.type == 'image' else part.text }}{%- endfor -%}
{%- endmacro -%}
"""
CHATML = (
    PARTS
    + """
{%- if tools -%}{{ '<|im_start|>system\n' }}{%- for tool in tools -%}{{ tool | tojson + '\n' }}{%- endfor -%}{{ '<|im_end|>\n' }}{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' + written(message.content) }}
{%- for call in message.tool_calls or [] -%}
{{ '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}\n</tool_call>' }}
{%- endfor -%}
{{ '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""
)
USER_ASSISTANT = (
    PARTS
    + """
{{- '<|im_start|>' -}}
{%- for message in messages -%}
{{ message.role | capitalize + ': ' + written(message.content) + '<end_of_utterance>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}
"""
)


def _template(text: str, picture: str) -> str:
    return f"{{%- set picture = {picture!r} -%}}{text.strip()}"


def _tokenizer(marks: list[str], eos: str, **named: str) -> Any:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = tokenizers.Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=eos, pad_token=marks[0], padding_side="right", extra_special_tokens=named
    )


def save_qwen3_vl(folder: Path) -> None:
    """Tokens of 32 px, as Qwen3-VL's."""
    import transformers as hf

    marks = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    tokenizer = _tokenizer(marks, "<|im_end|>")
    number = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    config = hf.Qwen3VLConfig(
        text_config={
            **TEXT, "vocab_size": len(tokenizer), "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=number["<|image_pad|>"], video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"], vision_end_token_id=number["<|vision_end|>"],
    )  # fmt: skip
    _save(hf.Qwen3VLForConditionalGeneration(config), folder, number["<|im_end|>"])
    limits = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    hf.Qwen3VLProcessor(
        hf.Qwen2VLImageProcessor(size=limits, patch_size=16), tokenizer, hf.Qwen3VLVideoProcessor(size=limits),
        chat_template=_template(CHATML, "<|vision_start|><|image_pad|><|vision_end|>"),
    ).save_pretrained(folder)  # fmt: skip


def save_internvl(folder: Path) -> None:
    """One tile of 28 px a picture, one token."""
    import transformers as hf

    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    tokenizer = _tokenizer(
        marks, "<|im_end|>", start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )  # fmt: skip
    config = hf.InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": [28, 28],
            "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=1,
    )  # fmt: skip
    _save(hf.InternVLForConditionalGeneration(config), folder, tokenizer.eos_token_id)
    hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size={"height": 28, "width": 28}, max_patches=2), tokenizer, hf.InternVLVideoProcessor(),
        image_seq_length=1, chat_template=_template(CHATML, "<IMG_CONTEXT>"),
    ).save_pretrained(folder)  # fmt: skip


def save_smolvlm(folder: Path) -> None:
    """Pictures cut into tiles of 32 px, one token each; a template without a place for tools."""
    import transformers as hf

    marks = [
        "<|pad|>",
        "<|im_start|>",
        "<end_of_utterance>",
        "<fake_token_around_image>",
        "<image>",
        "<global-img>",
        "<video>",
    ]
    marks += [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    tokenizer = _tokenizer(marks, "<end_of_utterance>")
    config = hf.SmolVLMConfig(
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer), "pad_token_id": 256},
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=256,
    )  # fmt: skip
    _save(hf.SmolVLMForConditionalGeneration(config), folder, tokenizer.eos_token_id)
    sides = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessor(**sides), tokenizer, hf.SmolVLMVideoProcessor(), image_seq_len=1,
        chat_template=_template(USER_ASSISTANT, "<image>"),
    ).save_pretrained(folder)  # fmt: skip


def _save(model: Any, folder: Path, eos: int) -> None:
    from transformers import GenerationConfig

    # What published checkpoints propose, and what must not matter.
    model.generation_config = GenerationConfig(
        eos_token_id=eos, do_sample=True, temperature=0.7, top_k=3, repetition_penalty=1.5
    )
    model.save_pretrained(folder)


SAVE = {"internvl": save_internvl, "qwen3_vl": save_qwen3_vl, "smolvlm": save_smolvlm}
