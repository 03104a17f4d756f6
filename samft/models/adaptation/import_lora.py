"""Read LoRA files of SAMed and micro-sam into samft's LoRA.

Their updates of q, k and v each have directions of their own, r of them; here those of one layer
share `rank` directions. The import puts theirs below each other: the rank becomes 2 r for q and v,
and the answers are the same. Directions that a layer does not need (an MLP's beside a qkv's) start
as fresh LoRA, without effect. Their scale multiplies directly, so `alpha` becomes scale x rank.

Only weights are imported. SAMed shows its encoder pixels from 0 to 1, without SAM's mean and
standard deviation; its file answers as in SAMed only if it is shown the same.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation.apply import Adapted, adapt, is_adapted
from samft.models.adaptation.foreign_names import (
    ForeignLora,
    Place,
    samed_as_micro_sam,
    split,
    writer_of,
)
from samft.models.adaptation.lora import ADAPTER, lora_targets, qkv_rows
from samft.models.adaptation.settings import AdaptationSettings, Blocks, LoraSettings, Part, Target
from samft.models.image_encoder import ImageEncoder
from samft.models.sam import Sam
from samft.models.state_dict import to_official
from samft.models.strict import load_state_dict
from samft.models.torch_file import read_torch_file

_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.")
_TOKENS = "mask_decoder.mask_tokens.weight"
_TRANSFORMER = "mask_decoder.transformer."


def import_lora(sam: Sam, path: str | Path, *, alpha: float = 1.0) -> Adapted:
    """Adapt a model with LoRA that SAMed or micro-sam trained, with the same answers.

    Args:
        sam: A model with SAM's plain encoder. A file of SAMed needs the weights it was trained on
            in it; a file of micro-sam brings its own.
        path: What SAMed's `save_lora_parameters` or micro-sam wrote.
        alpha: What micro-sam multiplied its updates by; the file does not say. SAMed has 1.

    Returns:
        The model, with prompt encoder and mask decoder trained further like in both programs.

    Raises:
        CheckpointError: if the file is neither, is damaged, or does not fit the model.
        ConfigError: if the model is adapted already.
        DependencyError: if `peft` is not installed.
    """
    path = Path(path)
    if is_adapted(sam):
        raise ConfigError(
            "the model has LoRA or adapters already", where=path, fix="load the plain weights"
        )
    found, is_complete = _read(path)
    if not isinstance(sam.image_encoder, ImageEncoder):
        raise _misfit(path, f"a {sam.config.name} model", "a plain encoder such as vit_b")
    settings = _settings_of(found, sam, alpha=alpha, path=path)
    _check_shapes(found, sam, path)
    weights = found.weights if is_complete else _completed(found, sam, path)
    load_state_dict(sam, weights, source=path)
    adapted = adapt(sam, settings)
    _fill(sam, found)
    return adapted


def _read(path: Path) -> tuple[ForeignLora, bool]:
    """Return what the file holds, and whether all of SAM is in it."""
    if not path.is_file():
        raise CheckpointError("there is no such LoRA file", where=path)
    content = read_torch_file(path)
    writer = writer_of(content)
    if writer is None:
        shown = list(content)[:3] if isinstance(content, dict) else [type(content).__name__]
        raise CheckpointError(
            "there is no LoRA of SAMed or micro-sam in the file",
            where=path,
            found=", ".join(str(key)[:60] for key in shown) or "an empty dictionary",
            expected="keys such as w_a_000 or image_encoder.blocks.0.attn.qkv.w_a_linear_q.weight",
            fix="load plain weights as weights; load a folder of samft as an adapter folder",
        )
    if writer == "SAMed":
        assert isinstance(content, dict)  # `writer_of` has found its keys
        content = samed_as_micro_sam(content)
    found = split(to_official(content, path)[0])
    if found.a.keys() != found.b.keys():
        lone = sorted(found.a.keys() ^ found.b.keys())
        raise _misfit(path, f"one half of the update of {' '.join(lone[0])}", "a and b")
    for place, tensor in (*found.a.items(), *found.b.items()):
        if tensor.ndim != 2 or not tensor.numel():
            raise _misfit(path, f"{' '.join(place)} of shape {tuple(tensor.shape)}", "a matrix")
    return found, writer == "micro-sam"


def _settings_of(found: ForeignLora, sam: Sam, *, alpha: float, path: Path) -> AdaptationSettings:
    """Return the settings whose LoRA has the same places as the file's."""
    parts = {part for _, part in found.a if part}
    mlp = any(".mlp." in layer and layer.startswith("image") for layer, _ in found.a)
    decoder = any(layer.startswith(_TRANSFORMER) for layer, _ in found.a)
    targets: list[Target] = [part for part in ("q", "k", "v") if part in parts]
    rank = max(sum(len(a) for _, a in group) for group in _by_layer(found).values())
    lora = LoraSettings(
        targets=[*targets, "mlp"] if mlp else targets,
        rank=rank,
        alpha=float(alpha * rank),
        blocks=_blocks_of(found),
        decoder=decoder,
    )
    heads: Part = "mask_heads" if decoder else "mask_decoder"
    settings = AdaptationSettings(train=["prompt_encoder", heads], lora=lora)
    settings.validate()
    try:
        places = set(lora_targets(sam, lora))
    except ConfigError as error:
        raise _misfit(path, f"LoRA in blocks {lora.blocks}", str(error.expected)) from error
    theirs = {layer for layer, _ in found.a}
    uneven = any(
        {part for name, part in found.a if name == layer} != parts
        for layer in theirs
        if layer.endswith(".qkv")
    )
    if places != theirs or uneven:
        odd = sorted(places ^ theirs)
        raise _misfit(
            path,
            f"LoRA in {len(theirs)} layers, other ones than {odd[0] if odd else 'in every block'}",
            f"the same LoRA in all blocks from a first to a last of {sam.config.name}",
        )
    return settings


def _blocks_of(found: ForeignLora) -> Blocks:
    numbers = [int(match[1]) for layer, _ in found.a if (match := _BLOCK.match(layer))]
    return (min(numbers), max(numbers)) if numbers else "none"


def _by_layer(found: ForeignLora) -> dict[str, list[tuple[str, Tensor]]]:
    """Return for each layer its (part, A), parts in the order of their names."""
    layers: dict[str, list[tuple[str, Tensor]]] = {}
    for (layer, part), a in sorted(found.a.items(), key=lambda item: item[0]):
        layers.setdefault(layer, []).append((part, a))
    return layers


def _check_shapes(found: ForeignLora, sam: Sam, path: Path) -> None:
    for place, a in found.a.items():
        layer, b = sam.get_submodule(place[0]), found.b[place]
        assert isinstance(layer, nn.Linear)  # lora_targets has found it
        out = layer.out_features // 3 if place[1] else layer.out_features
        rank = a.shape[0] if a.ndim == 2 else 0
        if a.shape != (rank, layer.in_features) or b.shape != (out, rank):
            raise _misfit(
                path,
                f"{' '.join(place)} of shapes {tuple(a.shape)}, {tuple(b.shape)}",
                f"(r, {layer.in_features}), ({out}, r) for {sam.config.name}",
            )


def _completed(found: ForeignLora, sam: Sam, path: Path) -> dict[str, Tensor]:
    """Return SAMed's prompt encoder and decoder together with the model's other weights."""
    state = sam.state_dict()
    adapts_decoder = any(layer.startswith(_TRANSFORMER) for layer, _ in found.a)
    missing = [
        key
        for key in state
        if key.startswith(("prompt_encoder.", "mask_decoder."))
        and key not in found.weights
        and not (adapts_decoder and key.startswith(_TRANSFORMER))
    ]
    if missing:
        raise _misfit(path, f"no {missing[0]}", "the weights of prompt encoder and mask decoder")
    theirs, ours = found.weights[_TOKENS].shape[0], state[_TOKENS].shape[0]
    if theirs != ours:
        raise CheckpointError(
            "the file answers with another number of masks than the model",
            where=f"{path}: {_TOKENS}",
            found=f"{theirs} masks, one for each class and the background",
            expected=f"{ours}",
            fix=f"build the model with num_multimask={theirs - 1} and load the base weights but "
            "for its mask decoder",
        )
    return state | found.weights


def _fill(sam: Sam, found: ForeignLora) -> None:
    with torch.no_grad():
        for name, group in _by_layer(found).items():
            layer = sam.get_submodule(name)
            a, b = (_weight(layer, side) for side in ("lora_A", "lora_B"))
            start = 0
            for part, values in group:
                end = start + len(values)
                a[start:end] = values
                b[_rows(sam, (name, part)), start:end] = found.b[name, part].to(b.dtype)
                start = end


def _weight(layer: nn.Module, side: str) -> Tensor:
    weight: Tensor = layer.get_submodule(f"{side}.{ADAPTER}").get_parameter("weight")
    return weight


def _rows(sam: Sam, place: Place) -> Tensor | slice:
    name, part = place
    return qkv_rows(sam.get_submodule(name.rpartition(".")[0]), [part]) if part else slice(None)


def _misfit(path: Path, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        "the LoRA file does not fit the model",
        where=path,
        found=found,
        expected=expected,
        fix="build the model in the architecture that the file was trained with",
    )
