"""Edges to be found: what people drew, or where the objects of a data set end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from samft.data.folder import FolderDataModule
from samft.data.layouts.bsds import BsdsAllLayout, BsdsLayout
from samft.data.readers.mat import Annotation, read_annotations
from samft.data.records import Record, Split
from samft.data.split_datamodule import SplitDataModule
from samft.evaluation.zero_shot.edge_maps import Mask
from samft.evaluation.zero_shot.edges import EdgeImage
from samft.metrics.thinning import thin
from samft.types import IGNORE, Sample


def edge_images(data: SplitDataModule, split: Split) -> Iterator[EdgeImage]:
    """Yield the images of a split with their edges, one at a time.

    Of BSDS500 (layouts `bsds` and `bsds_all`) the edges are the boundaries that each annotator
    drew, and every image comes once. Of all other data there is one annotator: edges lie where
    objects end, see `object_edges`.

    Args:
        data: The data set.
        split: Which part of it.

    Raises:
        DatasetError: if a file is unreadable.
    """
    samples = data.dataset(split)
    drawn = _drawn_by_people(data, split)
    if drawn is None:
        for index in range(len(samples)):
            yield _from_objects(samples[index])
        return
    layout_all, records = drawn
    seen: set[tuple[object, ...]] = set()
    for index, record in enumerate(records):
        if record.images in seen:
            continue
        seen.add(record.images)
        sample = samples[index]
        name = sample.sample_id.rpartition("/annotator")[0] if layout_all else sample.sample_id
        annotations = [_boundaries(each) for each in read_annotations(record.labels[0])]
        yield EdgeImage(sample_id=name, image=sample.image, annotations=annotations)


def label_edges(label_map: NDArray[np.integer]) -> Mask:
    """Return where labels change, as lines one pixel wide.

    A pixel is an edge if its label differs from that of the pixel to the right or below; the lines
    are then thinned, as the boundaries of BSDS500 are. Between two objects that touch there is one
    line, not one for each.

    Args:
        label_map: (H, W) whole numbers; negative ones mean that nothing is known, and have no
            edges.

    Returns:
        (H, W) bool.
    """
    known = label_map >= 0
    edges = np.zeros(label_map.shape, np.bool_)
    edges[:, :-1] |= _differ(label_map[:, :-1], label_map[:, 1:])
    edges[:-1] |= _differ(label_map[:-1], label_map[1:])
    return thin(edges & known)


def object_edges(sample: Sample) -> Mask:
    """Return the outlines of a sample's objects, (H, W) bool; objects may overlap."""
    layers = sample.layers.numpy()
    edges = np.zeros(sample.size, np.bool_)
    for layer in layers:
        edges |= label_edges(layer)
    return thin(edges) if len(layers) > 1 else edges


def _differ(one: NDArray[np.integer], other: NDArray[np.integer]) -> Mask:
    differ: Mask = (one != other) & (one >= 0) & (other >= 0)
    return differ


def _from_objects(sample: Sample) -> EdgeImage:
    unknown = (sample.layers == IGNORE).all(dim=0).numpy()
    return EdgeImage(
        sample_id=sample.sample_id,
        image=sample.image,
        annotations=[object_edges(sample)],
        ignored=unknown if unknown.any() else None,
    )


def _drawn_by_people(data: SplitDataModule, split: Split) -> tuple[bool, Sequence[Record]] | None:
    """Return whether every annotator has a record, and the records; `None` for other data."""
    if not isinstance(data, FolderDataModule):
        return None
    layout = data.known_layout()
    if not isinstance(layout, BsdsLayout):
        return None
    return isinstance(layout, BsdsAllLayout), data.records(split)


def _boundaries(annotation: Annotation) -> Mask:
    if annotation.boundaries is not None:
        return annotation.boundaries
    assert annotation.segmentation is not None  # the reader lets none pass that has neither
    return label_edges(annotation.segmentation)
