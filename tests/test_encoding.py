"""Running out of memory in the image encoder: the same result, in smaller pieces."""

import logging

import pytest
import torch
from planning.plan_cases import batch_of, module

from samft import build_sam
from samft.encoding import PiecewiseEncoder
from samft.errors import MachineError


def limited(subject, monkeypatch, *, most: int) -> list[int]:
    """Let the encoder run out of memory with more than `most` images; return what it was given."""
    encode, seen = subject.sam.image_encoder.forward, []

    def forward(images, **keywords):
        seen.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("as on a GPU")
        return encode(images, **keywords)

    monkeypatch.setattr(subject.sam.image_encoder, "forward", forward)
    return seen


def gradients(subject) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad
        for name, parameter in subject.sam.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("adapt", ["full", "frozen"])
@pytest.mark.parametrize("most", [2, 1])
def test_pieces_have_the_gradients_of_the_whole(adapt, most, monkeypatch, caplog) -> None:
    batch, whole, pieces = batch_of(5), module(adapt=adapt), module(adapt=adapt)
    expected = whole.training_loss(batch, step=3).total
    expected.backward()
    seen = limited(pieces, monkeypatch, most=most)
    with caplog.at_level(logging.WARNING, "samft"):
        loss = pieces.training_loss(batch, step=3).total
    assert seen[:2] == [5, 2]
    loss.backward()
    assert torch.allclose(loss, expected, rtol=1e-5)
    found, wanted = gradients(pieces), gradients(whole)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name
    again = [count for count in seen if count <= most]
    assert len(again) == (2 if adapt == "full" else 1) * -(-5 // most)
    said = caplog.messages[-1]
    assert f"out of memory: going on with {most} of 5 images encoded at once" in said
    assert "with the same result but slower; model.checkpoint_blocks true" in said
    assert pieces.objective.counts == whole.objective.counts
    assert pieces.encoder.images_at_once == most


def test_what_was_found_is_kept_for_the_next_step(monkeypatch) -> None:
    subject, batch = module(adapt="full"), batch_of(4)
    seen = limited(subject, monkeypatch, most=2)
    subject.training_loss(batch, step=0)
    seen.clear()
    subject.training_loss(batch, step=1)
    assert seen == [2, 2]


def test_nothing_left_to_halve(monkeypatch) -> None:
    subject, batch = module(adapt="full"), batch_of(2)
    seen = limited(subject, monkeypatch, most=0)
    monkeypatch.setattr("samft.planning.advice.advice", lambda *_: "set model.adapt frozen")
    with pytest.raises(MachineError, match="fix: set model.adapt frozen"):
        subject.training_loss(batch, step=0)
    assert seen == [2, 1]


def test_the_decoder_can_leave_no_room_either(monkeypatch) -> None:
    subject, batch = module(adapt="full", max_prompts_per_step=1), batch_of(2)
    decode, failures = subject.sam.decode, [torch.OutOfMemoryError("once")]

    def once(*arguments, **keywords):
        if failures:
            raise failures.pop()
        return decode(*arguments, **keywords)

    monkeypatch.setattr(subject.sam, "decode", once)
    assert subject.training_loss(batch, step=0).total.isfinite()
    assert subject.encoder.images_at_once == 1


def test_batch_norms_that_learn_see_the_whole_batch() -> None:
    sam = build_sam("vit_t", image_size=64).train()
    encoder = PiecewiseEncoder(sam)

    def fail() -> None:
        raise torch.OutOfMemoryError("always")

    with pytest.raises(torch.OutOfMemoryError):
        encoder.retrying(fail, torch.zeros(4, 3, 64, 64))
    assert encoder.images_at_once is None
