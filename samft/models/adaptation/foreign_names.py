"""What SAMed and micro-sam call the weights of their LoRA files.

SAMed numbers its layers: `w_a_000`, `w_b_000` are those of q in block 0, `w_a_001` of v in block 0,
`w_a_002` of q in block 1, and so on; SAMed_s has `sa_`, `cti_`, `cit_` for the decoder's
self-attention and cross-attentions from tokens and from the image, numbered alike, and `fati_qa` to
`fati_vb` for the last one. Prompt encoder and decoder lie beside them under their official names,
those of SAMed_s without the decoder's transformer.

micro-sam saves the whole model: `attn.qkv.qkv_proj` is SAM's layer, `attn.qkv.w_a_linear_q` and so
on LoRA's for q, k or v; `mlp.mlp_layer.lin1` and `mlp.w_a_linear_1` the same for the MLP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

_SAMED = re.compile(r"w_([ab])_(\d{3,})")
_SAMED_DECODER = re.compile(r"(sa|cti|cit)_([ab])_(\d{3,})")
_SAMED_LAST = re.compile(r"fati_([qv])([ab])")
_SAMED_ATTENTION = {
    "sa": "self_attn",
    "cti": "cross_attn_token_to_image",
    "cit": "cross_attn_image_to_token",
}
_MICRO_QKV = re.compile(r"(image_encoder\.blocks\.\d+\.attn\.qkv)\.w_([ab])_linear_([qkv])\.weight")
_MICRO_MLP = re.compile(r"(image_encoder\.blocks\.\d+\.mlp)\.w_([ab])_linear_([12])\.weight")
_DECODER = re.compile(r"(mask_decoder\.transformer\..+)\.w_([ab])\.weight")

Place = tuple[str, str]
"""Name of a layer, and which of q, k, v in it; empty for the whole layer."""


@dataclass(frozen=True, slots=True)
class ForeignLora:
    """LoRA of another program under official names.

    Args:
        a: (r, in) for each place.
        b: (out, r) for each place.
        weights: The other weights of the file.
    """

    a: dict[Place, Tensor] = field(default_factory=dict)
    b: dict[Place, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


def writer_of(content: object) -> str | None:
    """Return which program's LoRA a file holds: `SAMed`, `micro-sam`, or neither."""
    if not isinstance(content, dict):
        return None
    keys = {str(key) for key in content}
    if any(_SAMED.fullmatch(key) for key in keys):
        return "SAMed"
    for value in content.values():  # the file of a training has the weights in an entry
        keys |= {str(key) for key in value} if isinstance(value, dict) else set()
    is_lora = any(_MICRO_QKV.search(key) or _MICRO_MLP.search(key) for key in keys)
    return "micro-sam" if is_lora else None


def samed_as_micro_sam(content: Mapping[str, object]) -> dict[str, object]:
    """Return the content of a SAMed file under the names of micro-sam.

    Decoder layers, which micro-sam does not adapt, get names of the same make.
    """
    return {_renamed(key): value for key, value in content.items()}


def _renamed(key: str) -> str:
    if match := _SAMED.fullmatch(key):
        which, block, part = match[1], int(match[2]) // 2, "qv"[int(match[2]) % 2]
        return f"image_encoder.blocks.{block}.attn.qkv.w_{which}_linear_{part}.weight"
    transformer = "mask_decoder.transformer"
    if match := _SAMED_DECODER.fullmatch(key):
        layer, part = int(match[3]) // 2, "qv"[int(match[3]) % 2]
        attention = f"{transformer}.layers.{layer}.{_SAMED_ATTENTION[match[1]]}"
        return f"{attention}.{part}_proj.w_{match[2]}.weight"
    if match := _SAMED_LAST.fullmatch(key):
        return f"{transformer}.final_attn_token_to_image.{match[1]}_proj.w_{match[2]}.weight"
    return key


def split(state: Mapping[str, Tensor]) -> ForeignLora:
    """Tell LoRA and the other weights of a state dict with micro-sam's names apart."""
    found = ForeignLora()
    for key, tensor in state.items():
        if match := _MICRO_QKV.fullmatch(key):
            _side(found, match[2])[match[1], match[3]] = tensor
        elif match := _MICRO_MLP.fullmatch(key):
            _side(found, match[2])[f"{match[1]}.lin{match[3]}", ""] = tensor
        elif match := _DECODER.fullmatch(key):
            _side(found, match[2])[match[1], ""] = tensor
        else:
            plain = key.replace(".attn.qkv.qkv_proj.", ".attn.qkv.")
            found.weights[plain.replace(".mlp.mlp_layer.", ".mlp.")] = tensor
    return found


def _side(found: ForeignLora, letter: str) -> dict[Place, Tensor]:
    return found.a if letter == "a" else found.b
