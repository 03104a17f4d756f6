"""One fine-tuning step of SAM, written for samft, `transformers` with peft, and `segment_anything`.

All three get the same images, one tight box for every object, the same loss on the decoder's own
masks (focal, Dice and IoU, samft's function), AdamW, and the same trained weights: the mask decoder
and, by method, updates of the encoder. The peers are used as their documentation shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from samft.losses import SamLoss, SamLossSettings, targets_at
from samft.models.adaptation.presets import PRESETS
from samft.models.config import SamConfig, config_for
from samft.models.official import build_official
from samft.models.sam import PIXEL_MEAN, PIXEL_STD
from samft.module import SamModule
from samft.optim import OptimizerSettings, build_optimizer
from samft.prompts.sampling import tight_boxes
from samft.prompts.settings import PromptSettings
from samft.types import MaskOutput, SamBatch

SAMFT: Final = "samft"
TRANSFORMERS: Final = "transformers"
OFFICIAL: Final = "segment_anything"
PROGRAMS: Final = (SAMFT, TRANSFORMERS, OFFICIAL)

METHODS: Final = ("frozen", "cached", "late_lora", "late_lora_cached", "lora", "full")
"""Presets of samft; `cached` is `frozen` with embeddings that were computed before, and so is
`late_lora_cached` with what the lower half of the blocks gives."""
_FROZEN: Final = ("frozen", "cached")


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        program: One of `PROGRAMS`.
        method: One of `METHODS`.
        checkpointing: Whether encoder blocks are recomputed in the backward pass.
    """

    program: str
    method: str
    checkpointing: bool = False

    @property
    def is_possible(self) -> bool:
        """Whether the program can do it, and it means anything."""
        if self.checkpointing:
            return self.program != OFFICIAL and self.method not in (*_FROZEN, "late_lora_cached")
        return self.program == SAMFT or self.method != "late_lora_cached"


@dataclass(frozen=True)
class Step:
    """A training step that can be repeated.

    Args:
        run: Does one step and returns its loss.
        model: What is trained.
        close: Called at the end.
    """

    run: Callable[[], float]
    model: nn.Module
    close: Callable[[], None] = lambda: None

    @property
    def num_trained(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def build_step(case: Case, batch: SamBatch, *, arch: str = "vit_b") -> Step:
    """Return a step of a model with random weights.

    Args:
        case: Program and method.
        batch: What it trains on, on the device.
        arch: An architecture with a plain vision transformer.
    """
    return _BUILDERS[case.program](case, batch, arch)


def box_prompts() -> PromptSettings:
    """Return settings that give every object its tight box, and that alone."""
    return PromptSettings(mix={"box": 1.0}, box_noise=0.0, rounds=0, extra_passes=0)


def build_module(
    case: Case,
    *,
    arch: str,
    side: int,
    prompts: PromptSettings | None = None,
    compile_encoder: bool = False,
) -> SamModule:
    """Return samft's module, in training mode; without `prompts` every object has its tight box."""
    cached = case.method.endswith("cached")
    preset = "frozen" if case.method == "cached" else case.method.removesuffix("_cached")
    module = SamModule(
        arch,
        image_size=side,
        adapt=preset,
        prompts=prompts or box_prompts(),
        checkpoint_blocks=case.checkpointing,
        cache_embeddings="float16" if cached else "off",
        compile_encoder=compile_encoder,
    )
    return module.train()


def _samft(case: Case, batch: SamBatch, arch: str) -> Step:
    module = build_module(case, arch=arch, side=batch.images.shape[-1]).to(batch.images.device)
    optimizer = build_optimizer(module, OptimizerSettings())

    def loss() -> Tensor:
        return module.training_loss(batch, step=0).total

    return Step(_training(loss, optimizer), module, lambda: module.teardown("fit"))


def _transformers(case: Case, batch: SamBatch, arch: str) -> Step:
    config = _config(batch, arch)
    model = build_transformers(config).to(batch.images.device)
    _train_only(model, case.method, "vision_encoder.layers", config)
    if case.checkpointing:
        _checkpoint(model)
    given = {"pixel_values": _normalised(batch)}
    if case.method == "cached":
        given = {"image_embeddings": model.get_image_embeddings(**given)}
    per_image = len(batch.frames), -1, 4
    boxes, judge = _boxes(batch).view(per_image), _judge(batch)

    def loss() -> Tensor:
        output = model(**given, input_boxes=boxes, multimask_output=False)
        return judge(output.pred_masks.flatten(0, 1), output.iou_scores.flatten(0, 1))

    return Step(_training(loss, _adamw(model.train())), model)


def _official(case: Case, batch: SamBatch, arch: str) -> Step:
    config = _config(batch, arch)
    model = build_official(config).to(batch.images.device)
    _train_only(model, case.method, "image_encoder.blocks", config)
    pixels, boxes, judge = _normalised(batch), _boxes(batch), _judge(batch)
    kept: Tensor | None = None
    if case.method == "cached":
        with torch.no_grad():
            kept = model.image_encoder(pixels)

    def loss() -> Tensor:
        embeddings = model.image_encoder(pixels) if kept is None else kept
        masks, scores = [], []
        for image, embedding in enumerate(embeddings):  # it decodes one image at a time
            sparse, dense = model.prompt_encoder(
                points=None, boxes=boxes[batch.image_index == image], masks=None
            )
            logits, iou = model.mask_decoder(
                image_embeddings=embedding[None],
                image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            masks.append(logits)
            scores.append(iou)
        return judge(torch.cat(masks), torch.cat(scores))

    return Step(_training(loss, _adamw(model.train())), model)


_BUILDERS: dict[str, Callable[[Case, SamBatch, str], Step]] = {
    SAMFT: _samft,
    TRANSFORMERS: _transformers,
    OFFICIAL: _official,
}


def build_transformers(config: SamConfig) -> Any:  # Any: the package has no types
    """Build `transformers.SamModel` with the attention it chooses itself (SDPA)."""
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
    )
    return transformers.SamModel(settings)


def _checkpoint(model: Any) -> None:  # Any: the package has no types
    """Switch the peer's checkpointing on; older versions of `transformers` name it differently."""
    switch = getattr(model, "activation_checkpointing_enable", None)
    (switch or model.gradient_checkpointing_enable)()


def _config(batch: SamBatch, arch: str) -> SamConfig:
    return replace(config_for(arch), image_size=batch.images.shape[-1])


def _train_only(model: nn.Module, method: str, blocks: str, config: SamConfig) -> None:
    """Freeze a peer's model but for its decoder, and put peft's LoRA where samft's preset does."""
    if method == "full":
        return
    model.requires_grad_(requires_grad=False)
    lora = PRESETS[method].settings.lora if method in PRESETS else None
    if lora is not None:
        import peft

        depth = config.encoder.depth
        chosen = range(depth // 2 if lora.blocks == "upper_half" else 0, depth)
        layers = ["attn.qkv", *(["mlp.lin1", "mlp.lin2"] if "mlp" in lora.targets else [])]
        names = "|".join(
            re.escape(f"{blocks}.{index}.{layer}") for index in chosen for layer in layers
        )
        settings = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=names)
        peft.inject_adapter_in_model(settings, model)
    model.mask_decoder.requires_grad_(requires_grad=True)


def _adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4)


def _normalised(batch: SamBatch) -> Tensor:
    """Return what the peers' preprocessing makes of images that have the input size already."""
    mean, std = (
        torch.tensor(values, device=batch.images.device).view(3, 1, 1)
        for values in (PIXEL_MEAN, PIXEL_STD)
    )
    return (batch.images - mean) / std


def _boxes(batch: SamBatch) -> Tensor:
    """Return (P, 4) float32 xyxy."""
    return tight_boxes(batch.masks())[0]


def _judge(batch: SamBatch) -> Callable[[Tensor, Tensor], Tensor]:
    side = batch.images.shape[-1] // 4
    loss, targets = SamLoss(SamLossSettings()), targets_at(batch.masks(), (side, side))
    return lambda logits, iou: loss(MaskOutput(logits=logits, iou=iou), targets).total


@dataclass(frozen=True)
class Training:
    """One step of training: loss, backward pass, update.

    Args:
        loss: Returns the loss, a scalar with its graph.
        optimizer: Updates the weights.
    """

    loss: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer

    def __call__(self) -> float:
        """Do the step and return its loss."""
        self.optimizer.zero_grad()
        value = self.loss()
        value.backward()
        self.optimizer.step()
        return float(value.detach())


def _training(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Training:
    return Training(loss, optimizer)


def distinct_images(batch: SamBatch, parts: Iterable[int]) -> list[SamBatch]:
    """Return a batch of its own random pixels for each of `parts`, the same every time."""
    batches = []
    for part in parts:
        generator = torch.Generator().manual_seed(part)
        pixels = torch.randint(256, batch.images.shape, generator=generator, dtype=torch.uint8)
        batches.append(replace(batch, images=pixels.to(batch.images.device)))
    return batches
