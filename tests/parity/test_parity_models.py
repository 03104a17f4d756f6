"""samft against `segment_anything` and `transformers.SamModel`: outputs and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reference_models import (
    TINY,
    gradient_differences,
    huggingface_key,
    huggingface_sam,
    official_sam,
    relative_difference,
)

from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config
from samft.types import PromptBatch

pytestmark = pytest.mark.parity
FORWARD, BACKWARD = 1e-5, 1e-4
SIZE = TINY.image_size
CASES = ("point", "points", "box", "points and box", "mask", "point and mask", "box and mask")


def prompt_fields(case: str, count: int) -> dict[str, torch.Tensor]:
    """Return the fields of `count` prompts of one kind."""
    fields = {}
    if "point" in case:
        num = 3 if "points" in case else 1
        fields["points"] = torch.rand(count, num, 2) * SIZE
        fields["labels"] = torch.tensor([1, 0, 1])[:num].repeat(count, 1)
    if "box" in case:
        corner = torch.rand(count, 2) * SIZE / 2
        fields["boxes"] = torch.cat((corner, corner + torch.rand(count, 2) * SIZE / 2), dim=1)
    if "mask" in case:
        fields["mask_logits"] = 4 * torch.randn(count, 1, SIZE // 4, SIZE // 4)
    return fields


def official_decode(model, embedding, fields, *, multimask):
    points = (fields["points"], fields["labels"]) if "points" in fields else None
    sparse, dense = model.prompt_encoder(
        points=points, boxes=fields.get("boxes"), masks=fields.get("mask_logits")
    )
    return model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )


def huggingface_decode(model, embeddings, fields, *, multimask):
    """Decode one prompt for each of the images."""
    output = model(
        image_embeddings=embeddings,
        input_points=fields["points"][:, None] if "points" in fields else None,
        input_labels=fields["labels"][:, None] if "labels" in fields else None,
        input_boxes=fields["boxes"][:, None] if "boxes" in fields else None,
        input_masks=fields.get("mask_logits"),
        multimask_output=multimask,
    )
    return output.pred_masks[:, 0], output.iou_scores[:, 0]


def loss_of(logits, iou):
    """A scalar in which every output counts differently."""
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    return (logits * weights).mean() + (logits.sigmoid() ** 2).mean() + (iou**2).sum()


@pytest.mark.parametrize(("arch", "keys"), [("vit_b", 314), ("vit_l", 482), ("vit_h", 594)])
def test_state_dict_has_the_official_keys_and_shapes(arch, keys):
    with torch.device("meta"):
        ours = build_from_config(ARCHITECTURES[arch]).state_dict()
        official = official_sam(ARCHITECTURES[arch]).state_dict()
    assert len(ours) == keys
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in official.items()}


@pytest.mark.parametrize(
    ("arch", "encoder", "whole"),
    [
        ("vit_b", 89_670_912, 93_735_472),
        ("vit_l", 308_278_272, 312_342_832),
        ("vit_h", 637_026_048, 641_090_608),
    ],
)
def test_parameter_counts(arch, encoder, whole):
    with torch.device("meta"):
        sam = build_from_config(ARCHITECTURES[arch])
    assert sum(p.numel() for p in sam.image_encoder.parameters()) == encoder
    assert sum(p.numel() for p in sam.parameters()) == whole


def test_huggingface_names_every_tensor():
    with torch.device("meta"):
        ours = build_from_config(TINY).state_dict()
        theirs = huggingface_sam(TINY).state_dict()
    renamed = {huggingface_key(key) for key in ours}
    assert set(theirs) - renamed == {"shared_image_embedding.positional_embedding"}
    assert renamed <= set(theirs)


def test_encoder_forward_and_gradient(trio, record):
    images = torch.randn(2, 3, SIZE, SIZE)
    weights = torch.randn(2, TINY.embed_dim, TINY.grid_size, TINY.grid_size)
    ours = trio.ours.image_encoder(images)
    (ours * weights).sum().backward()
    official = trio.official.image_encoder(images)
    (official * weights).sum().backward()
    theirs = trio.huggingface.vision_encoder(images).last_hidden_state
    (theirs * weights).sum().backward()

    for name, output in (("segment_anything", official), ("transformers", theirs)):
        assert record(name, "encoder, forward", relative_difference(ours, output)) < FORWARD
    _check_gradients(trio, record, "encoder, gradient")


@pytest.mark.parametrize("image_size", [80, 96, 224])
def test_encoder_at_other_input_sizes(image_size, record):
    from dataclasses import replace

    from reference_models import build_trio

    config = replace(TINY, image_size=image_size)
    models = build_trio(config)
    images = torch.randn(1, 3, image_size, image_size)
    with torch.no_grad():
        ours = models.ours.image_encoder(images)
        official = models.official.image_encoder(images)
        theirs = models.huggingface.vision_encoder(images).last_hidden_state
    for name, output in (("segment_anything", official), ("transformers", theirs)):
        what = f"encoder at {image_size} px, forward"
        assert record(name, what, relative_difference(ours, output)) < FORWARD


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_decoder_forward_and_gradient(trio, record, case, multimask):
    embeddings = torch.randn(2, TINY.embed_dim, TINY.grid_size, TINY.grid_size)
    fields = prompt_fields(case, 2)
    ours_in, official_in, theirs_in = (embeddings.clone().requires_grad_() for _ in range(3))

    prompts = PromptBatch(image_index=torch.arange(2), **fields)
    output = trio.ours.decode(ours_in, prompts, multimask=multimask)
    loss_of(output.logits, output.iou).backward()
    results = {"segment_anything": _official_per_image(trio, official_in, fields, multimask)}
    if case != "mask":  # transformers cannot decode a mask alone
        results["transformers"] = huggingface_decode(
            trio.huggingface, theirs_in, fields, multimask=multimask
        )
    for name, (logits, iou) in results.items():
        loss_of(logits, iou).backward()
        what = f"decoder, {case}, {'multimask' if multimask else 'single mask'}"
        difference = relative_difference(output.logits, logits)
        assert record(name, f"{what}, logits", difference) < FORWARD
        assert relative_difference(output.iou, iou) < FORWARD
        inputs = official_in if name == "segment_anything" else theirs_in
        difference = relative_difference(ours_in.grad, inputs.grad)
        assert record(name, f"{what}, embedding gradient", difference) < BACKWARD
    names = None if "transformers" in results else ("segment_anything",)
    _check_gradients(trio, record, f"{what}, parameter gradient", names=names)


def _official_per_image(trio, embeddings, fields, multimask):
    outputs = [
        official_decode(
            trio.official,
            embeddings[i : i + 1],
            {k: v[i : i + 1] for k, v in fields.items()},
            multimask=multimask,
        )
        for i in range(embeddings.shape[0])
    ]
    return tuple(torch.cat(part) for part in zip(*outputs, strict=True))


def _check_gradients(trio, record, what, names=None):
    others = {"segment_anything": trio.official, "transformers": trio.huggingface}
    for name in names or others:
        is_huggingface = name == "transformers"
        found = gradient_differences(trio.ours, others[name], huggingface=is_huggingface)
        if is_huggingface:  # there the Fourier matrix is a parameter; here it has no gradient
            found.pop("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", None)
        worst = max(found, key=found.get)
        assert record(name, what, found[worst]) < BACKWARD, worst


@pytest.mark.parametrize("multimask", [True, False])
def test_whole_model_from_pixels(trio, record, multimask):
    pixels = torch.randint(0, 256, (3, SIZE, 96), dtype=torch.uint8)
    fields = prompt_fields("points", 4)
    images = torch.nn.functional.pad(pixels, (0, SIZE - 96))[None]
    prompts = PromptBatch(image_index=torch.zeros(4, dtype=torch.int64), **fields)
    output = trio.ours(images, torch.tensor([[SIZE, 96]]), prompts, multimask=multimask)
    loss_of(output.logits, output.iou).backward()

    embedding = trio.official.image_encoder(trio.official.preprocess(pixels)[None])
    logits, iou = official_decode(trio.official, embedding, fields, multimask=multimask)
    loss_of(logits, iou).backward()
    what = f"whole model, {'multimask' if multimask else 'single mask'}"
    difference = relative_difference(output.logits, logits)
    assert record("segment_anything", f"{what}, logits", difference) < FORWARD
    _check_gradients(trio, record, f"{what}, parameter gradient", names=("segment_anything",))


def test_ragged_batch_equals_the_official_loop(trio, record):
    """Two images with rows of zero to three points, with and without box: one call, flat."""
    embeddings = torch.randn(2, TINY.embed_dim, TINY.grid_size, TINY.grid_size)
    counts = torch.tensor([1, 3, 0, 2, 1])
    points = torch.rand(5, 3, 2) * SIZE
    labels = torch.tensor([1, 0, 1]).repeat(5, 1)
    labels[torch.arange(3) >= counts[:, None]] = -10
    prompts = PromptBatch(
        image_index=torch.tensor([0, 0, 1, 1, 1]),
        points=points,
        labels=labels,
        boxes=prompt_fields("box", 5)["boxes"],
        has_box=torch.tensor([False, True, True, False, True]),
    )
    output = trio.ours.decode(embeddings, prompts, multimask=True)
    for row, count in enumerate(counts):
        fields = {}
        if count:
            fields["points"] = points[row : row + 1, :count]
            fields["labels"] = labels[row : row + 1, :count]
        if prompts.has_box[row]:
            fields["boxes"] = prompts.boxes[row : row + 1]
        image = int(prompts.image_index[row])
        logits, iou = official_decode(
            trio.official, embeddings[image : image + 1], fields, multimask=True
        )
        difference = relative_difference(output.logits[row : row + 1], logits)
        assert record("segment_anything", f"ragged batch, row {row}", difference) < FORWARD
        assert relative_difference(output.iou[row : row + 1], iou) < FORWARD


FEWER = {"dim": 3 * 64, "heads": 3, "depth": 3, "global_blocks": (2,)}


@pytest.mark.slow
def test_vit_b_at_its_own_size(record):
    """The real geometry once: 1024 px, grid of 64 in windows of 14 and a block without windows.

    Three heads of the real width: the logits of twelve take the reference ten seconds.
    """
    from reference_models import randomise

    config = ARCHITECTURES["vit_b"]
    config = replace(config, encoder=replace(config.encoder, **FEWER))
    ours, official = build_from_config(config), official_sam(config)
    randomise(ours)
    official.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        difference = relative_difference(ours.image_encoder(images), official.image_encoder(images))
    assert (
        record(
            "segment_anything", "ViT-B encoder, 3 heads, 3 blocks at 1024 px, forward", difference
        )
        < FORWARD
    )
