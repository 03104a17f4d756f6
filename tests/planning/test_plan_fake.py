"""Running a model without values."""

import torch
from planning.plan_cases import module

from samft.models.pieces import by_rows
from samft.planning.fake import Rehearsal


def test_a_copy_has_shapes_but_no_values() -> None:
    sam = module(adapt="late").sam
    twin = Rehearsal("cpu").copy(sam)
    pairs = zip(sam.named_parameters(), twin.named_parameters(), strict=True)
    for (name, own), (other_name, other) in pairs:
        assert (name, own.shape, own.dtype) == (other_name, other.shape, other.dtype)
        assert own.requires_grad == other.requires_grad
        assert other.untyped_storage().device.type == "meta"
    modes = [
        (own.training, other.training)
        for own, other in zip(sam.modules(), twin.modules(), strict=True)
    ]
    assert all(own == other for own, other in modes)


def test_weights_without_a_place_are_rehearsed_on_the_cpu() -> None:
    with torch.device("meta"):
        layer = torch.nn.Linear(3, 5)
    stage = Rehearsal("cpu")
    twin = stage.copy(layer)
    with stage.running():
        assert twin(torch.zeros(2, 3)).device.type == "cpu"


def test_a_gpu_goes_its_own_ways_and_only_in_the_rehearsal() -> None:
    pieces = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        pieces.append(x.shape)
        return x * 2

    for device_type, count in (("cpu", 8), ("cuda", 1)):
        pieces.clear()
        with Rehearsal(device_type).running():
            by_rows(branch, torch.zeros(2, 64, 32, 4))
        assert len(pieces) == count, device_type
    assert torch.zeros(1).is_cpu
    with Rehearsal("cpu").running():
        assert torch.zeros(1).is_cpu


def test_unknown_values_are_zero() -> None:
    with Rehearsal("cpu").running() as memory:
        assert int((torch.rand(3) * 5).sum()) == 0
        assert not bool((torch.rand(3) > 2).any())
    assert memory.history.sizes
