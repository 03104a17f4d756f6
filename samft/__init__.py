"""samft: fine-tune the Segment Anything Model on your own images.

The names below are the public interface. They are imported when first used, so that `import samft`
costs nothing and needs neither torch nor Lightning until something of them is touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samft.data.datamodule import SamDataModule as SamDataModule
    from samft.data.folder import FolderDataModule as FolderDataModule
    from samft.data.medical import MedicalDataModule as MedicalDataModule
    from samft.data.microscopy import MicroscopyDataModule as MicroscopyDataModule
    from samft.data.prompted_datamodule import (
        PromptedImagesDataModule as PromptedImagesDataModule,
    )
    from samft.data.sharded_datamodule import ShardedDataModule as ShardedDataModule
    from samft.data.synthetic import SyntheticDataModule as SyntheticDataModule
    from samft.data.underwater import UnderwaterDataModule as UnderwaterDataModule
    from samft.inference.array_sources import ImageSource as ImageSource
    from samft.inference.array_sources import VolumeSource as VolumeSource
    from samft.inference.array_sources import open_array as open_array
    from samft.inference.array_sources import sampled_range as sampled_range
    from samft.inference.automatic import AutomaticMasks as AutomaticMasks
    from samft.inference.automatic_settings import AutomaticMaskSettings as AutomaticMaskSettings
    from samft.inference.predictor import Predictor as Predictor
    from samft.inference.propagation import VolumePropagation as VolumePropagation
    from samft.inference.slice_prompts import VolumePrompt as VolumePrompt
    from samft.inference.tile_settings import TileSettings as TileSettings
    from samft.inference.tiled import TiledMasks as TiledMasks
    from samft.inference.tiled_predictor import TiledPredictor as TiledPredictor
    from samft.inference.volume_masks import VolumeMasks as VolumeMasks
    from samft.inference.volume_settings import LinkSettings as LinkSettings
    from samft.inference.volume_settings import PropagationSettings as PropagationSettings
    from samft.losses import SamLossSettings as SamLossSettings
    from samft.models.adaptation.settings import AdaptationSettings as AdaptationSettings
    from samft.models.adaptation.settings import AdapterSettings as AdapterSettings
    from samft.models.adaptation.settings import LoraSettings as LoraSettings
    from samft.models.channels import ChannelSettings as ChannelSettings
    from samft.models.registry import build_sam as build_sam
    from samft.models.sam import Sam as Sam
    from samft.module import SamModule as SamModule
    from samft.optim import OptimizerSettings as OptimizerSettings
    from samft.prompts.settings import PromptSettings as PromptSettings
    from samft.runs import Run as Run
    from samft.runs import load_run as load_run
    from samft.window_settings import WindowSettings as WindowSettings

__version__ = "0.1.0"

_WHERE = {
    "AdaptationSettings": "samft.models.adaptation.settings",
    "AdapterSettings": "samft.models.adaptation.settings",
    "AutomaticMaskSettings": "samft.inference.automatic_settings",
    "AutomaticMasks": "samft.inference.automatic",
    "ChannelSettings": "samft.models.channels",
    "FolderDataModule": "samft.data.folder",
    "ImageSource": "samft.inference.array_sources",
    "LinkSettings": "samft.inference.volume_settings",
    "LoraSettings": "samft.models.adaptation.settings",
    "MedicalDataModule": "samft.data.medical",
    "MicroscopyDataModule": "samft.data.microscopy",
    "OptimizerSettings": "samft.optim",
    "Predictor": "samft.inference.predictor",
    "PromptSettings": "samft.prompts.settings",
    "PromptedImagesDataModule": "samft.data.prompted_datamodule",
    "PropagationSettings": "samft.inference.volume_settings",
    "Run": "samft.runs",
    "Sam": "samft.models.sam",
    "SamDataModule": "samft.data.datamodule",
    "SamLossSettings": "samft.losses",
    "SamModule": "samft.module",
    "ShardedDataModule": "samft.data.sharded_datamodule",
    "SyntheticDataModule": "samft.data.synthetic",
    "TileSettings": "samft.inference.tile_settings",
    "TiledMasks": "samft.inference.tiled",
    "TiledPredictor": "samft.inference.tiled_predictor",
    "UnderwaterDataModule": "samft.data.underwater",
    "VolumeMasks": "samft.inference.volume_masks",
    "VolumePrompt": "samft.inference.slice_prompts",
    "VolumePropagation": "samft.inference.propagation",
    "VolumeSource": "samft.inference.array_sources",
    "WindowSettings": "samft.window_settings",
    "build_sam": "samft.models.registry",
    "load_run": "samft.runs",
    "open_array": "samft.inference.array_sources",
    "sampled_range": "samft.inference.array_sources",
}

__all__ = [
    "AdaptationSettings",
    "AdapterSettings",
    "AutomaticMaskSettings",
    "AutomaticMasks",
    "ChannelSettings",
    "FolderDataModule",
    "ImageSource",
    "LinkSettings",
    "LoraSettings",
    "MedicalDataModule",
    "MicroscopyDataModule",
    "OptimizerSettings",
    "Predictor",
    "PromptSettings",
    "PromptedImagesDataModule",
    "PropagationSettings",
    "Run",
    "Sam",
    "SamDataModule",
    "SamLossSettings",
    "SamModule",
    "ShardedDataModule",
    "SyntheticDataModule",
    "TileSettings",
    "TiledMasks",
    "TiledPredictor",
    "UnderwaterDataModule",
    "VolumeMasks",
    "VolumePrompt",
    "VolumePropagation",
    "VolumeSource",
    "WindowSettings",
    "__version__",
    "build_sam",
    "load_run",
    "open_array",
    "sampled_range",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'samft' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
