"""Images of many channels and of more than 8 bits, from files to batches."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from fixtures_data import discs, picture, save
from numpy.typing import NDArray

from samft.data.collate import collate
from samft.data.intensity import to_float, to_uint8
from samft.data.medical import MedicalDataModule
from samft.data.microscopy import MicroscopyDataModule
from samft.data.prompted_datamodule import PromptedImagesDataModule
from samft.data.readers.image import probe_image, read_image
from samft.data.synthetic import SyntheticDataModule
from samft.data.underwater import UnderwaterDataModule
from samft.errors import ConfigError, DatasetError
from samft.types import Sample

SIZE = (48, 64)


def planes(count: int = 5) -> NDArray[np.uint16]:
    """Channels of very different brightness: plane k has values up to 100 * 4**k."""
    generator = np.random.default_rng(0)
    top = 100 * 4 ** np.arange(count)
    return generator.integers(0, top[:, None, None], (count, *SIZE)).astype(np.uint16)


LAYOUTS = {
    "ome": {"data": planes(), "ome": True, "metadata": {"axes": "CYX"}},
    "imagej": {"data": planes(), "imagej": True, "metadata": {"axes": "CYX"}},
    "separate": {"data": planes(), "photometric": "minisblack", "planarconfig": "separate"},
    "interleaved": {
        "data": planes().transpose(1, 2, 0),
        "photometric": "minisblack",
        "planarconfig": "contig",
    },
    "unnamed": {"data": planes()},
    "unnamed_last": {"data": planes().transpose(1, 2, 0)},
}


def write(path: Path, layout: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, **LAYOUTS[layout])
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_tiff(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "a.tif", layout)
    array = read_image(path, every_channel=True)
    assert np.array_equal(array, planes().transpose(1, 2, 0))
    assert probe_image(path, every_channel=True) == SIZE


def test_an_axis_without_a_name_is_still_a_stack_unless_channels_are_asked_for(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.tif", "unnamed")
    with pytest.raises(DatasetError, match="the TIFF is a stack"):
        read_image(path)
    tifffile.imwrite(path, np.zeros((2, 5, *SIZE), np.uint16), imagej=True)
    with pytest.raises(DatasetError, match="the TIFF is a stack"):
        read_image(path, every_channel=True)


def test_a_fourth_channel_that_calls_itself_alpha(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", planes(4).transpose(1, 2, 0), photometric="rgb")
    assert read_image(tmp_path / "a.tif").shape == (*SIZE, 3)
    assert read_image(tmp_path / "a.tif", every_channel=True).shape == (*SIZE, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of five 16-bit channels with label images."""
    root = tmp_path_factory.mktemp("channels")
    for number in range(3):
        labels = discs(number)
        grey = picture(labels, number).astype(np.uint16)
        stack = np.stack([grey * 4**k for k in range(4)] + [65535 - grey])
        save(root / "masks" / f"{number}.tif", labels.astype(np.uint16))
        (root / "images").mkdir(exist_ok=True)
        tifffile.imwrite(root / "images" / f"{number}.tif", stack, metadata={"axes": "CYX"})
    return root


def module(folder: Path, **settings: object) -> MicroscopyDataModule:
    return MicroscopyDataModule(root=str(folder), val_fraction=0, **settings)


def first(folder: Path, **settings: object) -> Sample:
    return module(folder, **settings).dataset("train")[0]


def test_each_channel_is_scaled_by_itself(folder: Path) -> None:
    sample = first(folder, channels=[0, 1, 2, 3, 4])
    assert sample.image.shape == (5, *SIZE)
    assert sample.image.dtype == torch.uint8
    # The same picture times 1, 4, 16, 64, and its negative.
    for k in (1, 2, 3):
        assert torch.equal(sample.image[k], sample.image[0])
    pair = sample.image[[0, 4]].flatten(1).float()
    assert torch.corrcoef(pair)[0, 1] < -0.99
    assert module(folder, channels=[0, 1, 2, 3, 4]).num_channels == 5


def test_up_to_three_chosen_channels_become_rgb(folder: Path) -> None:
    whole = first(folder, channels=[4, 3, 2, 1, 0]).image
    assert torch.equal(first(folder, channels=[4]).image, whole[:1].expand(3, -1, -1))
    assert torch.equal(first(folder, channels=[4, 3, 0]).image, whole[[0, 1, 4]])
    assert torch.equal(first(folder, channels=[4, 3]).image[:2], whole[:2])
    assert module(folder, channels=[4]).num_channels == 3


def test_depth_is_kept_where_it_is_wanted(folder: Path) -> None:
    rounded, kept = (first(folder, channels=[0, 4], keep_depth=keep) for keep in (False, True))
    assert kept.image.dtype == torch.float32
    assert 0 <= kept.image.min() < kept.image.max() <= 255
    assert (kept.image[:2] - rounded.image[:2]).abs().max() <= 0.5
    assert len(kept.image[0].unique()) >= len(rounded.image[0].unique())
    batch = collate([kept], image_size=64)
    assert (batch.images.dtype, batch.images.shape) == (torch.float32, (1, 3, 64, 64))


def test_16_bits_have_more_than_256_levels() -> None:
    values = np.arange(4096, dtype=np.uint16)
    exact, rounded = to_float(values, 0, 4095), to_uint8(values, 0, 4095)
    assert len(np.unique(exact)) == 4096
    assert np.array_equal(rounded, np.rint(exact))
    assert exact.tolist()[-1] == 255
    odd = to_float(np.array([np.nan, np.inf, -np.inf, 9.0], np.float32), 0, 18)
    assert odd.tolist() == [0, 255, 0, 127.5]
    assert to_float(values[:3], 7, 7).tolist() == [0, 0, 0]


def test_a_batch_has_as_many_channels_as_its_samples(folder: Path) -> None:
    dataset = module(folder, channels=[0, 1, 2, 4], transforms="microscopy").dataset(
        "train", augment=True
    )
    batch = collate([dataset[0], dataset[1]], image_size=64)
    assert batch.images.shape == (2, 4, 64, 64)


def text_of(error: type[Exception], folder: Path, **settings: object) -> str:
    with pytest.raises(error) as caught:
        module(folder, **settings).prepare_index()
    return str(caught.value)


def test_what_is_wrong_is_said(folder: Path) -> None:
    text = text_of(DatasetError, folder)
    assert "the image has too many channels" in text
    assert "set data.channels" in text or "choose some with data.channels" in text
    assert "model.channels.count" in text
    text = text_of(DatasetError, folder, channels=[0, 7])
    assert "found: 5 channels, data.channels [0, 7], expected: numbers from 0 to 4" in text
    for channels in ([], [0, -1]):
        text = text_of(ConfigError, folder, channels=channels)
        assert f"where: data.channels, found: {channels}, expected: numbers from 0" in text
    text = text_of(ConfigError, folder, channels=[0, 1, 2, 3], transforms="underwater")
    assert "found: underwater, with images of 4 channels" in text
    assert "expected: flip, medical, microscopy" in text
    text = text_of(ConfigError, folder, channels=[0, 1, 2, 3], generic=SyntheticDataModule())
    assert "images that are mixed must have as many channels" in text
    assert "where: data.generic, found: 3, expected: 4" in text


def test_a_volume_with_a_fourth_axis(tmp_path: Path) -> None:
    labels = np.zeros((6, 24, 20), np.uint8)
    labels[2:4, 5:12, 5:12] = 1
    ramp = np.linspace(0, 500, labels.size).reshape(labels.shape)
    values = np.stack([np.where(labels, 900, ramp) * (k + 1) for k in range(4)]).astype(np.int16)
    values[3] *= -1
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    for name, array in (("images", values.transpose(3, 2, 1, 0)), ("labels", labels.T)):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / name / "a.nii.gz")
    data = MedicalDataModule(
        root=str(tmp_path), val_fraction=0, channels=[3, 0, 1, 2], keep_depth=True
    )
    sample = data.dataset("train")[2]
    assert (sample.image.shape, sample.image.dtype) == ((4, 24, 20), torch.float32)
    inside = sample.masks()[0]
    found = [float(plane[inside].mean()) for plane in sample.image]
    assert found == pytest.approx([0, 255, 255, 255], abs=1e-3)
    assert data.num_channels == 4


def test_underwater_and_prompted_images_take_channels_too(folder: Path, suim_folder: Path) -> None:
    data = UnderwaterDataModule(root=str(suim_folder), val_fraction=0, channels=[2, 1, 0])
    plain = UnderwaterDataModule(root=str(suim_folder), val_fraction=0)
    assert torch.equal(data.dataset("train")[0].image, plain.dataset("train")[0].image.flip(0))
    images = PromptedImagesDataModule(
        source=str(folder / "images"), image_size=64, channels=[0, 1, 2, 3], keep_depth=True
    )
    assert images.num_channels == 4
    batch = next(iter(images.predict_dataloader()))
    assert (batch.images.shape, batch.images.dtype) == ((1, 4, 64, 64), torch.float32)
    assert (batch.originals[0].shape, batch.originals[0].dtype) == ((*SIZE, 3), np.uint8)
