"""Models of Transformers built small from their configurations, with random weights, saved as published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE_PX = 128
"""What SAM 2 brings pictures to."""
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def clip_tokenizer(length: int) -> tuple[Any, int]:
    from transformers import CLIPTokenizer

    words = ["<|pad|>", *LETTERS, *[f"{c}</w>" for c in LETTERS], "<|startoftext|>", "<|endoftext|>"]
    made = CLIPTokenizer(
        vocab={w: k for k, w in enumerate(words)}, merges=[], pad_token="<|pad|>", model_max_length=length
    )
    return made, len(words)


def clip_text(num_words: int, length: int) -> dict[str, Any]:
    return {
        "vocab_size": num_words, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": length, "bos_token_id": num_words - 2, "eos_token_id": num_words - 1, "pad_token_id": 0,
    }  # fmt: skip


def save_grounding(folder: Path, *, mm: bool = False) -> None:
    import transformers as hf

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *LETTERS, *[f"##{c}" for c in LETTERS]]
    tokenizer = hf.BertTokenizer(vocab={w: k for k, w in enumerate(words)})
    swin = hf.SwinConfig(
        embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4, image_size=64, out_features=["stage2", "stage3", "stage4"]
    )  # fmt: skip
    bert = hf.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )  # fmt: skip
    config = (hf.MMGroundingDinoConfig if mm else hf.GroundingDinoConfig)(
        backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=20, max_text_len=32,
    )  # fmt: skip
    (hf.MMGroundingDinoForObjectDetection if mm else hf.GroundingDinoForObjectDetection)(config).save_pretrained(folder)
    images = hf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    hf.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def save_owlv2(folder: Path) -> None:
    import transformers as hf

    tokenizer, num_words = clip_tokenizer(16)
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16
    }  # fmt: skip
    config = hf.Owlv2Config(text_config=clip_text(num_words, 16), vision_config=vision, projection_dim=32)
    hf.Owlv2ForObjectDetection(config).save_pretrained(folder)
    hf.Owlv2Processor(hf.Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)


def sam2_parts() -> dict[str, Any]:
    import transformers as hf

    hiera = hf.Sam2HieraDetConfig(
        hidden_size=8, image_size=[SIDE_PX, SIDE_PX], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
    )  # fmt: skip
    return {
        "vision_config": hf.Sam2VisionConfig(
            backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
            backbone_feature_sizes=[[SIDE_PX // k] * 2 for k in (4, 8, 16)],
        ),
        "prompt_encoder_config": hf.Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE_PX),
        "mask_decoder_config": hf.Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    }  # fmt: skip


def save_sam2(folder: Path) -> None:
    import transformers as hf

    hf.Sam2Model(hf.Sam2Config(**sam2_parts())).save_pretrained(folder)
    size, mask = {"height": SIDE_PX, "width": SIDE_PX}, {"height": SIDE_PX // 4, "width": SIDE_PX // 4}
    hf.Sam2Processor(hf.Sam2ImageProcessor(size=size, mask_size=mask)).save_pretrained(folder)


def sam3_config(num_words: int) -> Any:
    import transformers as hf

    vit = hf.Sam3ViTConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=112, patch_size=14, window_size=4,
        global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return hf.Sam3Config(
        vision_config=hf.Sam3VisionConfig(
            backbone_config=vit, fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
        ),
        text_config={**clip_text(num_words, 32), "projection_dim": 16}, geometry_encoder_config=small, detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 10}, mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )  # fmt: skip


def save_sam3(folder: Path) -> None:
    import transformers as hf

    tokenizer, num_words = clip_tokenizer(32)  # as long as the processor pads to
    hf.Sam3Model(sam3_config(num_words)).save_pretrained(folder)
    hf.Sam3Processor(hf.Sam3ImageProcessor(size={"height": 112, "width": 112}), tokenizer).save_pretrained(folder)


def save_swin2sr(folder: Path, factor: int = 2) -> None:
    import transformers as hf

    config = hf.Swin2SRConfig(
        image_size=16,
        embed_dim=16,
        depths=[1],
        num_heads=[2],
        window_size=4,
        upscale=factor,
        upsampler="pixelshuffledirect",
    )
    hf.Swin2SRForImageSuperResolution(config).save_pretrained(folder)


SAVE = {
    "grounding-dino": save_grounding,
    "mm-grounding-dino": lambda folder: save_grounding(folder, mm=True),
    "owlv2": save_owlv2,
    "sam2": save_sam2,
    "sam3": save_sam3,
    "swin2sr": save_swin2sr,
}
"""By ``model_type``: writes a model and its processor into a folder."""
