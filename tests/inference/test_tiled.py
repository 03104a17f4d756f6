"""Tiled automatic masks: no seams, little memory, and a kill in the middle changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from threshold_models import GuardedArray, ThresholdGenerator, same_partition

from samft import TiledMasks, open_array
from samft.errors import OutputError, PromptError
from samft.inference import label_stores, tiled
from samft.inference.disjoint import LabelledMasks
from samft.inference.label_stores import MappedLabels
from samft.inference.stitching import DisjointSets, Fragments, choose

SIDE, HALO = 96, 20


@pytest.fixture(scope="module")
def image():
    """Discs of many sizes, none of which touch, and a snake through the whole image."""
    rng = np.random.default_rng(3)
    picture = np.zeros((310, 370), np.uint8)
    rows, columns = np.mgrid[:310, :370]
    picture[100:106, 10:360] = 200
    picture[100:220, 354:360] = 200
    for _ in range(400):
        y, x, radius = rng.uniform(0, 310), rng.uniform(0, 370), rng.uniform(2, 19)
        near = (rows - y) ** 2 + (columns - x) ** 2 < (radius + 2) ** 2
        if not picture[near].any():
            picture[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.integers(130, 255)
    return picture


def labelled(image, out, generator=None, **options):
    tiled = TiledMasks(generator or ThresholdGenerator(), tile_side=SIDE, halo=HALO)
    return tiled.label(image, out, **options)


def test_the_result_is_that_without_tiles(image, tmp_path) -> None:
    result = labelled(image, tmp_path / "labels.zarr")
    found = np.asarray(open_array(result.path)[:])
    truth, count = ndimage.label(image > 127)
    assert count > 60
    assert result.count == count
    assert result.shape == image.shape
    assert found.dtype == np.int32
    assert np.array_equal(np.unique(found), np.arange(count + 1))
    assert same_partition(found, truth)
    areas = np.bincount(found.ravel())[1:]
    whole = areas < 19**2 * 4
    assert np.allclose(result.scores[whole], (1 - 1 / (1 + areas))[whole])
    assert not list(tmp_path.glob("*.partial"))


def test_every_kind_of_file_holds_the_same(image, tmp_path) -> None:
    paths = [labelled(image, tmp_path / f"labels{kind}").path for kind in (".zarr", ".tif", ".npy")]
    arrays = [np.asarray(open_array(path)[:]) for path in paths]
    assert np.array_equal(arrays[0], arrays[1])
    assert np.array_equal(arrays[0], arrays[2])
    assert np.array_equal(tifffile.imread(paths[1]), arrays[0])


def test_no_more_than_a_tile_is_read_or_written_at_once(image, tmp_path, monkeypatch) -> None:
    guarded = GuardedArray(image, SIDE * SIDE)
    written = []
    write = MappedLabels.write

    def watched(self, window, values) -> None:
        written.append(values.size)
        write(self, window, values)

    monkeypatch.setattr(MappedLabels, "write", watched)
    labelled(guarded, tmp_path / "labels.npy")
    assert guarded.largest == SIDE * SIDE
    assert max(written) == SIDE * SIDE


def test_colour_images_and_progress(image, tmp_path) -> None:
    steps = []
    colour = np.repeat(image[:, :, None], 3, axis=2)
    out = tmp_path / "labels.npy"
    labelled(colour, out, progress=lambda done, total: steps.append((done, total)))
    labelled(image, tmp_path / "grey.npy")
    assert np.array_equal(np.load(out), np.load(tmp_path / "grey.npy"))
    assert steps == [(step + 1, len(steps)) for step in range(len(steps))]


@pytest.mark.parametrize("tiles", [1, 7, 29])
def test_an_interrupted_run_goes_on_to_the_same_result(image, tmp_path, tiles) -> None:
    whole = np.load(labelled(image, tmp_path / "whole.npy").path)
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        labelled(image, out, ThresholdGenerator(stop_after=tiles))
    assert not out.exists()
    rest = ThresholdGenerator()
    labelled(image, out, rest)
    assert rest.images == 30 - tiles
    assert np.array_equal(np.load(out), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.npy", "whole.npy"]


def test_a_killed_process_leaves_nothing_half_written(image, tmp_path) -> None:
    class Dying(ThresholdGenerator):
        def records(self, image, *, candidates=None):
            if self.images == 11:
                os._exit(9)
            return super().records(image, candidates=candidates)

    out = tmp_path / "labels.npy"
    child = os.fork()
    if child == 0:
        labelled(image, out, Dying())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not out.exists()
    rest = ThresholdGenerator()
    labelled(image, out, rest)
    assert rest.images == 30 - 11
    whole = np.load(labelled(image, tmp_path / "whole.npy").path)
    assert np.array_equal(np.load(out), whole)


@pytest.mark.parametrize("calls", [3, 25])
def test_stopped_while_writing(image, tmp_path, monkeypatch, calls) -> None:
    whole = np.load(labelled(image, tmp_path / "whole.npy").path)
    write, done = MappedLabels.write, []

    def stopping(self, window, values) -> None:
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(window)
        write(self, window, values)

    out = tmp_path / "labels.npy"
    with monkeypatch.context() as patch:
        patch.setattr(MappedLabels, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            labelled(image, out)
    assert not out.exists()
    rest = ThresholdGenerator()
    labelled(image, out, rest)
    assert rest.images == 0
    assert np.array_equal(np.load(out), whole)


def test_a_damaged_part_is_made_again(image, tmp_path, caplog) -> None:
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        labelled(image, out, ThresholdGenerator(stop_after=20))
    part = tmp_path / "labels.npy.partial" / "tile-000004.npz"
    part.write_bytes(part.read_bytes()[:100])
    rest = ThresholdGenerator()
    labelled(image, out, rest)
    assert rest.images == 11
    assert "tile-000004.npz is damaged and will be made again" in caplog.text
    assert np.array_equal(np.load(out), np.load(labelled(image, tmp_path / "b.npy").path))


def test_parts_of_another_computation_are_refused(image, tmp_path) -> None:
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        labelled(image, out, ThresholdGenerator(stop_after=2))
    brighter = image.copy()
    brighter[:5, :5] = 255
    other = ThresholdGenerator()
    other.sam.bias.data.fill_(1.0)
    for changed, generator, options in (
        (brighter, ThresholdGenerator(), {}),
        (image, other, {}),
        (image, ThresholdGenerator(), {"match_iou": 0.6}),
    ):
        tiles = TiledMasks(generator, tile_side=SIDE, halo=HALO, **options)
        with pytest.raises(OutputError) as caught:
            tiles.label(changed, out)
        assert str(caught.value) == (
            "an unfinished run left parts made with other settings, weights or pixels\n"
            f"  where: {out}.partial\n"
            "  fix: delete this folder to start anew, or choose another output"
        )


def test_outputs_that_cannot_be(image, tmp_path) -> None:
    out = labelled(image, tmp_path / "labels.npy").path
    with pytest.raises(OutputError, match=r"the labels are there already\n  where: .*labels.npy"):
        labelled(image, out)
    with pytest.raises(OutputError, match=r"where: .*labels.png, expected: .npy, .tif, .tiff"):
        labelled(image, tmp_path / "labels.png")

    class Nested(ThresholdGenerator):
        def records(self, part, *, candidates=None):
            with pytest.raises(OutputError, match="another process is writing this output"):
                labelled(image, tmp_path / "two.npy")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labelled(image, tmp_path / "two.npy", Nested())


def test_candidates_are_asked_where_they_are(image, tmp_path) -> None:
    truth, _ = ndimage.label(image > 127)
    chosen = [5, 9, 30]
    points = [ndimage.center_of_mass(truth == number)[::-1] for number in chosen]
    result = labelled(image, tmp_path / "labels.npy", candidates=points)
    assert result.count == 3
    assert same_partition(np.load(result.path), np.where(np.isin(truth, chosen), truth, 0))
    boxes = [[x - 1, y - 1, x + 1, y + 1] for x, y in points]
    nothing = labelled(image, tmp_path / "none.npy", candidates=np.zeros((0, 4)))
    assert nothing.count == 0
    assert not np.load(nothing.path).any()
    with pytest.raises(PromptError, match="a prompt lies outside the image"):
        labelled(image, tmp_path / "far.npy", candidates=[[*boxes[0][:2], 400, 300]])


def test_small_objects_are_dropped_but_not_small_pieces(image, tmp_path) -> None:
    tiles = TiledMasks(ThresholdGenerator(), tile_side=SIDE, halo=HALO, min_area=200)
    found = np.load(tiles.label(image, tmp_path / "labels.npy").path)
    truth, _ = ndimage.label(image > 127)
    large = np.bincount(truth.ravel()) >= 200
    large[0] = False
    assert same_partition(found, np.where(large[truth], truth, 0))


def test_masks_of_one_tile_alone(tmp_path) -> None:
    """What only one tile sees counts in its own core, and not in the halo."""

    class Fickle(ThresholdGenerator):
        def records(self, image, *, candidates=None):
            found = super().records(image, candidates=candidates)
            return found if self.images == 1 else []

    picture = np.zeros((40, 64), np.uint8)
    picture[10:14, 10:14] = 200  # in the first tile's core
    picture[10:14, 36:39] = 200  # in its halo, the second tile's core
    tiles = TiledMasks(Fickle(), tile_side=40, halo=8)
    found = np.load(tiles.label(picture, tmp_path / "labels.npy").path)
    assert found.sum() == 16
    assert (found[10:14, 10:14] == 1).all()


def test_disjoint_sets() -> None:
    sets = DisjointSets(6)
    for one, other in ((4, 5), (1, 3), (3, 5)):
        sets.join(one, other)
    assert [sets.root(item) for item in range(6)] == [0, 1, 2, 1, 1, 1]


def test_which_masks_make_up_an_object() -> None:
    fragments = Fragments(
        first=np.array([0, 3, 6]),
        scores=np.array([0.5, 0.9, 0.6, 0.8, 0.7, 0.4], np.float32),
        areas=np.array([10, 20, 30, 10, 20, 30]),
        depths=np.array([5, 0, 9, 8, 1, 9]),
        owned=np.array([True, True, False, False, False, True]),
    )
    sets = DisjointSets(6)
    sets.join(0, 3)  # both whole: the deeper one
    sets.join(1, 4)  # both cut: all pieces
    chosen = choose(fragments, sets, edge=2, min_area=0)
    assert chosen.tolist() == [-1, 1, -1, 0, 1, 5]
    # 2 is alone and not in its own core; 20 + 20 pixels are enough, 10 and 30 are not.
    assert choose(fragments, sets, edge=2, min_area=35).tolist() == [-1, 1, -1, -1, 1, -1]


def test_labels_are_compact_on_disk() -> None:
    few = LabelledMasks(np.ones((2, 2), np.int32), np.zeros(3, np.float32))
    many = LabelledMasks(np.ones((2, 2), np.int32), np.zeros(70000, np.float32))
    assert tiled._compact(few).dtype == np.uint16
    assert tiled._compact(many).dtype == np.int32


def test_nothing_takes_the_name_of_something_else(tmp_path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    with pytest.raises(OutputError, match="something else was written there meanwhile"):
        label_stores.publish(tmp_path / "new", tmp_path / "old")
    assert Path(tmp_path / "old").read_text() == "old"
