"""What is said of settings that are not those of the checkpoint."""

from __future__ import annotations

import logging

import pytest

from samft.cli.differences import warn_of_differences
from samft.module import SamModule

STORED = dict(SamModule("vit_nano", image_size=64, adapt="full").hparams)


@pytest.mark.parametrize("adapt", ["full", STORED["adapt"]])
def test_the_same_in_other_words_is_no_difference(adapt, caplog) -> None:
    with caplog.at_level(logging.WARNING, "samft"):
        warn_of_differences(STORED, {"arch": "vit_nano", "image_size": None, "adapt": adapt})
    assert not caplog.records


def test_every_difference_is_named_with_both_values(caplog) -> None:
    with caplog.at_level(logging.WARNING, "samft"):
        warn_of_differences(STORED, {"arch": "vit_b", "adapt": "frozen"})
    (record,) = caplog.records
    head, arch, adapt = record.getMessage().splitlines()
    assert head == "settings differ from the checkpoint's; the ones given now are used"
    assert arch == "  arch: 'vit_nano' in the checkpoint, 'vit_b' now"
    assert "'preset': 'full'} in the checkpoint" in adapt
    assert "'preset': 'frozen'} now" in adapt
