"""The model of a prediction, with what is known about its training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from samft.errors import ConfigError
from samft.inference.work_folder import model_key
from samft.models.sam import Sam
from samft.prompts.protocol import METADATA_KEY, PromptProtocol, Use
from samft.runs import load_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model that is ready to answer.

    Args:
        sam: The model, on its device, in evaluation mode.
        arch: Its named size.
        config: The configuration of its training, where it is known.
        protocol: What it was prompted with in training, where that is known.
    """

    sam: Sam
    arch: str
    config: Path | None = None
    protocol: PromptProtocol | None = None

    def identity(self) -> dict[str, str | int]:
        """Return what tells it from other models."""
        return {
            "arch": self.arch,
            "image_size": self.sam.image_size,
            "weights_sha256": model_key(self.sam),
        }

    def warn_of(self, use: Use) -> None:
        """Warn if the model was not trained for a use."""
        for warning in self.protocol.warnings_for(use) if self.protocol is not None else ():
            _log.warning("%s", warning)


def load_model(
    run: str | None, weights: str | None, arch: str | None, *, device: str | None = None
) -> Model:
    """Load a run, or plain weights.

    Args:
        run: Run folder or checkpoint.
        weights: File, folder or name of plain weights, instead of a run.
        arch: Architecture of `weights`.
        device: Where to compute; `None` for a GPU if there is one.

    Raises:
        SamftError: if it cannot be loaded.
    """
    place = chosen_device(device)
    if run is None:
        return _plain(weights or "", arch or "", place)
    opened = load_run(run)
    module = opened.load()
    return Model(
        sam=module.sam.to(place).eval(),
        arch=str(module.hparams["arch"]),
        config=opened.config,
        protocol=PromptProtocol.of(module.prompt_settings),
    )


def chosen_device(device: str | None) -> torch.device:
    """Return the device with a name; without one a GPU if there is one.

    Raises:
        ConfigError: if there is no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            "there is no such device",
            where="--device",
            found=device,
            expected="cpu, or cuda where there is a GPU",
        ) from error
    return place


def _plain(weights: str, arch: str, place: torch.device) -> Model:
    from samft.models.registry import build_sam
    from samft.models.weights import load_weights, resolve_weights

    sam = build_sam(arch)
    load_weights(sam, weights)
    return Model(
        sam=sam.to(place).eval(),
        arch=arch,
        protocol=_protocol_in(resolve_weights(weights)),
    )


def _protocol_in(path: Path) -> PromptProtocol | None:
    """Return the protocol that an exported file carries, if it does."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
    return None if text is None else PromptProtocol.from_json(text)
