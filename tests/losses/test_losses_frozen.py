"""The numbers of the objective, frozen before it became a package of several terms.

Inputs are closed formulas, so that nothing depends on a random generator.
"""

import pytest
import torch

from samft.losses import SamLoss, SamLossSettings
from samft.types import MaskOutput

_WEIGHTS = {
    "focal": 3.0,
    "dice": 2.0,
    "iou": 0.5,
    "focal_alpha": 0.6,
    "focal_gamma": 1.5,
    "supervise_all_iou": True,
}
_BALANCED = {"balanced_bce": 2.0, "balanced_bce_until": 0.5}
# Settings, whether pixels are ignored: total, focal, dice, iou, balanced cross-entropy; the chosen
# masks; the sums of the gradients' sizes of logits and predicted IoU; the sum of the actual IoU.
FROZEN = [
    (
        {},
        False,
        [13.450124254223534, 0.6278573820716128, 0.6219024181534344, 0.2710741946378417, 0.0],
        [0, 0, 0, 2],
        [5.677083190107904, 0.7461299258156371, 2.5595404392659153],
    ),
    (
        {},
        True,
        [12.64438336267258, 0.6023775128722894, 0.5857551052270955, 0.01107799999969749, 0.0],
        [0, 0, 0, 1],
        [5.396358851448239, 0.15764973589337786, 2.8808144676893193],
    ),
    (
        _BALANCED,
        False,
        [
            14.76912553081948,
            0.6278573820716128,
            0.6219024181534344,
            0.2710741946378417,
            1.0991677304966214,
        ],
        [0, 0, 0, 2],
        [6.150238032539487, 0.7461299258156371, 2.5595404392659153],
    ),
    (
        _BALANCED,
        True,
        [
            13.865892984906154,
            0.6023775128722894,
            0.5857551052270955,
            0.01107799999969749,
            1.0179246851946455,
        ],
        [0, 0, 0, 1],
        [5.836807346016414, 0.15764973589337786, 2.8808144676893193],
    ),
    (
        _WEIGHTS,
        False,
        [2.8243506660835322, 0.4923915200027813, 0.6219024181534344, 0.20674253953663907, 0.0],
        [0, 0, 0, 2],
        [0.7550520621360599, 0.3406027372027298, 2.5595404392659153],
    ),
    (
        _WEIGHTS,
        True,
        [2.6805818445740974, 0.46952766019353326, 0.5857551052270955, 0.2009773070786126, 0.0],
        [0, 0, 0, 1],
        [0.7083102777388856, 0.3233443371963176, 2.8808144676893193],
    ),
    (
        {"focal": 0.0},
        False,
        [0.9262240533957975, 0.6741190638288093, 0.6107330157389634, 0.31549103765683406, 0.0],
        [0, 0, 2, 2],
        [0.0548679485559397, 0.9052042179074886, 2.5595404392659153],
    ),
    (
        {"focal": 0.0},
        True,
        [0.596833105226793, 0.6023775128722894, 0.5857551052270955, 0.01107799999969749, 0.0],
        [0, 0, 0, 1],
        [0.059513717318298937, 0.15764973589337786, 2.8808144676893193],
    ),
]


def wave(*shape, speed):
    steps = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(speed * steps * steps + steps).reshape(shape)


@pytest.mark.parametrize(("weights", "partly", "scalars", "best", "sums"), FROZEN)
def test_against_frozen_numbers(weights, partly, scalars, best, sums):
    logits = 4 * wave(4, 3, 8, 8, speed=0.37)
    targets = (wave(4, 1, 8, 8, speed=0.11) > 0.3).double()
    targets[0, 0, 0], targets[3] = 0.25, 0
    valid = wave(4, 1, 8, 8, speed=0.23) > -0.6 if partly else None
    iou = 0.5 + 0.5 * wave(4, 3, speed=0.7)
    output = MaskOutput(logits=logits.requires_grad_(), iou=iou.requires_grad_())
    objective = SamLoss(SamLossSettings(**weights))
    terms = objective(output, targets, valid=valid, progress=0.2)
    terms.total.backward()
    names = ("total", "focal", "dice", "iou", "balanced_bce")
    found = [getattr(terms, name).item() for name in names]
    assert found == pytest.approx(scalars, rel=1e-12, abs=0)
    assert terms.best.tolist() == best
    grown = [output.logits.grad.abs(), output.iou.grad.abs(), terms.actual_iou]
    assert [value.sum().item() for value in grown] == pytest.approx(sums, rel=1e-12, abs=0)
