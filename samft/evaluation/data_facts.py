"""What was evaluated on: images, cases, and a hash that tells the data from other data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from samft.evaluation.facts import DataFacts
from samft.types import Sample


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class SampleFacts:
    """What is kept of one image.

    Args:
        sample_id: Its name in the data set.
        case_id: The case it belongs to.
        sha256: Hash of its pixels, its objects with their classes, and its pixel size.
    """

    sample_id: str
    case_id: str
    sha256: str


def sample_facts(sample: Sample) -> SampleFacts:
    """Return what is kept of an image, as it was read, before it is resized."""
    digest = hashlib.sha256(repr((sample.size, sample.spacing_mm)).encode())
    for tensor in (sample.image, sample.layers, sample.object_layer, sample.object_class):
        digest.update(_bytes(tensor))
    return SampleFacts(
        sample_id=sample.sample_id, case_id=sample.case_id, sha256=digest.hexdigest()
    )


def data_facts(
    samples: Iterable[SampleFacts],
    *,
    root: str,
    split: Literal["test", "val"],
    classes: Sequence[str],
) -> DataFacts:
    """Sum a split up.

    Args:
        samples: Its images, each once, in any order.
        root: The data set's folder as it was configured; of an absolute path only the last part is
            kept, for reports are handed on.
        split: Which split.
        classes: Class names.
    """
    found = sorted(samples)
    digest = hashlib.sha256()
    for facts in found:
        digest.update(f"{facts.sample_id}\0{facts.case_id}\0{facts.sha256}\n".encode())
    return DataFacts(
        root=shown_root(root),
        split=split,
        images=len(found),
        cases=len({facts.case_id for facts in found}),
        classes=tuple(classes),
        sha256=digest.hexdigest(),
    )


def shown_root(root: str) -> str:
    """Return what a report says of a folder: a relative path as it is, else its last part."""
    path = Path(root)
    return path.name if path.is_absolute() or root.startswith("~") else root


def _bytes(tensor: Tensor) -> bytes:
    array = np.ascontiguousarray(tensor.cpu().numpy())
    return repr((array.dtype.str, array.shape)).encode() + array.tobytes()
