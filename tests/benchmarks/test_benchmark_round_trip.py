"""The benchmark of exports on small models: which programs answer, and how far they are apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from parity.reference_models import TINY, randomise

from benchmarks import round_trip
from samft.export.tuned import TunedModel
from samft.models.registry import build_from_config

pytestmark = pytest.mark.slow

# One block of either kind and one layer: an export costs seconds for every further one.
SHALLOW = replace(TINY, encoder=replace(TINY.encoder, depth=2), decoder_depth=1)


def test_four_programs_agree_on_a_plain_vision_transformer(capsys) -> None:
    pytest.importorskip("transformers")
    sam = build_from_config(SHALLOW)
    randomise(sam, seed=1)
    found = round_trip.round_trip(TunedModel.of(sam))
    programs = {program for pair in found for program in pair}
    assert programs == {"samft", "segment_anything", "transformers", "onnxruntime"}
    assert len(found) == 6
    assert max(found.values()) < 1e-3
    assert capsys.readouterr().out.count("of the largest logit") == 6
