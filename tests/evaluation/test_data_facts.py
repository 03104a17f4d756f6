"""The hash of the data: the same for the same data in any order, and only then."""

import torch
from evaluated_scene import scene

from samft.evaluation.data_facts import data_facts, sample_facts, shown_root
from samft.evaluation.facts import DataFacts
from samft.types import Sample


def facts(*samples: Sample) -> DataFacts:
    found = [sample_facts(sample) for sample in samples]
    return data_facts(found, root="data/cells", split="test", classes=["cell"])


def test_counts() -> None:
    found = facts(scene("a", case="1"), scene("b", case="1"), scene("c", case="2"))
    assert (found.images, found.cases, found.classes) == (3, 2, ("cell",))
    assert (found.root, found.split) == ("data/cells", "test")


def test_order_does_not_matter_and_everything_else_does() -> None:
    first, second = scene("a"), scene("b", boxes=((1, 1, 5, 5),))
    known = facts(first, second).sha256
    assert facts(second, first).sha256 == known
    changed = first.image.clone()
    changed[0, 0, 0] += 1
    layers = first.layers.clone()
    layers[0, 0, 0] = -1
    others = (
        first.replace(image=changed),
        first.replace(layers=layers),
        first.replace(object_class=torch.tensor([0, 1])),
        first.replace(spacing_mm=(1.0, 1.0)),
        first.replace(case_id="x"),
        first.replace(sample_id="x"),
    )
    hashes = {facts(other, second).sha256 for other in others}
    assert len(hashes | {known}) == len(others) + 1


def test_reports_hold_no_absolute_path() -> None:
    assert shown_root("/home/doe/clinic/patients") == "patients"
    assert shown_root("~/clinic/patients") == "patients"
    assert shown_root("data/patients") == "data/patients"
    assert shown_root("example:ct_chest") == "example:ct_chest"
