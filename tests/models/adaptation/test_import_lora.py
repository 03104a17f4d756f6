"""LoRA files of SAMed and micro-sam answer as in the programs that wrote them."""

from __future__ import annotations

import pytest
import torch
from adapted_sams import answers, base, difference
from torch import nn

from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation.import_lora import import_lora
from samft.models.adaptation.merge import merged

RANK = 2


class Beside(nn.Module):
    """A layer and low-rank updates of some of its outputs, as SAMed and micro-sam compute them."""

    def __init__(self, layer, parts, alpha):
        super().__init__()
        self.layer, self.parts, self.alpha = layer, parts, alpha
        size = layer.out_features // (3 if parts != "1" else 1)
        self.a = nn.ModuleDict({p: nn.Linear(layer.in_features, RANK, bias=False) for p in parts})
        self.b = nn.ModuleDict({p: nn.Linear(RANK, size, bias=False) for p in parts})

    def forward(self, x):
        out = self.layer(x)
        if self.parts == "1":
            return out + self.alpha * self.b["1"](self.a["1"](x))
        q, k, v = out.chunk(3, dim=-1)
        whole = {"q": q, "k": k, "v": v}
        for part in self.parts:
            whole[part] = whole[part] + self.alpha * self.b[part](self.a[part](x))
        return torch.cat((whole["q"], whole["k"], whole["v"]), dim=-1)


def wrap(parent, name, parts, alpha=1.0):
    torch.manual_seed(hash(parts) % 100)
    wrapped = Beside(getattr(parent, name), parts, alpha)
    setattr(parent, name, wrapped)
    return wrapped


def samed(sam, *, frozen="image_encoder."):
    """Put SAMed's LoRA into a model, move what else it trains, and return its file."""
    state = {k: v + 0.01 for k, v in sam.state_dict().items() if not k.startswith(frozen)}
    sam.load_state_dict(state, strict=False)
    for index, block in enumerate(sam.image_encoder.blocks):
        wrapped = wrap(block.attn, "qkv", "qv")
        for offset, part in enumerate("qv"):
            state[f"w_a_{2 * index + offset:03d}"] = wrapped.a[part].weight.detach().clone()
            state[f"w_b_{2 * index + offset:03d}"] = wrapped.b[part].weight.detach().clone()
    return state


def samed_s(sam):
    """The same for the variant that also adapts the decoder's transformer."""
    file = samed(sam, frozen=("image_encoder.", "mask_decoder.transformer."))
    transformer = sam.mask_decoder.transformer
    for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        short = {"self_attn": "sa", "cross_attn_token_to_image": "cti"}.get(name, "cit")
        for index, layer in enumerate(transformer.layers):
            for offset, part in enumerate("qv"):
                wrapped = wrap(getattr(layer, name), f"{part}_proj", "1")
                file[f"{short}_a_{2 * index + offset:03d}"] = wrapped.a["1"].weight.detach()
                file[f"{short}_b_{2 * index + offset:03d}"] = wrapped.b["1"].weight.detach()
    for part in "qv":
        wrapped = wrap(transformer.final_attn_token_to_image, f"{part}_proj", "1")
        file[f"fati_{part}a"] = wrapped.a["1"].weight.detach()
        file[f"fati_{part}b"] = wrapped.b["1"].weight.detach()
    return file


def micro_sam(sam, *, parts="qv", mlp=False, alpha=1.0, first=0):
    """Put micro-sam's LoRA into a model and return what its training saves."""
    file = {key: value.clone() for key, value in sam.state_dict().items()}
    for index, block in enumerate(sam.image_encoder.blocks):
        if index < first:
            continue
        qkv = f"image_encoder.blocks.{index}.attn.qkv"
        wrapped = wrap(block.attn, "qkv", parts, alpha)
        for kind in ("weight", "bias"):
            file[f"{qkv}.qkv_proj.{kind}"] = file.pop(f"{qkv}.{kind}")
        for part in parts:
            file[f"{qkv}.w_a_linear_{part}.weight"] = wrapped.a[part].weight.detach().clone()
            file[f"{qkv}.w_b_linear_{part}.weight"] = wrapped.b[part].weight.detach().clone()
        for number in (1, 2) if mlp else ():
            name = f"image_encoder.blocks.{index}.mlp"
            wrapped = wrap(block.mlp, f"lin{number}", "1", alpha)
            for kind in ("weight", "bias"):
                old = file.pop(f"{name}.lin{number}.{kind}")
                file[f"{name}.mlp_layer.lin{number}.{kind}"] = old
            file[f"{name}.w_a_linear_{number}.weight"] = wrapped.a["1"].weight.detach().clone()
            file[f"{name}.w_b_linear_{number}.weight"] = wrapped.b["1"].weight.detach().clone()
    return {"model_state": {f"sam.{key}": value for key, value in file.items()}, "epoch": 3}


def saved(content, tmp_path):
    torch.save(content, tmp_path / "lora.pth")
    return tmp_path / "lora.pth"


def assert_imported(theirs, ours, path, alpha=1.0):
    before, wanted = answers(ours), answers(theirs.eval())
    assert difference(before, wanted) > 1e-3
    adapted = import_lora(ours, path, alpha=alpha)
    assert difference(wanted, answers(adapted.sam)) < 1e-5
    assert difference(wanted, answers(merged(adapted.sam))) < 1e-5
    return adapted


def test_samed(tmp_path):
    theirs = base()
    path = saved(samed(theirs), tmp_path)
    adapted = assert_imported(theirs, base(), path)
    settings = adapted.settings
    assert settings.train == ["prompt_encoder", "mask_decoder"]
    assert (settings.lora.targets, settings.lora.rank) == (["q", "v"], 2 * RANK)
    assert settings.lora.alpha == 2 * RANK
    assert settings.lora.blocks == (0, 2)


def test_samed_s(tmp_path):
    theirs = base()
    path = saved(samed_s(theirs), tmp_path)
    adapted = assert_imported(theirs, base(), path)
    assert adapted.settings.lora.decoder
    assert adapted.settings.train == ["prompt_encoder", "mask_heads"]


@pytest.mark.parametrize(
    ("parts", "mlp", "alpha", "first"),
    [("qv", False, 1.0, 0), ("qkv", True, 0.5, 1), ("k", True, 2.0, 0)],
)
def test_micro_sam(tmp_path, parts, mlp, alpha, first):
    """The file brings its own base weights, whatever the model had."""
    theirs = base()
    path = saved(micro_sam(theirs, parts=parts, mlp=mlp, alpha=alpha, first=first), tmp_path)
    adapted = assert_imported(theirs, base(seed=5), path, alpha)
    assert adapted.settings.lora.targets == [*parts, *(["mlp"] if mlp else [])]
    assert adapted.settings.lora.blocks == (first, 2)
    assert adapted.settings.lora.alpha == alpha * len(parts) * RANK


def refused(sam, path, *words):
    with pytest.raises(CheckpointError) as error:
        import_lora(sam, path)
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in (str(path), *words):
        assert word in text, text


def test_files_of_neither(tmp_path):
    refused(base(), tmp_path / "none.pth", "no such LoRA file")
    plain = saved(base().state_dict(), tmp_path)
    refused(base(), plain, "no LoRA of SAMed or micro-sam", "w_a_000", "plain weights as weights")
    other = saved({"base_model.lora_A": torch.zeros(2, 2)}, tmp_path)
    refused(base(), other, "base_model.lora_A")
    refused(base(), saved([1, 2], tmp_path), "found: list")


def without(key):
    return lambda file: file.pop(key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("w_b_001"), ("one half", "blocks.0.attn.qkv v")),
        (without("mask_decoder.iou_token.weight"), ("no mask_decoder.iou_token.weight",)),
        (lambda file: file.update(w_a_000=torch.zeros(RANK, 31)), ("(2, 31)", "(r, 32)")),
        (lambda file: file.update(w_b_000=torch.zeros(32, 3)), ("(32, 3)",)),
        (lambda file: file.update(w_a_000=torch.tensor(1.0)), ("of shape ()", "a matrix")),
        (lambda file: file.update(w_a_000=torch.full((2, 32), float("nan"))), ("NaN",)),
        (
            lambda file: [file.pop(f"w_{side}_002") for side in "ab"],
            ("in every block", "the same LoRA in all blocks"),
        ),
        (
            lambda file: file.update(w_a_006=torch.zeros(2, 32), w_b_006=torch.zeros(32, 2)),
            ("LoRA in blocks (0, 3)", "0 to 2"),
        ),
        (
            lambda file: file.update({"mask_decoder.mask_tokens.weight": torch.zeros(9, 32)}),
            ("9 masks", "num_multimask=8"),
        ),
        (lambda file: file.update(extra=torch.zeros(2)), ("extra",)),
    ],
)
def test_samed_files_that_do_not_fit(tmp_path, change, words):
    file = samed(base())
    change(file)
    sam = base()
    before = answers(sam)
    refused(sam, saved(file, tmp_path), *words)
    assert difference(before, answers(sam)) == 0


def test_models_that_do_not_fit(tmp_path):
    path = saved(samed(base()), tmp_path)
    refused(base("tiny_vit"), path, "tiny_t", "vit_b")
    adapted = import_lora(base(), path)
    with pytest.raises(ConfigError, match="already"):
        import_lora(adapted.sam, path)
