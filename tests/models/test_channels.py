"""The adapter for images of more or fewer than three channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models.tiny_sam import TINY, TINY_T, assert_same, tiny_sam

import samft
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.models.channels import ADAPTER, ChannelAdapter, ChannelSettings, channels_in
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam
from samft.models.strict import load_state_dict

RED, GREEN, BLUE = [1.0, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0.2, 0.2, 0.2, 0.4]


def five(**settings: object) -> ChannelSettings:
    return ChannelSettings.from_dict({"count": 5, **settings})


def pictures(channels: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, channels, 128, 128), generator=generator, dtype=torch.uint8)


def test_public_name() -> None:
    assert samft.ChannelSettings is ChannelSettings


def test_what_the_mix_starts_as() -> None:
    assert ChannelSettings(count=1).weights().tolist() == [[1], [1], [1]]
    assert ChannelSettings(count=2).weights().tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert torch.equal(five().weights(), torch.eye(5)[:3])
    assert torch.allclose(five(mix="mean").weights(), torch.tensor(0.2))
    colours = ChannelSettings(count=3, mix="false_colour").weights()
    assert torch.equal(colours, torch.eye(3))  # hues of 0, 120 and 240 degrees
    assert torch.allclose(five(mix="false_colour").weights().sum(dim=1), torch.ones(3))
    assert five(matrix=[RED, GREEN, BLUE]).weights().tolist()[0] == RED


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"count": 0}, "where: channels.count, found: 0, expected: 1 to 1024"),
        ({"mode": "fix"}, "where: channels.mode, found: 'fix'"),
        ({"matrix": [RED, GREEN]}, "found: rows of 5, 5 numbers, expected: 3 rows of 5"),
        ({"matrix": [RED, GREEN, [1.0]]}, "found: rows of 5, 5, 1 numbers"),
        ({"matrix": [RED, GREEN, [float("nan")] * 5]}, "expected: 3 rows of finite numbers"),
        ({"matrix": "red"}, "where: channels.matrix, found: 'red' (str)"),
        ({"number": 5}, "unknown setting 'number'"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        five(**settings)
    assert text in str(caught.value)


def test_it_mixes_and_adds_in_shares_of_white() -> None:
    adapter = ChannelAdapter(five(matrix=[RED, GREEN, BLUE]))
    with torch.no_grad():
        adapter.bias.copy_(torch.tensor([0.0, 0.5, -0.1]))
    images = pictures()
    expected = torch.einsum("cn,bnhw->bchw", torch.tensor([RED, GREEN, BLUE]), images.float())
    expected += torch.tensor([0, 127.5, -25.5])[:, None, None]
    torch.testing.assert_close(adapter(images), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapter(images), adapter(images.float()))


@pytest.mark.parametrize("config", [TINY, TINY_T])
def test_the_start_is_what_sam_makes_of_the_first_three(config: samft.models.SamConfig) -> None:
    sam = tiny_sam(config=config).eval()
    sizes = torch.tensor([[128, 90], [70, 128]])
    with torch.no_grad():
        plain = sam.encode_image(pictures()[:, :3], sizes)
        sam.set_channels(five())
        assert torch.equal(sam.encode_image(pictures(), sizes), plain)


def test_keys_are_official_without_it() -> None:
    stock = set(tiny_sam().state_dict())
    sam = tiny_sam()
    sam.set_channels(five())
    assert set(sam.state_dict()) - stock == {f"{ADAPTER}weight", f"{ADAPTER}bias"}
    sam.set_channels(None)
    assert set(sam.state_dict()) == stock
    assert (sam.num_channels, sam.channels) == (3, None)


def test_fixed_has_nothing_to_train() -> None:
    adapter = ChannelAdapter(five(mode="fixed"))
    assert list(adapter.parameters()) == []
    assert set(adapter.state_dict()) == {"weight", "bias"}


def test_gradients_go_through_a_frozen_encoder() -> None:
    sam = tiny_sam().eval().requires_grad_(requires_grad=False).double()
    sam.set_channels(five())
    sam.double()
    images, adapter = pictures().double(), sam.channel_adapter
    assert adapter is not None

    def loss() -> torch.Tensor:
        return sam.encode_image(images).square().mean()

    loss().backward()
    for parameter, place in ((adapter.weight, (1, 4, 0, 0)), (adapter.bias, (2,))):
        step = 1e-6
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                ends.append(loss())
                parameter[place] -= sign * step
        slope = (ends[0] - ends[1]) / (2 * step)
        assert parameter.grad is not None
        assert abs(slope) > 1e-6
        torch.testing.assert_close(parameter.grad[place], slope, rtol=1e-3, atol=1e-9)


def test_images_of_other_channels_are_refused() -> None:
    sam = tiny_sam()
    with pytest.raises(ConfigError) as caught:
        sam.encode_image(pictures())
    assert "images and model differ in channels" in str(caught.value)
    assert "found: (2, 5, 128, 128), expected: (B, 3, 128, 128)" in str(caught.value)
    assert "set model.channels.count" in str(caught.value)


def test_stock_weights_leave_the_adapter_as_it_is() -> None:
    sam = tiny_sam(1)
    sam.set_channels(five(mix="mean"))
    load_state_dict(sam, tiny_sam(2).state_dict(), source="stock")
    state = sam.state_dict()
    assert torch.allclose(state.pop(f"{ADAPTER}weight"), torch.tensor(0.2))
    del state[f"{ADAPTER}bias"]
    assert_same(state, tiny_sam(2).state_dict())


def test_weights_bring_their_adapter() -> None:
    trained = tiny_sam(1)
    trained.set_channels(five(matrix=[RED, GREEN, BLUE]))
    state = trained.state_dict()
    fresh, fixed = tiny_sam(2), tiny_sam(2)
    fixed.set_channels(five(mode="fixed"))
    for sam in (fresh, fixed):
        load_state_dict(sam, state, source="tuned")
        assert sam.num_channels == 5
        assert_same(sam.state_dict(), state)


def test_weights_of_other_channels_do_not_fit() -> None:
    trained, sam = tiny_sam(1), tiny_sam(2)
    trained.set_channels(five())
    sam.set_channels(ChannelSettings(count=4))
    before = {key: value.clone() for key, value in sam.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_state_dict(sam, trained.state_dict(), source="tuned")
    assert "1 of another shape (channel_adapter.weight" in str(caught.value)
    assert_same(sam.state_dict(), before)


def test_the_hint_names_the_channels_of_a_known_size(tmp_path: Path) -> None:
    sam = build_sam("vit_nano", image_size=64, channels=five())
    save_state_dict(sam, tmp_path / "tuned.safetensors")
    with pytest.raises(CheckpointError, match="5 channels: set model.channels.count to that"):
        build_sam(
            "vit_nano",
            tmp_path / "tuned.safetensors",
            image_size=64,
            channels=ChannelSettings(count=4),
        )


@pytest.mark.parametrize("shape", [(3, 5, 2, 2), (4, 5, 1, 1), (3, 0, 1, 1), (3, 5)])
def test_what_is_no_adapter_is_not_taken_for_one(shape: tuple[int, ...]) -> None:
    state = {f"{ADAPTER}weight": torch.zeros(shape), f"{ADAPTER}bias": torch.zeros(3)}
    assert channels_in(state) is None
    with pytest.raises(CheckpointError, match=r"2 unexpected \(channel_adapter.weight"):
        load_state_dict(tiny_sam(), tiny_sam().state_dict() | state, source="odd")


def test_a_safetensors_holds_it_and_a_stock_file_does_not(tmp_path: Path) -> None:
    sam = build_sam("vit_nano", image_size=64, channels=five(matrix=[RED, GREEN, BLUE])).eval()
    with pytest.raises(OutputError) as caught:
        save_state_dict(sam, tmp_path / "tuned.pth")
    assert "a stock SAM file cannot hold the channel adapter" in str(caught.value)
    assert "found: an adapter of 5 channels, expected: a .safetensors" in str(caught.value)
    save_state_dict(sam, tmp_path / "tuned.safetensors")
    again = build_sam("vit_nano", tmp_path / "tuned.safetensors", image_size=64).eval()
    assert_same(again.state_dict(), sam.state_dict())
    images = pictures()[..., :64, :64]
    with torch.no_grad():
        assert torch.equal(again.encode_image(images), sam.encode_image(images))


def test_stock_weights_built_into_a_model_with_channels(tmp_path: Path) -> None:
    save_state_dict(build_sam("vit_nano", image_size=64), tmp_path / "stock.pth")
    sam = build_sam("vit_nano", tmp_path / "stock.pth", image_size=64, channels=five(mix="mean"))
    assert torch.allclose(sam.state_dict()[f"{ADAPTER}weight"], torch.tensor(0.2))
    assert sam.state_dict()[f"{ADAPTER}bias"].tolist() == [0, 0, 0]
