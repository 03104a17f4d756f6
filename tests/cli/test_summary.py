"""What is printed about a run."""

import io

import torch
from rich.console import Console

from samft import SamModule
from samft.cli.summary import print_trained, worse_than_before
from samft.optim import build_optimizer, build_schedule


def printed(module: SamModule) -> dict[str, list[str]]:
    optimizer = build_optimizer(module.sam, module.optimizer_settings)
    build_schedule(optimizer, module.optimizer_settings, total_steps=100)
    stream = io.StringIO()
    print_trained(module, optimizer, Console(file=stream, width=100))
    rows = [line.replace("│", " ").split(None, 1) for line in stream.getvalue().splitlines()]
    return {row[0]: row[1].split("  ") for row in rows if len(row) == 2}


def cells(row: list[str]) -> list[str]:
    return [cell.strip() for cell in row if cell.strip()]


def count(module: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


def test_frozen_parts_and_the_peak_rate_are_told_apart() -> None:
    module = SamModule("vit_nano", image_size=64, optimizer={"lr": 2e-4, "schedule": "poly"})
    rows = printed(module)
    decoder = count(module.sam.mask_decoder)
    assert cells(rows["mask_decoder"]) == [decoder, decoder, "2.0e-04", "0 to 0.1"]
    encoder = count(module.sam.image_encoder)
    assert cells(rows["image_encoder"]) == ["frozen", encoder, "-", "-"]
    assert cells(rows["adamw,"]) == ["poly after a warm-up"]


def test_layers_show_as_a_span() -> None:
    optimizer = {"lr": 1e-3, "encoder_lr_factor": 0.1, "layer_decay": 0.5, "weight_decay": 0.0}
    rows = printed(SamModule("vit_nano", image_size=64, adapt="full", optimizer=optimizer))
    assert cells(rows["image_encoder"])[2:] == ["7.8e-07 to 1.0e-04", "0"]
    assert cells(rows["prompt_encoder"])[2:] == ["1.0e-03", "0"]


def test_what_got_worse_is_named_whichever_way_is_better() -> None:
    before = {"val/iou_box": 0.8, "val/iou_point1": 0.6, "val/same_answer": 0.1, "val/iou": 0.7}
    tuned = {"val/iou_box": 0.9, "val/iou_point1": 0.5, "val/same_answer": 0.4, "val/iou": 0.695}
    assert worse_than_before(before, tuned | {"epoch": 3}) == ["iou_point1", "same_answer"]
    assert worse_than_before({}, tuned) == []
