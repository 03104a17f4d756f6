from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from samft.prompts.combining import NoPrompt
from samft.prompts.presets import preset
from samft.prompts.rounds import click_passes, interactive_rounds
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import CenterPoint, TightBox, build_simulator
from samft.types import ABSENT, NEGATIVE, POSITIVE, MaskOutput

SIDE = 32
PAPER = PromptSettings()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def objects(count=4):
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for index in range(count):
        masks[index, 4 + index : 20 + index, 6 : 22 - index] = True
    return masks, torch.arange(count) // 2


class NoiseDecoder:
    """Answers with noise, a new set of parameters in each pass, and remembers what it was asked."""

    def __init__(self, count, dtype=torch.float32):
        self.count, self.dtype = count, dtype
        self.asked, self.answers, self.parameters = [], [], []
        self.random = seeded(11)

    def __call__(self, prompts, multimask):
        masks = 3 if multimask else 1
        shape = (self.count, masks, SIDE // 4, SIDE // 4)
        weight = torch.randn(shape, generator=self.random).requires_grad_()
        score = torch.rand(shape[:2], generator=self.random).requires_grad_()
        logits = weight if prompts.mask_logits is None else weight + 0.1 * prompts.mask_logits
        output = MaskOutput(logits=logits.to(self.dtype), iou=score.to(self.dtype))
        self.asked.append(prompts)
        self.answers.append(output)
        self.parameters.append((weight, score))
        return output


def play(settings=PAPER, *, count=4, seed=0, simulator=None, decoder=None, **options):
    masks, images = objects(count)
    decoder = decoder or NoiseDecoder(count)
    rounds = interactive_rounds(
        decoder,
        masks,
        images,
        settings,
        simulator=simulator or build_simulator(settings),
        generator=seeded(seed),
        **options,
    )
    return rounds, decoder


def new_points(rounds):
    """The number of points added in each pass after the first."""
    counts = [item.prompts.labels.shape[1] for item in rounds]
    return [after - before for before, after in pairwise(counts)]


def test_the_papers_eleven_passes():
    rounds = list(play()[0])
    assert [item.index for item in rounds] == list(range(11))
    assert [item.multimask for item in rounds] == [True] + [False] * 10
    assert [item.output.logits.shape[1] for item in rounds] == [3] + [1] * 10
    added = new_points(rounds)
    assert sum(added) == 8
    assert added[-1] == 0  # the last pass has no new click
    assert added[:-1].count(0) == 1  # and one among the clicks


def test_the_pass_without_a_click_is_at_every_place_among_the_clicks():
    places = set()
    for seed in range(100):
        passes = click_passes(PAPER, generator=seeded(seed))
        assert len(passes) == 10
        assert passes[-1] is False
        assert passes[-2] is True  # the two passes without a click never follow each other
        places.add(passes.index(False))
    assert places == set(range(8))


@pytest.mark.parametrize(
    ("clicks", "extra", "expected"),
    [(0, 0, []), (0, 2, [False, False]), (3, 0, [True] * 3), (2, 1, [True, True, False])],
)
def test_other_schedules(clicks, extra, expected):
    settings = PromptSettings(rounds=clicks, extra_passes=extra)
    assert click_passes(settings, generator=seeded()) == expected


def test_earlier_prompts_stay():
    rounds = list(play()[0])
    first = rounds[0].prompts
    for before, after in pairwise(rounds):
        known = before.prompts.labels.shape[1]
        assert torch.equal(after.prompts.points[:, :known], before.prompts.points)
        assert torch.equal(after.prompts.labels[:, :known], before.prompts.labels)
        assert torch.equal(after.prompts.boxes, first.boxes)
        assert torch.equal(after.prompts.has_box, first.has_box)
        assert torch.equal(after.prompts.image_index, first.image_index)


def test_the_logits_of_the_best_scored_mask_are_fed_back():
    rounds = list(play()[0])
    assert rounds[0].prompts.mask_logits is None
    for before, after in pairwise(rounds):
        best = before.output.iou.argmax(dim=1)
        expected = before.output.logits[torch.arange(4), best]
        assert torch.equal(after.prompts.mask_logits[:, 0], expected)
        assert after.prompts.has_mask is None
    assert len(set(rounds[0].output.iou.argmax(dim=1).tolist())) > 1  # a real choice


@pytest.mark.parametrize("mode", ["uniform", "center"])
def test_clicks_fall_on_errors_of_the_best_mask_outside_the_ignored_region(mode):
    masks, _ = objects()
    ignored = torch.zeros_like(masks)
    ignored[:, :, 10:16] = True
    settings = PromptSettings(click=mode)
    rounds = list(play(settings, ignored=ignored)[0])
    clicks = 0
    for before, after in pairwise(rounds):
        if after.prompts.labels.shape[1] == before.prompts.labels.shape[1]:
            continue
        logits = before.output.best().logits.detach()
        full = F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        error = ((full[:, 0] > 0) ^ masks) & ~ignored
        x, y = after.prompts.points[:, -1].long().unbind(1)
        everyone = torch.arange(4)
        assert error[everyone, y, x].all()
        right = torch.where(masks[everyone, y, x], POSITIVE, NEGATIVE)
        assert torch.equal(after.prompts.labels[:, -1], right)
        clicks += 1
    assert clicks == 8


def test_passes_run_when_asked_for():
    rounds, decoder = play()
    assert len(decoder.asked) == 0
    next(rounds)
    assert len(decoder.asked) == 1
    next(rounds)
    assert len(decoder.asked) == 2


def test_no_gradient_from_one_pass_to_an_earlier_one():
    rounds, decoder = play(PromptSettings(rounds=3))
    for item in rounds:
        assert item.prompts.mask_logits is None or not item.prompts.mask_logits.requires_grad
        (item.output.logits.square().sum() + item.output.iou.sum()).backward()
        for index, (weight, score) in enumerate(decoder.parameters):
            expected = index == item.index
            assert (weight.grad is not None) == expected
            assert (score.grad is not None) == expected
            weight.grad = score.grad = None


def test_backward_in_each_pass_gives_the_same_gradient_as_one_backward():
    masks, images = objects()

    def gradient(*, each):
        embedding = torch.linspace(-1, 1, 64).reshape(8, 8).requires_grad_()

        def decode(prompts, multimask):
            scale = torch.arange(1, 4 if multimask else 2)[None, :, None, None]
            fed_back = 0 if prompts.mask_logits is None else prompts.mask_logits
            logits = (scale * embedding.tanh()).expand(4, -1, 8, 8) + 0.1 * fed_back
            return MaskOutput(logits=logits, iou=logits.mean(dim=(2, 3)))

        losses = []
        for item in interactive_rounds(
            decode, masks, images, PAPER, simulator=TightBox(), generator=seeded()
        ):
            loss = item.output.logits.square().mean() + item.output.iou.sum()
            if each:
                loss.backward()
            else:
                losses.append(loss)
        if not each:
            torch.stack(losses).sum().backward()
        return embedding.grad

    assert torch.allclose(gradient(each=True), gradient(each=False), rtol=1e-5)


def test_gradients_stay_enabled_for_the_decoder_and_the_caller():
    for item in play(PromptSettings(rounds=2))[0]:
        assert torch.is_grad_enabled()
        assert item.output.logits.requires_grad


def test_without_feedback():
    rounds = list(play(PromptSettings(feed_back_logits=False))[0])
    assert all(item.prompts.mask_logits is None for item in rounds)
    assert sum(new_points(rounds)) == 8


def test_single_mask_first():
    rounds = list(play(PromptSettings(rounds=1, extra_passes=0), multimask_first=False)[0])
    assert [item.multimask for item in rounds] == [False, False]


def test_only_the_first_pass():
    rounds = list(play(PromptSettings(rounds=0, extra_passes=0))[0])
    assert len(rounds) == 1


def test_a_perfect_answer_is_not_clicked():
    masks, images = objects()
    cells = torch.zeros(4, 8, 8, dtype=torch.bool)
    cells[:, :, 2:6] = True
    logits = torch.where(cells, 9.0, -9.0)[:, None]
    full = F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    masks = full[:, 0] > 0

    def decode(prompts, multimask):
        return MaskOutput(logits=logits, iou=torch.ones(4, 1))

    rounds = list(
        interactive_rounds(decode, masks, images, PAPER, simulator=TightBox(), generator=seeded())
    )
    assert (rounds[-1].prompts.labels == ABSENT).all()
    assert rounds[-1].prompts.labels.shape == (4, 8)


def test_no_objects():
    rounds = list(play(count=0)[0])
    assert len(rounds) == 11
    assert rounds[-1].prompts.labels.shape == (0, 9)
    assert rounds[-1].prompts.mask_logits.shape == (0, 1, 8, 8)


def test_the_seed_decides():
    def points(seed):
        return list(play(seed=seed)[0])[-1].prompts.points

    assert torch.equal(points(1), points(1))
    assert not torch.equal(points(1), points(2))


def test_center_clicks_from_a_fixed_start_do_not_depend_on_the_seed():
    settings = PromptSettings(click="center", extra_passes=0)

    def points(seed):
        return list(play(settings, seed=seed, simulator=CenterPoint())[0])[-1].prompts.points

    assert torch.equal(points(1), points(2))


def test_half_precision_answers_are_fed_back_in_float32():
    decoder = NoiseDecoder(4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounds = list(play(decoder=decoder)[0])
    assert rounds[1].output.logits.dtype == torch.bfloat16
    assert rounds[-1].prompts.mask_logits.dtype == torch.float32


def test_chunks_of_objects_do_not_matter():
    # More objects than are upsampled at once; each must be compared with its own target.
    masks, images = objects(1)
    count = 19
    masks = masks.repeat(count, 1, 1)
    decoder = NoiseDecoder(count)
    rounds = interactive_rounds(
        decoder,
        masks,
        images.repeat(count),
        PromptSettings(rounds=1, extra_passes=0, click="center"),
        simulator=TightBox(),
        generator=seeded(),
    )
    _, second = list(rounds)
    logits = decoder.answers[0].best().logits.detach()
    full = F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    error = (full[:, 0] > 0) ^ masks
    x, y = second.prompts.points[:, 0].long().unbind(1)
    assert error[torch.arange(count), y, x].all()


def test_the_default_places_the_same_clicks_as_ever():
    # Written down before there were other variants: whoever repeats an old run gets it.
    last = list(play(PromptSettings(rounds=3, extra_passes=2), seed=3)[0])[-1].prompts
    assert last.points.tolist() == [
        [[14, 16], [18, 20], [0, 8], [21, 17]],
        [[18, 12], [26, 13], [17, 4], [22, 25]],
        [[7, 21], [30, 13], [9, 12], [25, 2]],
        [[13, 11], [22, 30], [18, 3], [12, 18]],
    ]
    assert last.labels.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


def test_sam2s_eight_passes():
    rounds = list(play(preset("sam2"))[0])
    assert len(rounds) == 8
    assert new_points(rounds) == [1] * 7


def test_a_share_of_the_clicks_comes_from_the_truth():
    count, masks = 300, objects(1)[0].expand(300, SIDE, SIDE)
    everywhere = torch.full((count, 1, 8, 8), 9.0)  # no part of any object is missed

    def decode(prompts, multimask):
        return MaskOutput(logits=everywhere, iou=torch.ones(count, 1))

    def positives(share):
        settings = PromptSettings(rounds=5, extra_passes=0, click_from_truth=share)
        images = torch.zeros(count, dtype=torch.int64)
        *_, last = interactive_rounds(
            decode, masks, images, settings, simulator=NoPrompt(), generator=seeded()
        )
        points, labels = last.prompts.points.long(), last.prompts.labels
        x, y = points.unbind(dim=2)
        on = masks[torch.arange(count)[:, None], y, x]
        assert torch.equal(on, labels == POSITIVE)
        return on.float().mean().item()

    assert positives(0.0) == 0
    assert positives(0.1) == pytest.approx(0.1, abs=0.025)
    assert positives(1.0) == 1


def test_a_share_of_the_objects_gets_its_logits_back():
    settings = PromptSettings(rounds=6, extra_passes=0, feed_back_probability=0.5)
    rounds = list(play(settings, count=40)[0])
    assert all(item.prompts.mask_logits.shape == (40, 1, 8, 8) for item in rounds[1:])
    chosen = torch.stack([item.prompts.has_mask for item in rounds[1:]])
    assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (chosen[0] != chosen[1]).any()  # drawn anew in each pass


def test_pairs_of_clicks_and_their_number_of_slots():
    rounds = list(play(preset("micro_sam"))[0])
    assert len(rounds) == 8
    assert new_points(rounds) == [2] * 7


def test_a_first_pass_without_a_prompt():
    rounds = list(play(PromptSettings(rounds=2, extra_passes=0), simulator=NoPrompt())[0])
    assert rounds[0].prompts.points is rounds[0].prompts.boxes is None
    assert [item.prompts.labels.shape for item in rounds[1:]] == [(4, 1), (4, 2)]


def test_simulators_are_told_where_no_click_may_fall():
    class Asks:
        def __call__(self, masks, image_index, *, generator, ignored=None):
            self.ignored = ignored
            return NoPrompt()(masks, image_index, generator=generator)

    simulator, ignored = Asks(), objects()[0]
    next(play(simulator=simulator, ignored=ignored)[0])
    assert simulator.ignored is ignored
