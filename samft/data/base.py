"""What every samft datamodule offers to the trainer and the command line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, cast

import torch
from lightning.pytorch import LightningDataModule

from samft.data.prompted import PromptedBatch
from samft.data.trimming import trim_padding
from samft.errors import ConfigError
from samft.types import SamBatch


class MovableBatch(Protocol):
    """A batch that knows which of its parts belong on the device."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return a copy on `device`."""
        ...


Batch = TypeVar("Batch", bound=MovableBatch)


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDataModule(LightningDataModule, ABC):
    """Gives batches of images in the input frame.

    Args:
        image_size: Side of the square the model sees, pixels; default: the model's own.
    """

    image_size: int | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._check_at_least("image_size", 1)

    @abstractmethod
    def prepare_index(self) -> None:
        """Find and check the data; once, and before anything is written or trained.

        Raises:
            SamftError: for everything that is wrong with the data.
        """

    def setup(self, stage: str) -> None:  # noqa: ARG002  # Lightning names it
        """Do what `prepare_index` does; Lightning calls it on every process."""
        self.prepare_index()

    @property
    def num_channels(self) -> int:
        """C, channels of the images."""
        return 3

    def resolved_image_size(self) -> int:
        """Return `image_size`, or else that of the model the trainer runs.

        Raises:
            ConfigError: if neither is known.
        """
        if self.image_size is not None:
            return self.image_size
        module = None if self.trainer is None else self.trainer.lightning_module
        size = getattr(module, "image_size", None)
        if size is None:
            raise ConfigError(
                "the input size is not known",
                where="data.image_size",
                expected="a number of pixels, or a trainer whose model has an image_size",
                fix="set data.image_size to the model's, such as 1024",
            )
        return int(size)

    def transfer_batch_to_device(
        self,
        batch: Batch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002  # Lightning names it
    ) -> Batch:
        """Move a batch, trimmed if the model wants that.

        What it keeps for evaluation and pictures stays on the CPU.
        """
        module = None if self.trainer is None else self.trainer.lightning_module
        cell = getattr(module, "trim_to", None)
        if cell is not None and isinstance(batch, SamBatch | PromptedBatch):
            batch = cast(Batch, trim_padding(batch, cell))
        return batch.to(device, non_blocking=True)

    def _share(self) -> tuple[int, int]:
        """Return (rank, number of processes) of the running trainer."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _check_at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and value < least:
            raise ConfigError(
                "the setting is out of range",
                where=f"data.{name}",
                found=value,
                expected=f"{least} or more",
            )
