"""Builds the two reference implementations with small random weights and compares with them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from unittest import mock

import torch
from torch import Tensor, nn

from samft.models.config import SamConfig, VitEncoder
from samft.models.registry import build_from_config
from samft.models.sam import Sam

# A grid of 8 does not divide into windows of 5, so every windowed block pads.
TINY = SamConfig(
    name="tiny",
    encoder=VitEncoder(dim=32, depth=3, heads=2, global_blocks=(1,), window_size=5),
    image_size=128,
    embed_dim=32,
    decoder_heads=4,
    decoder_mlp_dim=64,
)

_STUBS = (
    "torchvision",
    "torchvision.ops",
    "torchvision.ops.boxes",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


def import_segment_anything() -> ModuleType:
    """Import `segment_anything.modeling`; the package wants torchvision, which samft does without.

    The stand-ins are taken away again, because transformers asks whether torchvision is there.
    """
    stubs = {name: mock.MagicMock() for name in _STUBS if name not in sys.modules}
    with mock.patch.dict(sys.modules, stubs):
        import segment_anything.modeling as modeling
    return modeling


def official_sam(config: SamConfig) -> nn.Module:
    """Build the model of the `segment_anything` package."""
    modeling = import_segment_anything()
    grid = (config.grid_size, config.grid_size)
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.encoder.dim,
            depth=config.encoder.depth,
            num_heads=config.encoder.heads,
            out_chans=config.embed_dim,
            norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6),
            use_rel_pos=True,
            window_size=config.encoder.window_size,
            global_attn_indexes=config.encoder.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=config.embed_dim,
            image_embedding_size=grid,
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=config.embed_dim,
            transformer=modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.embed_dim,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            num_multimask_outputs=config.num_multimask,
            iou_head_hidden_dim=config.embed_dim,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def huggingface_sam(config: SamConfig, *, attention: str = "sdpa") -> nn.Module:
    """Build `transformers.SamModel` with the norm epsilon of the official decoder (1e-5)."""
    import transformers

    size = {"image_size": config.image_size, "patch_size": config.patch_size}
    settings = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(
            **size,
            hidden_size=config.encoder.dim,
            output_channels=config.embed_dim,
            num_hidden_layers=config.encoder.depth,
            num_attention_heads=config.encoder.heads,
            window_size=config.encoder.window_size,
            global_attn_indexes=list(config.encoder.global_blocks),
            num_pos_feats=config.embed_dim // 2,
        ),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(
            **size, hidden_size=config.embed_dim
        ),
        mask_decoder_config=transformers.SamMaskDecoderConfig(
            hidden_size=config.embed_dim,
            mlp_dim=config.decoder_mlp_dim,
            num_hidden_layers=config.decoder_depth,
            num_attention_heads=config.decoder_heads,
            iou_head_hidden_dim=config.embed_dim,
            layer_norm_eps=1e-5,
        ),
        attn_implementation=attention,
    )
    return transformers.SamModel(settings)


# Order matters: longer names first.
_TO_HUGGINGFACE = (
    ("image_encoder.", "vision_encoder."),
    ("patch_embed.proj.", "patch_embed.projection."),
    ("neck.0.", "neck.conv1."),
    ("neck.1.", "neck.layer_norm1."),
    ("neck.2.", "neck.conv2."),
    ("neck.3.", "neck.layer_norm2."),
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    ("point_embeddings.", "point_embed."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
    ("output_upscaling.0.", "upscale_conv1."),
    ("output_upscaling.1.", "upscale_layer_norm."),
    ("output_upscaling.3.", "upscale_conv2."),
    (".norm_final_attn.", ".layer_norm_final_attn."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".norm3.", ".layer_norm3."),
    (".norm4.", ".layer_norm4."),
)


def huggingface_key(key: str) -> str:
    """Return the name of an official key in `transformers.SamModel`."""
    if key.startswith("image_encoder."):
        key = key.replace(".blocks.", ".layers.").replace("image_encoder.blocks", "")
    if "hypernetworks_mlps" in key or "iou_prediction_head" in key:
        for official, other in (("layers.0", "proj_in"), ("layers.2", "proj_out")):
            key = key.replace(official, other)
        key = key.replace("layers.1", "layers.0")
    for official, other in _TO_HUGGINGFACE:
        key = key.replace(official, other)
    return key


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every parameter, also those that start at zero, values that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):  # a norm's scale
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * noise)
            else:
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                spread = 0.3 if "pos" in name else fan_in**-0.5
                parameter.copy_(spread * noise)


@dataclass(frozen=True)
class Trio:
    """The same weights in samft and both references."""

    ours: Sam
    official: nn.Module
    huggingface: nn.Module


def build_trio(config: SamConfig) -> Trio:
    """Build all three and copy samft's random weights into the references, strictly."""
    ours = build_from_config(config)
    randomise(ours)
    official, huggingface = official_sam(config), huggingface_sam(config)
    state = ours.state_dict()
    official.load_state_dict(state, strict=True)
    renamed = {huggingface_key(key): value for key, value in state.items()}
    shared = "shared_embedding.positional_embedding"
    renamed["shared_image_embedding.positional_embedding"] = renamed[f"prompt_encoder.{shared}"]
    huggingface.load_state_dict(renamed, strict=True)
    return Trio(ours, official, huggingface)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest absolute difference over the largest absolute reference value."""
    assert ours.shape == theirs.shape
    scale = theirs.abs().max().clamp(min=1e-12)
    return ((ours - theirs).abs().max() / scale).item()


def gradient_differences(
    ours: nn.Module, theirs: nn.Module, *, huggingface: bool = False
) -> dict[str, float]:
    """Compare the gradients of all parameters by official name.

    A parameter without a gradient counts as having a zero one. Differences are relative to the
    larger of the parameter's own largest gradient and a thousandth of the model's, so that
    gradients that are zero but for rounding (key biases, for instance) compare as equal.
    """
    others = dict(theirs.named_parameters())
    pairs = {}
    for name, parameter in ours.named_parameters():
        other = others[huggingface_key(name) if huggingface else name]
        pairs[name] = (_gradient(parameter), _gradient(other))
    floor = 1e-3 * max(other.abs().max().item() for _, other in pairs.values())
    return {
        name: ((a - b).abs().max() / max(b.abs().max().item(), floor)).item()
        for name, (a, b) in pairs.items()
    }


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
