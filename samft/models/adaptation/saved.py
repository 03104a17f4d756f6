"""Save what was trained, and nothing else, and put it back into the same base model.

The folder holds

- `adapter_model.safetensors` and `adapter_config.json`: LoRA as `peft` writes it, which also loads
  into the `segment_anything` package's model with `peft.PeftModel.from_pretrained`;
- `trained.safetensors`: every other trained tensor under its official name, and adapters;
- `samft.json`: the settings, which weights they started from, and a hash of all that was not
  trained, so that they are never put onto other weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

import samft
from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation.apply import Adapted, adapt, is_adapted
from samft.models.adaptation.folder import read_json, read_tensors, same_names, written_folder
from samft.models.adaptation.lora import (
    changed_other_rows,
    injected_config,
    is_lora,
    official_name,
    peft,
)
from samft.models.adaptation.merge import base_state_dict
from samft.models.adaptation.settings import AdaptationSettings
from samft.models.registry import build_from_config
from samft.models.sam import Sam

LORA_FILE: Final = "adapter_model.safetensors"
LORA_CONFIG: Final = "adapter_config.json"
TRAINED_FILE: Final = "trained.safetensors"
RECORD_FILE: Final = "samft.json"

_FORMAT = 1
_PREFIX = "base_model.model."  # what peft's own model class puts before every name
# What decides what a LoRA file means; the rest of peft's configuration is bookkeeping.
_MEANING = ("peft_type", "r", "lora_alpha", "target_modules", "use_dora", "use_rslora")


def save_adapted(
    sam: Sam, settings: AdaptationSettings, folder: str | Path, base_sha256: str
) -> None:
    """Write what was trained, as a whole or not at all.

    Args:
        sam: The adapted model.
        settings: What it was adapted with.
        folder: A new or empty folder; missing ones above it are made.
        base_sha256: Hash of the weights file that training started from, hexadecimal; empty if
            there was none.

    Raises:
        OutputError: if the folder has something in it.
        MachineError: if the disk is full or cannot be written.
    """
    lora, trained = lora_state_dict(sam), trained_state_dict(sam)
    record = {
        "format": _FORMAT,
        "samft_version": samft.__version__,
        "arch": sam.config.name,
        "image_size": sam.image_size,
        "channels": sam.channels.to_dict() if sam.channels is not None else None,
        "base_sha256": base_sha256,
        "frozen_sha256": frozen_sha256(sam, trained),
        "settings": settings.to_dict(),
    }
    with written_folder(Path(folder)) as output:
        if lora:
            output.tensors(LORA_FILE, {_PREFIX + key: value for key, value in lora.items()})
            output.json(LORA_CONFIG, _plain_config(injected_config(sam)))
        output.tensors(TRAINED_FILE, trained)
        output.json(RECORD_FILE, record)


def load_adapted(sam: Sam, folder: str | Path) -> Adapted:
    """Adapt a model as the folder says and fill in what was trained, every tensor or none.

    Args:
        sam: A model with the weights that training started from, and with the channels.
        folder: What `save_adapted` wrote.

    Raises:
        CheckpointError: if files are missing, damaged, foreign or do not fit, or the model's
            weights are not those that training started from.
        ConfigError: if the model is adapted already.
        DependencyError: if there is LoRA in the folder and `peft` is not installed.
    """
    folder = Path(folder)
    record = _read_record(folder)
    if is_adapted(sam):
        raise ConfigError(
            "the model has LoRA or adapters already", where=folder, fix="load the plain weights"
        )
    settings = _settings_of(record, folder)
    _check_architecture(sam, record, folder)
    # A twin without values says what has to be in the files before the model is touched.
    with torch.device("meta"):
        twin = build_from_config(sam.config, channels=sam.channels)
        adapt(twin, settings)
    expected_lora, expected = lora_state_dict(twin), trained_state_dict(twin)
    _check_base(sam, record, expected, folder)
    trained = read_tensors(folder / TRAINED_FILE)
    same_names(trained, expected, where=folder / TRAINED_FILE)
    if expected_lora:
        lora = _read_lora(folder, expected_lora, _plain_config(injected_config(twin)))
    else:
        lora = _no_lora(folder)
    _check_rows(sam, settings, lora, folder)
    adapted = adapt(sam, settings)
    _fill(sam, trained, lora)
    return adapted


def lora_state_dict(sam: Sam) -> dict[str, Tensor]:
    """Return the tensors of LoRA under peft's names, official up to `.lora_`; none without LoRA."""
    if injected_config(sam) is None:
        return {}
    return dict(peft().get_peft_model_state_dict(sam))


def trained_state_dict(sam: Sam) -> dict[str, Tensor]:
    """Return every trained tensor that is not LoRA's, under its official name.

    Those of bottleneck adapters are among them, and the statistics of trained batch norms.
    """
    wanted = {name for name, parameter in sam.named_parameters() if parameter.requires_grad}
    for path, module in sam.named_modules():
        if isinstance(module, _BatchNorm) and any(p.requires_grad for p in module.parameters()):
            wanted |= {f"{path}.{name}" for name, _ in module.named_buffers()}
    return {
        official_name(key): tensor.detach()
        for key, tensor in sam.state_dict().items()
        if key in wanted and not is_lora(key)
    }


def frozen_sha256(sam: Sam, trained: Mapping[str, object]) -> str:
    """Return a hash of the names, types and values of all weights that are not `trained`.

    Unlike the hash of a file it is the same for every format that the weights come in.

    Args:
        sam: The model, adapted or not.
        trained: Official names that do not count.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(base_state_dict(sam).items()):
        if key not in trained:
            values = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain_config(config: Any) -> dict[str, Any]:  # Any: peft.LoraConfig; JSON
    values = {key: value for key, value in config.to_dict().items() if key != "inference_mode"}
    plain = {
        key: sorted(value) if isinstance(value, set) else value for key, value in values.items()
    }
    return plain | {"inference_mode": True}


def _read_record(folder: Path) -> dict[str, Any]:  # Any: JSON
    if not folder.is_dir():
        raise CheckpointError("there is no such adapter folder", where=folder)
    if not (folder / RECORD_FILE).is_file():
        raise CheckpointError(
            "the folder was not written by samft: it does not say which weights it belongs to",
            where=folder,
            found=", ".join(sorted(item.name for item in folder.iterdir())[:5]) or "nothing",
            expected=RECORD_FILE,
            fix="LoRA files of SAMed and micro-sam can be imported; others cannot",
        )
    record = read_json(folder / RECORD_FILE)
    texts = ("arch", "base_sha256", "frozen_sha256")
    whole = all(isinstance(record.get(name), str) for name in texts)
    if record.get("format") != _FORMAT or not whole or not isinstance(record.get("settings"), dict):
        raise CheckpointError(
            "the record of the adapter cannot be used",
            where=folder / RECORD_FILE,
            found=f"format {record.get('format')!r}, entries {', '.join(sorted(record)[:8])}",
            expected=f"format {_FORMAT} with settings, {', '.join(texts)}",
            fix="use the version of samft that wrote it",
        )
    return record


def _settings_of(record: Mapping[str, Any], folder: Path) -> AdaptationSettings:
    try:
        return AdaptationSettings.from_dict(record["settings"])
    except ConfigError as error:
        raise CheckpointError(
            f"the settings in the adapter folder cannot be used: {error.what}",
            where=f"{folder / RECORD_FILE}: {error.where}",
            found=error.found,
            fix=error.fix,
        ) from error


def _check_architecture(sam: Sam, record: Mapping[str, Any], folder: Path) -> None:
    found = f"{sam.config.name} at {sam.image_size} px"
    expected = f"{record['arch']} at {record.get('image_size')} px"
    given, wanted = sam.channels.to_dict() if sam.channels else None, record.get("channels")
    if given != wanted:
        found, expected = f"{found}, channels {given}", f"{expected}, channels {wanted}"
    if found != expected:
        raise _other_base(record, folder, found=found, expected=expected)


def _check_base(
    sam: Sam, record: Mapping[str, Any], trained: Mapping[str, object], folder: Path
) -> None:
    found, expected = frozen_sha256(sam, trained), record["frozen_sha256"]
    if found != expected:
        raise _other_base(
            record,
            folder,
            found=f"frozen weights {found[:16]}",
            expected=f"frozen weights {expected[:16]}",
        )


def _other_base(
    record: Mapping[str, Any], folder: Path, *, found: str, expected: str
) -> CheckpointError:
    file = record["base_sha256"]
    start = f"the file with sha256 {file}" if file else "weights that came from no file"
    return CheckpointError(
        "the adapter belongs to other weights than those of the model",
        where=folder,
        found=found,
        expected=expected,
        fix=f"load {start} first, in the architecture and precision of the training",
    )


def _read_lora(
    folder: Path, expected: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Tensor]:
    found = read_json(folder / LORA_CONFIG)
    for name in _MEANING:
        if found.get(name) != config[name]:
            raise CheckpointError(
                "the files of the adapter folder contradict each other",
                where=f"{folder / LORA_CONFIG}: {name}",
                found=str(found.get(name))[:80],
                expected=f"{str(config[name])[:80]}, by {RECORD_FILE}",
                fix="copy the whole folder again",
            )
    tensors = read_tensors(folder / LORA_FILE)
    prefixed = {_PREFIX + key: tensor for key, tensor in expected.items()}
    same_names(tensors, prefixed, where=folder / LORA_FILE)
    return {key.removeprefix(_PREFIX): tensor for key, tensor in tensors.items()}


def _no_lora(folder: Path) -> dict[str, Tensor]:
    if (folder / LORA_FILE).exists():
        raise CheckpointError(
            "there is a LoRA file in a folder whose settings have no LoRA",
            where=folder / LORA_FILE,
            fix="copy the whole folder again",
        )
    return {}


def _fill(sam: Sam, trained: Mapping[str, Tensor], lora: dict[str, Tensor]) -> None:
    names = {official_name(key): key for key in sam.state_dict() if not is_lora(key)}
    sam.load_state_dict({names[key]: value for key, value in trained.items()}, strict=False)
    if lora:
        peft().set_peft_model_state_dict(sam, lora)


def _check_rows(
    sam: Sam, settings: AdaptationSettings, lora: Mapping[str, Tensor], folder: Path
) -> None:
    layer = changed_other_rows(sam, settings.lora, lora) if settings.lora and lora else None
    if layer is not None:
        raise CheckpointError(
            "the LoRA file changes rows that its settings leave alone",
            where=f"{folder / LORA_FILE}: {layer}",
            expected="zeros for the parts of q, k and v that are not among adapt.lora.targets",
            fix="the file is not the one that samft wrote: copy it again",
        )
