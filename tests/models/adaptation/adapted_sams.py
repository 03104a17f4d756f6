"""Tiny SAMs that were really trained for a step or two, and what they answer."""

from __future__ import annotations

import torch
from models.tiny_sam import TINY, TINY_T, tiny_sam

from samft.models.adaptation.apply import adapt
from samft.models.adaptation.settings import AdaptationSettings, LoraSettings
from samft.optim.groups import build_optimizer
from samft.optim.settings import OptimizerSettings
from samft.types import PromptBatch

CONFIGS = {"vit": TINY, "tiny_vit": TINY_T}


def base(encoder="vit", seed=0):
    """Return a SAM whose activations neither vanish nor saturate, and whose encoder matters."""
    sam = tiny_sam(seed, CONFIGS[encoder])
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            parameter.mul_(0.2)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return sam.eval()


def lora(**changes):
    """Return settings that train LoRA alone."""
    return AdaptationSettings(train=[], lora=LoraSettings(**changes))


def images(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, TINY.image_size, TINY.image_size, generator=generator) * 255


def prompts():
    points = torch.tensor([[[30.0, 40.0]], [[90.0, 64.0]]])
    return PromptBatch(
        image_index=torch.zeros(2, dtype=torch.int64),
        points=points,
        labels=torch.ones(2, 1, dtype=torch.int64),
    )


def answers(sam):
    """Return (embeddings, logits, iou)."""
    with torch.no_grad():
        embeddings = sam.encode_image(images())
        output = sam.decode(embeddings, prompts(), multimask=None)
    return embeddings, output.logits, output.iou


def backward(sam):
    embeddings = sam.encode_image(images())
    output = sam.decode(embeddings, prompts(), multimask=None)
    (output.logits.square().mean() + output.iou.square().mean()).backward()


def trained(settings, encoder="vit", steps=2):
    """Adapt a SAM and take some steps with the optimiser of a real run, decay and all."""
    adapted = adapt(base(encoder), settings)
    adapted.train()
    optimizer = build_optimizer(
        adapted.sam, OptimizerSettings(lr=0.03, encoder_lr_factor=1.0, weight_decay=0.1)
    )
    for _ in range(steps):
        optimizer.zero_grad()
        backward(adapted.sam)
        optimizer.step()
    adapted.train(False)
    return adapted


def difference(one, other):
    """Return the largest difference of two models' answers, relative to their largest value."""
    return max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))
        for a, b in zip(one, other, strict=True)
    )
