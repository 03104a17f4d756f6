"""What is exported: a stock model, and what has to be known about it wherever it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import samft
from samft.errors import OutputError
from samft.models.adaptation.merge import merged
from samft.models.sam import Sam
from samft.prompts.protocol import METADATA_KEY, PromptProtocol


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedModel:
    """A model without adapters, with its record.

    Args:
        sam: In evaluation mode, on the CPU, without gradients.
        protocol: How it was prompted in training; `None` where that is not known.
        licence: SPDX identifier of the weights it started from; `None` where that is not known.
        origin: More facts as text, such as the hash of the weights it started from.
        was_trimmed: Whether it was trained on images without their common padding.
    """

    sam: Sam
    protocol: PromptProtocol | None = None
    licence: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    was_trimmed: bool = False

    @classmethod
    def of(
        cls,
        sam: Sam,
        *,
        protocol: PromptProtocol | None = None,
        licence: str | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> TunedModel:
        """Return a copy of a model, its adapters merged; the model stays as it is.

        Other programs pad every image to the square, so the copy does so too.

        Args:
            sam: The model, adapted or not.
            protocol: See the class.
            licence: See the class.
            origin: See the class.

        Raises:
            ConfigError: if it has bottleneck adapters, which cannot be merged.
            CheckpointError: if a weight is not finite.
        """
        stock = merged(sam).cpu().float().eval().requires_grad_(requires_grad=False)
        was_trimmed, stock.trim_padding = stock.trim_padding, False
        return cls(
            sam=stock,
            protocol=protocol,
            licence=licence,
            origin=dict(origin or {}),
            was_trimmed=was_trimmed,
        )

    @property
    def metadata(self) -> dict[str, str]:
        """What files say about themselves: names and texts."""
        config = self.sam.config
        text = {
            "format": "pt",
            "samft_version": samft.__version__,
            "arch": config.name,
            "image_size": str(config.image_size),
            "licence": self.licence or "unknown",
            **self.origin,
        }
        if self.protocol is not None:
            text[METADATA_KEY] = self.protocol.to_json()
        return text

    def check_rgb(self, program: str) -> None:
        """Refuse a model that mixes its own channels.

        Args:
            program: What reads three channels only.

        Raises:
            OutputError: if it does not read RGB images as they are.
        """
        if self.sam.channels is not None:
            raise OutputError(
                f"{program} reads RGB images alone, and this model mixes its own channels",
                found=f"an adapter of {self.sam.num_channels} channels",
                fix="export with --to safetensors, for samft, or --to onnx",
            )
