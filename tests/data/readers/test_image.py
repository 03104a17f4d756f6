"""Every kind of picture becomes plain numbers; every damaged one a readable error."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save
from PIL import Image

from samft.data.readers.image import probe_image, read_image, read_label_map, read_mask
from samft.errors import DatasetError

GREY = picture(discs(0), 0)
RGB = np.dstack([GREY, GREY // 2, 255 - GREY])


def message(path: Path, read=read_image) -> str:
    with pytest.raises(DatasetError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 4
    return text


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif"])
def test_lossless_grey(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"a.{ending}", GREY)
    array = read_image(path)
    assert np.array_equal(array if array.ndim == 2 else array[..., 0], GREY)
    assert probe_image(path) == GREY.shape


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "jpg"])
def test_rgb(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "tif":
        save(path, RGB)
    else:
        options = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}
        Image.fromarray(RGB).save(path, **options.get(ending, {}))
    error = np.abs(read_image(path).astype(int) - RGB)
    assert error.mean() < (4 if ending == "jpg" else 1e-9)
    assert probe_image(path) == GREY.shape


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("LA", (48, 64)), ("RGBA", (48, 64, 3)), ("P", (48, 64, 3)), ("1", (48, 64))],
)
def test_modes(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    image = Image.fromarray(GREY if mode in ("LA", "1") else RGB).convert(mode)
    if "A" in mode:
        image.putalpha(40)  # alpha must not darken the picture
    image.save(tmp_path / "a.png")
    array = read_image(tmp_path / "a.png")
    assert array.shape == shape
    expected = np.asarray(image.convert("L" if len(shape) == 2 else "RGB"))
    assert np.array_equal(array, expected)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_keeps_its_depth(tmp_path: Path, ending: str) -> None:
    deep = GREY.astype(np.uint16) * 200
    array = read_image(save(tmp_path / f"a.{ending}", deep))
    assert array.dtype == np.uint16
    assert np.array_equal(array, deep)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path, exif=exif)
    array = read_image(path)
    assert array.shape == ((64, 48) if orientation > 4 else (48, 64))
    assert probe_image(path) == array.shape
    if orientation == 6:  # the camera was turned: the file lies on its side
        assert np.array_equal(array, np.rot90(GREY, -1))


def test_palette_mask_is_indices_or_colours(tmp_path: Path) -> None:
    image = Image.fromarray((discs(1) % 3).astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), discs(1) % 3)
    colours = read_mask(tmp_path / "a.png", palette="colour")
    assert {tuple(c) for c in colours.reshape(-1, 3).tolist()} == {
        (0, 0, 0),
        (255, 0, 0),
        (0, 255, 0),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32])
def test_label_tiff_of_any_depth(tmp_path: Path, dtype: type) -> None:
    labels = discs(2) * 50
    path = save(tmp_path / "a.tif", labels.astype(dtype))
    found = read_label_map(path)
    assert found.dtype == np.int32
    assert np.array_equal(found, labels)


def test_three_equal_channels_are_one(tmp_path: Path) -> None:
    mask = (discs(3) > 0).astype(np.uint8) * 255
    path = save(tmp_path / "a.png", np.dstack([mask] * 3))
    assert np.array_equal(read_label_map(path), mask)


def test_lossy_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    mask = (discs(3) > 0).astype(np.uint8) * 255
    path = tmp_path / "a.jpg"
    Image.fromarray(mask).save(path, quality=60)
    found = read_label_map(path)
    assert set(np.unique(found)) == {0, 255}
    assert (found != mask).mean() < 0.01


def test_probabilities_are_no_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.random.default_rng(0).random((8, 8)).astype(np.float32))
    text = message(path, read_label_map)
    assert "values that are no labels" in text
    assert "not probabilities" in text


def test_colours_are_no_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RGB)
    text = message(path, read_label_map)
    assert "the mask has colours" in text
    assert "RGB (" in text
    assert "data.palette" in text


def test_tiff_palette_and_white_is_zero(tmp_path: Path) -> None:
    import tifffile

    colours = np.zeros((3, 256), np.uint16)
    colours[0] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "p.tif", GREY, photometric="palette", colormap=colours)
    assert np.array_equal(read_image(tmp_path / "p.tif")[..., 0], GREY)
    assert np.array_equal(read_label_map(tmp_path / "p.tif"), GREY)
    tifffile.imwrite(tmp_path / "w.tif", GREY, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "w.tif"), 255 - GREY)
    assert np.array_equal(read_label_map(tmp_path / "w.tif"), GREY)


def test_tiff_with_alpha_and_planar_channels(tmp_path: Path) -> None:
    import tifffile

    rgba = np.dstack([RGB, GREY])
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_image(tmp_path / "a.tif"), RGB)
    tifffile.imwrite(
        tmp_path / "p.tif", RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    assert np.array_equal(read_image(tmp_path / "p.tif"), RGB)


def test_tiff_stack_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint16))
    text = message(path)
    assert "the TIFF is a stack" in text
    assert "5" in text
    assert message(path, probe_image) == text


def test_compressed_tiff_without_imagecodecs(tmp_path: Path, monkeypatch) -> None:
    import tifffile

    from samft.data.readers import tiff_pixels
    from samft.errors import DependencyError

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="lzw")
    assert np.array_equal(read_image(path), GREY)
    missing = DependencyError("no imagecodecs", fix='pip install "samft[microscopy]"')

    def refuse(*args: object, **kwargs: object) -> None:
        raise missing

    monkeypatch.setattr(tiff_pixels, "require", refuse)
    with pytest.raises(DependencyError, match=r"samft\[microscopy\]"):
        read_image(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_truncated_at_any_place(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"a.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    if ending == "tif":
        save(path, noise)
    else:
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (read_image, probe_image):
        assert "the file cannot be read" in message(path, read)


def test_other_content_and_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("this is a letter")
    assert "expected: a PNG, JPEG, BMP, GIF, WebP or TIFF image" in message(path)
    assert "does not exist" in message(tmp_path / "b.png")


def test_formats_outside_the_list_stay_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path, format="PPM")
    assert "the file cannot be read" in message(path)


def test_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png_header(60_000, 60_000))
    text = message(path)
    assert "too large to be opened safely" in text
    assert "3600000000 pixels" in text


def test_size_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    for ending in ("png", "tif"):
        path = save(tmp_path / f"a.{ending}", GREY)
        for read in (read_image, probe_image):
            assert "SAMFT_MAX_BYTES" in message(path, read)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_the_limit_counts_labels_as_int32(tmp_path: Path, monkeypatch, ending: str) -> None:
    import tifffile

    path = tmp_path / f"a.{ending}"
    if ending == "tif":
        tifffile.imwrite(path, np.zeros((20, 30), np.uint8), photometric="minisblack")
    else:
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(20 * 30 * 4 - 1))
    assert read_image(path).nbytes == 600
    with pytest.raises(DatasetError, match="more memory than allowed") as caught:
        read_mask(path)
    assert str(path) in str(caught.value)
    assert "SAMFT_MAX_BYTES" in str(caught.value)
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(20 * 30 * 4))
    assert read_mask(path).dtype == np.int32


def test_random_bytes_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals = [save(tmp_path / f"o.{end}", GREY) for end in ("png", "bmp", "gif", "tif")]
    for original in originals:
        data = np.frombuffer(original.read_bytes(), np.uint8)
        for round_number in range(40):
            hit = data.copy()
            hit[rng.integers(0, min(len(hit), 200), 4)] = rng.integers(0, 256, 4)
            path = tmp_path / f"{round_number}{original.suffix}"
            path.write_bytes(hit.tobytes())
            for read in (read_image, read_mask, probe_image):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        read(path)
                    except DatasetError as error:
                        assert len(str(error).splitlines()) <= 4


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"0"))
