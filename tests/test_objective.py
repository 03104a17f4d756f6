"""The objective of a step: windows, when clicks begin, and what it refuses."""

import pytest
import torch
from torch import Tensor

from samft import PromptSettings, SamLossSettings, SamModule, WindowSettings, build_sam
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.errors import ConfigError
from samft.objective import InteractiveObjective
from samft.types import SamBatch


def objective(**changes: object) -> InteractiveObjective:
    settings = {
        "prompts": PromptSettings(rounds=0, extra_passes=0, max_objects_per_image=4),
        "loss": SamLossSettings(),
        "loss_stride": 2,
    }
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=128)
    return InteractiveObjective(sam, **{**settings, **changes})


def call(subject: InteractiveObjective, *, seed: int = 0, progress: float = 0.0) -> list[SamBatch]:
    seen: list[SamBatch] = []

    def encode(batch: SamBatch) -> Tensor:
        seen.append(batch)
        return subject.sam.encode_image(batch.images, batch.input_sizes)

    batch = collate([generate(seed, size=128, look="shapes")], image_size=128)
    generator = torch.Generator().manual_seed(seed)
    subject(batch, encode=encode, generator=generator, progress=progress).total.backward()
    return seen


def test_windows_are_encoded_in_their_share_of_the_steps() -> None:
    subject = objective(windows=WindowSettings(parts=2, share=0.5))
    sides = [call(subject, seed=seed)[0].images.shape[-1] for seed in range(20)]
    assert set(sides) == {64, 128}
    assert 4 <= sides.count(64) <= 16


def test_windows_lie_all_over_the_input_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = objective(windows=WindowSettings(parts=2, share=1.0))
    origins = []
    decode = subject.sam.decode

    def spy(*args: object, origin: tuple[int, int], **kwargs: object) -> object:
        origins.append(origin)
        return decode(*args, origin=origin, **kwargs)

    monkeypatch.setattr(subject.sam, "decode", spy)
    for seed in range(25):
        call(subject, seed=seed)
    places = torch.tensor(origins)
    assert places.min() >= 0 and places.max() <= 64
    assert (places.float().std(dim=0) > 8).all()


def test_clicks_begin_when_they_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = PromptSettings(rounds=2, extra_passes=1, rounds_from=0.5, max_objects_per_image=2)
    subject = objective(prompts=prompts)
    passes = []
    decode = subject.sam.decode
    monkeypatch.setattr(subject.sam, "decode", lambda *a, **k: passes.append(1) or decode(*a, **k))
    call(subject, progress=0.4)
    assert len(passes) == 1
    call(subject, progress=0.5)
    assert len(passes) == 1 + 4


def test_a_plain_encoder_takes_no_windows() -> None:
    with torch.device("meta"):
        sam = SamModule("vit_b").sam
    with pytest.raises(ConfigError, match=r"where: model\.windows\.parts, found: 2, expected: 1"):
        InteractiveObjective(
            sam,
            prompts=PromptSettings(),
            loss=SamLossSettings(),
            windows=WindowSettings(parts=2),
        )


def test_windows_must_divide_the_embedding() -> None:
    with pytest.raises(ConfigError, match="found: 3, expected: a divisor of 16"):
        objective(windows=WindowSettings(parts=3))


@pytest.mark.parametrize("values", [{"parts": 0}, {"share": 1.5}])
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"where: windows\."):
        WindowSettings.from_dict(values)
