"""Small rating studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samft.evaluation.ratings.jobs import Job, ObjectKey, RatedMask


def targets(count: int, *, cases: int | None = None) -> list[ObjectKey]:
    """Return objects, one per image."""
    return [
        ObjectKey(
            data="set",
            sample_id=f"image_{number}",
            case_id=f"case_{number % (cases or count)}",
            object_id=number + 1,
            class_name="cell",
        )
        for number in range(count)
    ]


def shown(jobs: Sequence[Job], *, size: tuple[int, int] = (40, 60)) -> list[RatedMask]:
    """Return something to show for each job."""
    mask = np.zeros(size, bool)
    mask[10:30, 15:40] = True
    image = np.full((*size, 3), 90, np.uint8)
    return [
        RatedMask(
            model=job.model,
            target=job.target,
            image=image,
            mask=mask,
            prompt={"points": [[20, 20]]},
        )
        for job in jobs
    ]
