"""The U-Net itself."""

import pytest
import torch

import samft._deps
from samft.errors import ConfigError, DependencyError
from samft.evaluation.unet.network import UNet, UNetShape, standardise


def _shape(**changes) -> UNetShape:
    given = {"num_channels": 3, "class_names": ("a", "b"), "image_size": 64, "filters": 4}
    return UNetShape(**(given | changes))


def test_one_logit_per_class_and_one_for_borders_at_any_size() -> None:
    net = UNet(_shape()).eval()
    for height, width in ((64, 64), (37, 64), (64, 1)):
        images = torch.rand(1, 3, height, width) * 255
        assert net(images, torch.tensor([[height, width]])).shape == (1, 3, height, width)


@pytest.mark.parametrize(("side", "halvings"), [(32, 2), (64, 3), (256, 5), (1000, 6), (1024, 6)])
def test_depth_follows_the_image_size(side, halvings) -> None:
    assert _shape(image_size=side).halvings == halvings


def test_other_channels_than_in_training_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        UNet(_shape())(torch.zeros(1, 5, 64, 64), torch.tensor([[64, 64]]))
    assert caught.value.where == "data.channels"
    assert (caught.value.found, caught.value.expected) == (5, 3)


def test_standardised_pixels_do_not_know_brightness_or_padding() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 2, 20, 30) * 100
    padded = torch.zeros(2, 2, 32, 32)
    padded[0, :, :20, :30], padded[1, :, :20, :30] = image[0], image[0] * 2 + 20
    given = standardise(padded, torch.tensor([[20, 30], [20, 30]]))
    inside = given[:, :, :20, :30]
    assert torch.allclose(inside.mean(dim=(2, 3)), torch.zeros(2, 2), atol=1e-5)
    assert torch.allclose(inside.std(dim=(2, 3), correction=0), torch.ones(2, 2), atol=1e-4)
    assert torch.allclose(given[0], given[1], atol=1e-4)
    assert not given[:, :, 20:].any()
    assert not given[:, :, :, 30:].any()


def test_an_empty_picture_stays_empty() -> None:
    flat = torch.full((1, 1, 8, 8), 77, dtype=torch.uint8)
    flat[0, 0, 0, 0] = 78
    assert standardise(flat, torch.tensor([[8, 8]])).abs().max() < 1


@pytest.mark.parametrize(
    ("changes", "where", "expected"),
    [
        ({"filters": 3}, "unet.filters", "a whole number from 4 to 128"),
        ({"filters": 10**9}, "unet.filters", "a whole number from 4 to 128"),
        ({"image_size": 16}, "unet.image_size", "a whole number from 32 to 8192"),
        ({"num_channels": 1.5}, "unet.num_channels", "a whole number from 1 to 1024"),
        ({"class_names": ()}, "unet.class_names", "1 to 4096 names"),
    ],
)
def test_shapes_out_of_range_are_refused(changes, where, expected) -> None:
    with pytest.raises(ConfigError) as caught:
        _shape(**changes)
    assert (caught.value.where, caught.value.expected) == (where, expected)


def test_shape_as_plain_data_and_back() -> None:
    shape = _shape()
    assert UNetShape.from_dict(shape.to_dict()) == shape
    assert shape.to_dict()["class_names"] == ["a", "b"]


def test_without_monai_the_extra_is_named(monkeypatch) -> None:
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(samft._deps, "import_module", missing)
    with pytest.raises(DependencyError, match=r"monai.*train a U-Net(.|\n)*samft\[baseline\]"):
        UNet(_shape())
