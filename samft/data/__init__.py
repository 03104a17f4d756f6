"""From folders of images and masks to batches. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samft.data.datamodule import SamDataModule as SamDataModule
    from samft.data.dataset import SampleDataset as SampleDataset
    from samft.data.folder import FolderDataModule as FolderDataModule
    from samft.data.medical import MedicalDataModule as MedicalDataModule
    from samft.data.microscopy import MicroscopyDataModule as MicroscopyDataModule
    from samft.data.prompted_datamodule import PromptedImagesDataModule as PromptedImagesDataModule
    from samft.data.sharded_datamodule import ShardedDataModule as ShardedDataModule
    from samft.data.synthetic import SyntheticDataModule as SyntheticDataModule
    from samft.data.underwater import UnderwaterDataModule as UnderwaterDataModule

_WHERE = {
    "FolderDataModule": "samft.data.folder",
    "MedicalDataModule": "samft.data.medical",
    "MicroscopyDataModule": "samft.data.microscopy",
    "PromptedImagesDataModule": "samft.data.prompted_datamodule",
    "SamDataModule": "samft.data.datamodule",
    "SampleDataset": "samft.data.dataset",
    "ShardedDataModule": "samft.data.sharded_datamodule",
    "SyntheticDataModule": "samft.data.synthetic",
    "UnderwaterDataModule": "samft.data.underwater",
}

__all__ = [
    "FolderDataModule",
    "MedicalDataModule",
    "MicroscopyDataModule",
    "PromptedImagesDataModule",
    "SamDataModule",
    "SampleDataset",
    "ShardedDataModule",
    "SyntheticDataModule",
    "UnderwaterDataModule",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'samft.data' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
