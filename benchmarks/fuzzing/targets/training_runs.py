"""Targets: training checkpoints, run folders, and folders of adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from benchmarks.fuzzing.mutation import mutate_json
from benchmarks.fuzzing.pickles import mutate_pickle
from benchmarks.fuzzing.places import Later
from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.targets.checkpoints import (
    SMALLEST,
    around_pickle,
    mutate_safetensors,
    pickle_of,
    saved,
)
from samft.cli.resuming.stopped_run import find_stopped_run
from samft.models.adaptation.apply import adapt
from samft.models.adaptation.import_lora import import_lora
from samft.models.adaptation.saved import (
    LORA_CONFIG,
    LORA_FILE,
    RECORD_FILE,
    TRAINED_FILE,
    load_adapted,
    save_adapted,
)
from samft.models.adaptation.settings import AdaptationSettings, LoraSettings
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.module import SamModule
from samft.runs import load_run

_NANO_STORED = 2**21  # bytes: more than vit_nano has values, as `check_stored` asks
_RANK = 2


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        Target(
            "run_settings", "checkpoints/last.ckpt", _load_run, _settings_seeds, mutate_json,
            _around_settings,
        ),
        Target(
            "run_checkpoint", "checkpoints/last.ckpt", _load_run, _checkpoint_seeds, mutate_pickle,
            partial(around_pickle, stored=(_NANO_STORED, 8)),
        ),
        Target(
            "stopped_run", "checkpoints/last.ckpt", _resume, _stopped_seeds, mutate_json,
            _around_progress, {"config.fit.yaml": b"{}", "metrics.csv": b"epoch,step\n0,3\n"},
        ),
        *(
            Target(
                f"adapter_{name.partition('.')[0]}", f"adapter/{name}", _load_adapter,
                partial(_adapter_seeds, name), mutate_adapter,
                around=Later(partial(_adapter_beside, name)),
            )
            for name in (LORA_CONFIG, LORA_FILE, RECORD_FILE, TRAINED_FILE)
        ),
        Target("foreign_lora", "lora.pth", _import_lora, _lora_seeds, mutate_pickle, around_pickle),
    )  # fmt: skip


def _load_run(path: Path) -> object:
    module = load_run(path.parent.parent).load()
    return module.history, module.zero_shot, module.base_weights


def _resume(path: Path) -> object:
    run = find_stopped_run(path.parent.parent)
    return run.finished(max_epochs=3, max_steps=-1)


@cache
def _base() -> Sam:
    torch.manual_seed(0)
    return build_from_config(SMALLEST)


def _copied() -> Sam:
    sam = build_from_config(SMALLEST)
    sam.load_state_dict(_base().state_dict())
    return sam


def _load_adapter(path: Path) -> object:
    return load_adapted(_copied(), path.parent)


def _import_lora(path: Path) -> object:
    return import_lora(_copied(), path)


# --- training checkpoints ---------------------------------------------------------------------


_KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {},
    "lora": {"adapt": {"train": ["mask_tokens"], "lora": {"rank": 2, "blocks": "upper_half"}}},
    "channels": {"channels": {"count": 5, "mode": "learned", "mix": "mean"}},
}


@cache
def _nano(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings and weights of the smallest named size, the weights in two storages."""
    adapt = AdaptationSettings.from_dict(_KINDS[kind].get("adapt", {}))
    module = SamModule("vit_nano", **{**_KINDS[kind], "adapt": adapt})
    stored = {torch.float32: torch.zeros(_NANO_STORED // 4), torch.int64: torch.zeros(1).long()}
    state = {
        key: stored[tensor.dtype][: tensor.numel()].view(tensor.shape)
        for key, tensor in module.state_dict().items()
    }
    return dict(module.hparams), state


def _content(settings: dict[str, Any]) -> dict[str, Any]:
    progress = {"current": {"processed": 1, "ready": 1, "completed": 1}}
    loops = {"epoch_progress": progress, "epoch_loop.val_loop.batch_progress": progress}
    scores = {"val/iou_box": 0.5}
    return {
        "hyper_parameters": settings,
        "samft": {"base_weights": {"sha256": "0"}, "zero_shot": scores, "history": [scores]},
        "loops": {"fit_loop": loops},
        "global_step": 3,
        "epoch": 1,
        "callbacks": {"EarlyStopping": {"stopped_epoch": 0}},
    }


def _settings_seeds(_: Path) -> Sequence[bytes]:
    found = []
    for kind in _KINDS:
        content = _content(_nano(kind)[0])
        kept = {key: content[key] for key in ("hyper_parameters", "samft")}
        found.append(json.dumps({"kind": kind, **kept}).encode())
    return found


def _around_settings(data: bytes) -> bytes:
    """Return a checkpoint with weights of `vit_nano` and what a JSON document says besides."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if isinstance(content, dict):
        kind = content.get("kind")
        weights = _nano(kind if isinstance(kind, str) and kind in _KINDS else "plain")[1]
        content = {"state_dict": weights, **content}
    return saved(content)


def _around_progress(data: bytes) -> bytes:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return saved(content)


def _stopped_seeds(_: Path) -> Sequence[bytes]:
    content = {"state_dict": {}, **_content({"arch": "vit_nano"})}
    return [json.dumps(content).encode()]


def _checkpoint_seeds(_: Path) -> Sequence[bytes]:
    settings, state = _nano("plain")
    return [pickle_of({"state_dict": state, **_content(settings)})]


# --- adapters ---------------------------------------------------------------------------------


@cache
def _adapter_folder() -> Mapping[str, bytes]:
    sam = _copied()
    settings = AdaptationSettings(
        train=["mask_tokens"], lora=LoraSettings(rank=_RANK, targets=["q", "v"])
    )
    adapt(sam, settings)
    with TemporaryDirectory() as folder:
        save_adapted(sam, settings, Path(folder, "adapter"), "0" * 64)
        return {path.name: path.read_bytes() for path in Path(folder, "adapter").iterdir()}


def _adapter_seeds(name: str, _: Path) -> Sequence[bytes]:
    return [_adapter_folder()[name]]


def _adapter_beside(name: str) -> Mapping[str, bytes]:
    files = _adapter_folder().items()
    return {f"adapter/{key}": content for key, content in files if key != name}


def mutate_adapter(data: bytes, seed: int) -> bytes:
    """Change a file of an adapter folder, which is JSON or safetensors."""
    return mutate_json(data, seed) if data.startswith(b"{") else mutate_safetensors(data, seed)


def _lora_seeds(_: Path) -> Sequence[bytes]:
    """Return a file of SAMed and one of micro-sam."""
    _adapter_folder()  # peft looks for its plugins when it is first used
    dim = _base().state_dict()["image_encoder.pos_embed"].shape[-1]
    state = {key: value.clone() for key, value in _base().state_dict().items()}
    stored = torch.zeros(4096)
    a, b = stored[: _RANK * dim].view(_RANK, dim), stored[: dim * _RANK].view(dim, _RANK)
    outside = {
        key: stored[: value.numel()].view(value.shape)
        for key, value in state.items()
        if key.startswith(("prompt_encoder.", "mask_decoder."))
    }
    samed = {f"w_{side}_{number:03d}": value for number in (0, 1) for side, value in
             (("a", a), ("b", b))}  # fmt: skip
    qkv = "image_encoder.blocks.0.attn.qkv"
    micro = {
        key.replace(".attn.qkv.", ".attn.qkv.qkv_proj."): stored[: value.numel()].view(value.shape)
        for key, value in state.items()
    } | {f"{qkv}.w_{side}_linear_{part}.weight": value for part in "qv" for side, value in
         (("a", a), ("b", b))}  # fmt: skip
    return [pickle_of(samed | outside), pickle_of({"model_state": micro})]
