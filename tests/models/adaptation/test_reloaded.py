"""A merged file answers like the run in samft and in segment_anything, whatever was trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from adapted_sams import lora, trained
from models.tiny_sam import TINY
from parity.reference_models import official_sam

from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation import reloaded
from samft.models.adaptation.merge import merged
from samft.models.adaptation.presets import PRESETS
from samft.models.adaptation.reloaded import TOLERANCE, answers, compare_file, probe
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings
from samft.models.checkpoint import save_state_dict
from samft.models.official import official_answers

ALONE = 2e-5  # relative; what float32 leaves between the two programs at this size
MERGES = {
    **{f"lora_{target}": lora(targets=[target]) for target in ("q", "k", "v", "out", "mlp")},
    "lora_qv": lora(targets=["q", "v"]),
    "lora_one_block": lora(targets=["q", "out"], blocks=(1, 1)),
    "dora": lora(targets=["q", "v", "mlp"], variant="dora", rank=3),
    "rslora": lora(targets=["k", "out"], variant="rslora", rank=5),
    "lora_decoder": lora(targets=["q", "v", "mlp"], blocks="none", decoder=True),
    "dora_everywhere": lora(targets=["q", "k", "v", "out", "mlp"], variant="dora", decoder=True),
    "lora_and_norms": AdaptationSettings(train=["norms", "mask_heads"], lora=LoraSettings()),
    "bitfit": AdaptationSettings(train=["biases"]),
    "norms": AdaptationSettings(train=["norms"]),
    "positions": AdaptationSettings(train=["positions"]),
    "neck": AdaptationSettings(train=["neck"]),
    "mask_tokens": AdaptationSettings(train=["mask_tokens"]),
    "prompt_tokens": AdaptationSettings(train=["prompt_tokens"]),
    "prompt_encoder": AdaptationSettings(train=["prompt_encoder"]),
    # The shares of a tiny model are not those that the names stand for.
    **{f"preset_{name}": replace(PRESETS[name].settings, preset="custom") for name in PRESETS},
}
REFUSES = {
    kind: AdaptationSettings(train=["mask_decoder"], adapter=AdapterSettings(kind=kind, dim=4))
    for kind in ("adaptformer", "medsa")
}


@pytest.mark.parametrize("kind", MERGES)
def test_every_kind_that_merges(kind, tmp_path):
    sam = trained(MERGES[kind]).sam
    save_state_dict(merged(sam), tmp_path / "tuned.pth")
    ours, theirs = compare_file(sam, tmp_path / "tuned.pth")
    assert ours.program == "samft"
    assert theirs.program == "segment_anything 1.0"
    assert ours.difference < ALONE
    assert theirs.difference < ALONE


@pytest.mark.parametrize("kind", MERGES)
def test_what_was_trained_is_asked_for(kind):
    """Without what was trained, a file would not pass."""
    sam, untrained = trained(MERGES[kind]).sam, official_sam(TINY).eval()
    untrained.load_state_dict(trained(MERGES[kind], steps=0).sam.state_dict(), strict=False)
    for name, parameter in merged(trained(MERGES[kind], steps=0).sam).named_parameters():
        untrained.get_parameter(name).data.copy_(parameter.data)
    images, asked = probe(sam)
    found = official_answers(untrained, images, asked)
    assert max(map(reloaded._relative, answers(sam, images, asked), found)) > 2 * TOLERANCE


@pytest.mark.parametrize("kind", REFUSES)
def test_bottlenecks_refuse_with_the_reason(kind):
    with pytest.raises(ConfigError, match="bottleneck adapters cannot be merged") as error:
        merged(trained(REFUSES[kind], steps=1).sam)
    assert "a non-linearity that no weight of a stock SAM can take over" in str(error.value)
    assert "train with LoRA, which merges" in str(error.value)


def test_tiny_vit_is_read_by_samft_alone(tmp_path):
    sam = trained(lora(), "tiny_vit").sam
    save_state_dict(merged(sam), tmp_path / "tuned.pth")
    ours, theirs = compare_file(sam, tmp_path / "tuned.pth")
    assert ours.difference < ALONE
    assert (theirs.difference, theirs.reason) == (None, "it has no tiny_t")


def test_every_weight_takes_part():
    """A change of any tensor changes an answer, so none can be lost unseen.

    But for biases of keys: they add the same to all scores of a query, which softmax takes out.
    """
    sam = merged(trained(AdaptationSettings(train=["mask_decoder"])).sam)
    images, asked = probe(sam)
    before = answers(sam, images, asked)
    for name, parameter in sam.named_parameters():
        if name.endswith("k_proj.bias"):
            continue
        kept = parameter.data.clone()
        parameter.data.add_(torch.rand_like(kept))
        after = answers(sam, images, asked)
        parameter.data.copy_(kept)
        assert max(map(reloaded._relative, before, after)) > 1e-6, name


@pytest.mark.parametrize("program", ["samft", "segment_anything 1.0"])
def test_other_answers_are_refused(program, tmp_path, monkeypatch):
    sam = trained(lora()).sam
    stock = merged(sam)
    if program == "samft":
        stock.mask_decoder.iou_token.weight.data += 1
    else:
        wrong = official_sam(TINY)
        monkeypatch.setattr(reloaded, "load_official", lambda config, path: wrong.eval())
    save_state_dict(stock, tmp_path / "tuned.pth")
    with pytest.raises(CheckpointError) as error:
        compare_file(sam, tmp_path / "tuned.pth")
    text = str(error.value)
    assert text.startswith(f"in {program} the file does not answer as the run does")
    assert "tuned.pth" in text
    assert "expected: at most 0.001 of the largest value" in text
