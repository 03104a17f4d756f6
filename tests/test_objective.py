"""The objective of a step: windows, when clicks begin, and what it refuses."""

import pytest
import torch
from torch import Tensor

from samft import PromptSettings, SamLossSettings, SamModule, WindowSettings, build_sam
from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.errors import ConfigError
from samft.objective import InteractiveObjective
from samft.types import MaskOutput, PromptBatch, SamBatch, Sample


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


def test_some_steps_cut_twice_as_finely() -> None:
    settings = WindowSettings(parts=2, share=0.5, finer_share=0.25)
    assert [settings.drawn(draw) for draw in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)] == [
        2,
        2,
        4,
        4,
        1,
        1,
    ]
    assert WindowSettings(finer_share=0.25).drawn(0.0) == 1
    with pytest.raises(ConfigError, match="found: 32, expected: a divisor of 16"):
        objective(windows=WindowSettings(parts=16, share=0.5, finer_share=0.5))
    subject = objective(windows=WindowSettings(parts=2, share=0.0, finer_share=1.0))
    assert call(subject)[0].images.shape == (16, 3, 32, 32)


def test_clicks_do_not_fall_into_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def rounds(*_: object, ignored: Tensor, **__: object) -> list[object]:
        seen.append(ignored)
        return []

    monkeypatch.setattr("samft.objective.interactive_rounds", rounds)
    sample = dots(2)
    wide = sample.replace(image=sample.image[:, :32], layers=sample.layers[:, :32])
    subject = objective()
    task = subject._task(
        collate([sample, wide], image_size=128),
        (0, 0),
        generator=torch.Generator().manual_seed(0),
        progress=0.0,
    )
    task.work_out(torch.zeros(2, 128, 16, 16), lambda _: None)
    assert not seen[0][:2].any()
    assert seen[0][2:, 64:].all()
    assert not seen[0][2:, :64].any()
    assert task.valid is None  # the loss still wants nothing there


@pytest.mark.parametrize("values", [{"parts": 0}, {"share": 1.5}, {"finer_share": 0.5}])
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"where: windows\."):
        WindowSettings.from_dict(values)


@pytest.mark.parametrize("counts", [(0, 1, 3, 40), (0,), (1,)])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_pieces_of_any_size_give_the_same_gradients(counts: tuple[int, ...], size: int) -> None:
    batch = collate([dots(count) for count in counts], image_size=64)
    assert batch.num_objects == sum(counts)
    found = {}
    for pieces in (1000, size):
        torch.manual_seed(0)
        sam = build_sam("vit_nano", image_size=64)
        subject = InteractiveObjective(
            sam,
            prompts=PromptSettings(rounds=2, extra_passes=1),
            loss=SamLossSettings(balanced_bce=1.0),
            loss_stride=2,
            max_prompts_per_step=pieces,
        )
        terms = subject(
            batch,
            encode=lambda b, sam=sam: sam.encode_image(b.images, b.input_sizes),
            generator=torch.Generator().manual_seed(5),
        )
        terms.total.backward()
        found[pieces] = terms, {name: p.grad for name, p in sam.named_parameters()}
    (whole, expected), (parts, ours) = found[1000], found[size]
    for name in ("total", "focal", "dice", "iou", "balanced_bce"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    assert torch.equal(parts.best, whole.best)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in ours.items():
        torch.testing.assert_close(grad, expected[name], rtol=2e-3, atol=1e-5 * max(largest, 1e-6))


def test_all_images_at_once_equal_one_after_the_other() -> None:
    counts = (1, 3, 12)
    samples = [dots(count) for count in counts]
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64).eval()  # batch norm would mix the images
    subject = InteractiveObjective(
        sam,
        prompts=PromptSettings(
            rounds=1, extra_passes=0, click="center", point_probability=0.0, box_noise=0.0
        ),
        loss=SamLossSettings(),
        loss_stride=2,
    )

    def gradients(*chosen: Sample, weight: float = 1.0) -> list[Tensor]:
        sam.zero_grad()
        terms = subject(
            collate(list(chosen), image_size=64),
            encode=lambda b: sam.encode_image(b.images, b.input_sizes),
            generator=torch.Generator().manual_seed(0),
        )
        (terms.total * weight).backward()
        return [p.grad.clone() for p in sam.parameters()]

    together = gradients(*samples)
    single = [
        gradients(sample, weight=count / sum(counts))
        for sample, count in zip(samples, counts, strict=True)
    ]
    for whole, *parts in zip(together, *single, strict=True):
        torch.testing.assert_close(whole, sum(parts), rtol=2e-3, atol=2e-6)


def test_background_clicks_want_nothing() -> None:
    """Also in an image without any object, the answer to a click there is pushed towards empty."""
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    subject = InteractiveObjective(
        sam,
        prompts=PromptSettings(rounds=0, extra_passes=0, background_clicks=2),
        loss=SamLossSettings(),
        loss_stride=2,
    )
    terms = subject(
        collate([dots(0), dots(3)], image_size=64),
        encode=lambda batch: sam.encode_image(batch.images, batch.input_sizes),
        generator=torch.Generator().manual_seed(0),
    )
    assert len(terms.best) == 3 + 2 * 2
    terms.total.backward()
    assert all(p.grad.isfinite().all() for p in sam.parameters())
    assert sam.mask_decoder.iou_prediction_head.layers[-1].bias.grad.any()


def test_only_ambiguous_prompts_get_three_masks() -> None:
    def tokens_trained(**changes: object) -> list[bool]:
        torch.manual_seed(0)
        sam = build_sam("vit_nano", image_size=64)
        settings = {"rounds": 0, "extra_passes": 0, "multimask": "ambiguous"}
        prompts = PromptSettings(**{**settings, **changes})
        subject = InteractiveObjective(sam, prompts=prompts, loss=SamLossSettings(), loss_stride=2)
        subject(
            collate([dots(12)], image_size=64),
            encode=lambda batch: sam.encode_image(batch.images, batch.input_sizes),
            generator=torch.Generator().manual_seed(0),
        ).total.backward()
        heads = sam.mask_decoder.output_hypernetworks_mlps
        return [bool(head.layers[0].weight.grad.any()) for head in heads]

    assert tokens_trained(point_probability=0.0) == [True, False, False, False]
    assert tokens_trained(point_probability=1.0)[0] is False
    # All, but nothing else would train the mask with which boxes are answered.
    assert tokens_trained(point_probability=0.0, multimask="all") == [True, False, False, False]
    clicked = {"point_probability": 0.0, "multimask": "all", "rounds": 1}
    single, *three = tokens_trained(**clicked)
    assert single
    assert any(three)


def dots(count: int, size: int = 64) -> Sample:
    """An image with `count` squares of 4 x 4 pixels on a grid of 8 x 8 places."""
    layers = torch.zeros(1, size, size, dtype=torch.int32)
    for index in range(count):
        top, left = 8 * (index // 8), 8 * (index % 8)
        layers[0, top + 2 : top + 6, left + 1 : left + 5] = index + 1
    zeros = torch.zeros(count, dtype=torch.int64)
    image = (40 + 150 * (layers > 0)).expand(3, -1, -1).to(torch.uint8)
    return Sample(
        image=image.contiguous(),
        layers=layers,
        object_layer=zeros,
        object_class=zeros,
        sample_id=f"dots{count}",
        case_id="dots",
    )


def test_out_of_memory_is_answered_with_fewer_objects_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gradients(limit: int) -> list[Tensor]:
        subject = objective(
            prompts=PromptSettings(rounds=1, extra_passes=0), max_prompts_per_step=12
        )
        decode = subject.sam.decode

        def small_machine(
            embeddings: Tensor, prompts: PromptBatch, **settings: object
        ) -> MaskOutput:
            if prompts.num_prompts > limit:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return decode(embeddings, prompts, **settings)

        monkeypatch.setattr(subject.sam, "decode", small_machine)
        torch.manual_seed(0)
        batch = collate([dots(12, size=128)], image_size=128)
        subject(
            batch,
            encode=lambda images: subject.sam.encode_image(images.images, images.input_sizes),
            generator=torch.Generator().manual_seed(0),
        ).total.backward()
        return [parameter.grad for parameter in subject.sam.parameters()]

    enough = gradients(12)
    assert caplog.text == ""
    for one, other in zip(enough, gradients(4), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-6)
    assert "going on with 3 objects decoded at once" in caplog.text
    with pytest.raises(torch.OutOfMemoryError):
        gradients(0)
