"""Label images as prompts."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.geometry import frame_for
from samft.data.label_prompts import LabelFiles
from samft.data.preprocessing import Preprocessing
from samft.data.prompted import recorded_batch
from samft.data.source_files import find_sources
from samft.errors import PromptError


def sources(folder: Path):
    return find_sources(str(folder), Preprocessing()).sources


def test_boxes_of_flat_labels(tmp_path: Path) -> None:
    labels = discs(0, count=3)
    labels[labels == 2] = 0
    for name in ("a.jpg", "sub/b.png", "c.png"):
        save(tmp_path / "images" / name, picture(labels, 0))
    save(tmp_path / "labels" / "a.png", labels.astype(np.uint8))
    save(tmp_path / "labels" / "sub/b.png.tif", labels.astype(np.uint16))
    files = LabelFiles(str(tmp_path / "labels"))
    first, third, second = sources(tmp_path / "images")
    assert [files.has(source) for source in (first, second, third)] == [True, True, False]
    for source in (first, second):
        prompts = files.prompts(files.plane(source, 0))
        assert [prompt.object_id for prompt in prompts] == [1, 3]
        for prompt in prompts:
            rows, columns = np.nonzero(labels == prompt.object_id)
            assert prompt.box == (columns.min(), rows.min(), columns.max(), rows.max())


def test_boxes_reach_the_model_in_its_own_pixels(tmp_path: Path) -> None:
    """They are whole numbers, which once made the factor to the input a whole number as well."""
    labels = discs(0)
    save(tmp_path / "images/a.png", picture(labels, 0))
    save(tmp_path / "labels/a.png", labels.astype(np.uint8))
    files = LabelFiles(str(tmp_path / "labels"))
    prompts = files.prompts(files.plane(sources(tmp_path / "images")[0], 0))
    for side in (30, 100, 1000):
        frame = frame_for(labels.shape, side)
        factors = np.divide(frame.input_size, labels.shape)[[1, 0, 1, 0]]
        expected = np.array([prompt.box for prompt in prompts]) * factors
        assert np.allclose(recorded_batch([prompts], [frame]).boxes, expected, atol=1e-3)


def test_pieces_of_a_black_and_white_mask(tmp_path: Path) -> None:
    labels = discs(0, count=3)
    save(tmp_path / "images/a.png", picture(labels, 0))
    save(tmp_path / "labels/a.png", (labels > 0).astype(np.uint8) * 255)
    files = LabelFiles(str(tmp_path / "labels"))
    prompts = files.prompts(files.plane(sources(tmp_path / "images")[0], 0))
    assert len(prompts) == 3


def test_volumes_in_whatever_orientation(tmp_path: Path) -> None:
    scan, labels = ct_volume(0)
    write_nifti(tmp_path / "images/a.nii.gz", scan, codes="RAS")
    write_nifti(tmp_path / "labels/a.nii.gz", labels, codes="LPS")
    files = LabelFiles(str(tmp_path / "labels"))
    (source,) = sources(tmp_path / "images")
    for index in range(len(source.planes)):
        bright = source.picture(index)[0] > 128
        assert (files.plane(source, index)[bright] > 0).mean() > 0.9 or not bright.any()


def test_slices_as_predict_writes_them(tmp_path: Path) -> None:
    scan, _ = ct_volume(0)
    write_nifti(tmp_path / "images/a.nii.gz", scan)
    plane = np.zeros((24, 20), np.uint8)
    plane[3:5, 6:9] = 4
    save(tmp_path / "labels/a.nii.gz/z002.png", plane)
    files = LabelFiles(str(tmp_path / "labels"))
    (source,) = sources(tmp_path / "images")
    assert files.has(source)
    assert files.prompts(files.plane(source, 2))[0].box == (6, 3, 8, 4)
    assert not files.plane(source, 1).any()


def test_stacks(tmp_path: Path) -> None:
    labels = np.zeros((3, 8, 9), np.uint8)
    labels[1, 2:4, 5:7] = 6
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", labels, photometric="minisblack")
    files = LabelFiles(str(tmp_path / "labels"))
    (source,) = sources(tmp_path / "images")
    assert files.prompts(files.plane(source, 1))[0].box == (5, 2, 6, 3)


def test_labels_of_another_size(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", picture(discs(0), 0))
    save(tmp_path / "labels/a.png", np.ones((5, 6), np.uint8))
    with pytest.raises(PromptError, match="differ in size") as caught:
        LabelFiles(str(tmp_path / "labels")).plane(sources(tmp_path / "images")[0], 0)
    assert "5 x 6" in str(caught.value)
    assert "48 x 64" in str(caught.value)


def test_a_folder_without_labels(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="holds no label images"):
        LabelFiles(str(tmp_path))
