"""Label Studio's painted masks: what its own program and ours write, decoded within bounds."""

import base64
import importlib.util
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import samft
from samft.data.readers.brush_masks import decode_brush, decode_data_url

_FILE = Path(samft.__file__).parent / "export/templates/labelstudio/brush.py"
_SPEC = importlib.util.spec_from_file_location("brush_encoder", _FILE)
_ENCODER = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_ENCODER)

some_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


def bits(*parts: tuple[int, int]) -> bytes:
    """Return (value, width) pairs one behind the other."""
    text = "".join(format(value, f"0{width}b") for value, width in parts)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def header(total: int, *, width=8, lengths=(3, 4, 8, 16)) -> list[tuple[int, int]]:
    return [(total, 32), (width - 1, 5), *((size - 1, 4) for size in lengths)]


@settings(max_examples=25, deadline=None)
@given(some_mask)
def test_what_our_own_encoder_writes(mask) -> None:
    assert np.array_equal(decode_brush(bytes(_ENCODER.mask_to_rle(mask)), mask.shape), mask)


def test_long_runs() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:] = True  # 320,000 bytes of one value: more than the widest length
    assert np.array_equal(decode_brush(bytes(_ENCODER.mask_to_rle(mask)), mask.shape), mask)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, (3, 5, 4)), st.integers(0, 7))
def test_values_one_by_one(picture, run) -> None:
    # As the browser packs it: colours and soft edges, values one by one, then a run.
    flat = picture.reshape(-1).tolist()
    flat[-run - 1 :] = [flat[-run - 1]] * (run + 1)
    head = len(flat) - run - 1
    parts = [*header(len(flat)), (0, 1), (2, 2), (head - 1, 8)]
    parts += [(value, 8) for value in flat[:head]]
    parts += [(1, 1), (0, 2), (run, 3), (flat[-1], 8)]
    expected = np.array(flat, np.uint8).reshape(3, 5, 4)[..., 3] > 0
    assert np.array_equal(decode_brush(bits(*parts), (3, 5)), expected)


def test_masks_of_ones_count() -> None:
    # The converter's own `mask2rle` writes 1, not 255.
    parts = [*header(8), (1, 1), (0, 2), (3, 3), (1, 8), (1, 1), (0, 2), (3, 3), (0, 8)]
    assert decode_brush(bits(*parts), (1, 2)).tolist() == [[True, False]]


def test_other_widths() -> None:
    parts = [*header(8, width=3, lengths=(1, 2, 3, 5)), (1, 1), (3, 2), (7, 5), (5, 3)]
    assert decode_brush(bits(*parts), (1, 2)).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "cut off"),
        (b"\0\0\0", "cut off"),
        (bits(*header(8)), "cut off"),
        (bits(*header(8), (0, 1), (3, 2), (7, 16), (1, 8)), "cut off"),
        (bits(*header(2**32 - 1), (1, 1), (3, 2), (2**16 - 1, 16), (1, 8)), "4294967295 bytes"),
        (bits(*header(12)), "a mask of 12 bytes, 8 in the image"),
        (bits(*header(8), (1, 1), (2, 2), (255, 8), (1, 8)), "do not end with the image"),
        (bits(*header(0)), "a mask of 0 bytes"),
    ],
)
def test_damaged(data, found) -> None:
    with pytest.raises(ValueError, match=found):
        decode_brush(data, (1, 2))


def url_of(picture: Image.Image) -> str:
    content = BytesIO()
    picture.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize("mode", ["alpha", "grey", "colour"])
def test_bitmasks(mode) -> None:
    mask = np.zeros((6, 9), bool)
    mask[2:4, 3:8] = True
    values = (mask * 255).astype(np.uint8)
    if mode == "alpha":  # the browser writes black on transparent
        picture = Image.fromarray(np.dstack([np.zeros((6, 9, 3), np.uint8), values]))
    elif mode == "grey":
        picture = Image.fromarray(values)
    else:
        picture = Image.fromarray(np.dstack([values] * 3))
    assert np.array_equal(decode_data_url(url_of(picture), (6, 9)), mask)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a/b.png", "no PNG"),
        ("data:image/png;base64,!!!!", "cannot be read"),
        ("data:image/png;base64,AAAA", "cannot be read"),
        ("data:image/jpeg;base64,AAAA", "no PNG"),
        (url_of(Image.new("L", (3, 3))), "a bitmask of 3 x 3"),
        (url_of(Image.new("L", (9, 6)))[:-40], "cannot be read"),
    ],
)
def test_damaged_bitmasks(url, found) -> None:
    with pytest.raises(ValueError, match=found):
        decode_data_url(url, (6, 9))
