"""The images of an edge experiment: those that were chosen, each with what people drew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from samft.cli.zeroshot.data import OpenData
from samft.evaluation.zero_shot.edge_truth import edge_images
from samft.evaluation.zero_shot.edges import EdgeImage

_ANNOTATOR: Final = "/annotator"  # what the layout `bsds_all` puts behind an image's name


def chosen_edge_images(data: OpenData) -> Iterator[EdgeImage]:
    """Yield the chosen images with their edges.

    Args:
        data: Of BSDS500, one record for each image or for each annotator.
    """
    wanted = {name.rpartition(_ANNOTATOR)[0] or name for name in data.sample_ids()}
    for split in data.splits:
        for item in edge_images(data.module, split):
            if item.sample_id in wanted:
                wanted.discard(item.sample_id)
                yield item
            if not wanted:
                return
