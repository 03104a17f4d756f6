"""Rating jobs: one mask to be judged by a person, in a random order, under a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.errors import ConfigError
from samft.seeding import derive_seed

TRUTH: Final = "truth"
"""In place of a model's name: the mask of the data set."""
_ORDER = 7  # a stream of seeds of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectKey:
    """Which object of which data set a mask is about.

    Args:
        data: Name of the data set.
        sample_id: The image.
        case_id: The patient, file or scene it belongs to.
        object_id: From 1, the object's value in the sample's label layers.
        class_name: Its class; empty where it has none.
    """

    data: str
    sample_id: str
    case_id: str
    object_id: int
    class_name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One mask for people to judge.

    Args:
        code: What raters see: `j` and its place in the queue.
        model: Whose mask it is, or `TRUTH`; raters do not see it.
        target: The object.
        raters: Numbers, from 1, of the raters who judge it.
    """

    code: str
    model: str
    target: ObjectKey
    raters: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RatedMask:
    """What is shown of a job.

    Args:
        model: Whose mask it is.
        target: The object.
        image: (H, W, 3) uint8 RGB, original frame.
        mask: (H, W) bool, original frame.
        prompt: What was asked with, as plain data in original pixels: `box` xyxy, or `points`
            `(x, y)`; see `samft.inference.prediction.describe_prompt`.
    """

    model: str
    target: ObjectKey
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    prompt: Mapping[str, Any]


def plan_jobs(
    targets: Sequence[ObjectKey],
    models: Sequence[str],
    *,
    seed: int,
    raters: int = 1,
    common: int = 0,
) -> list[Job]:
    """Put every model's mask of every object into one random queue and deal it to the raters.

    Args:
        targets: The objects, each once.
        models: Whose masks; with `TRUTH` where the data's own are among them.
        seed: Decides the order.
        raters: How many share the queue; each job goes to one of them.
        common: So many jobs at the head of the queue go to all, to see how well they agree.

    Returns:
        The jobs in the order of the queue.

    Raises:
        ConfigError: if there is nothing to rate, or two models have the same name.
    """
    if not targets or not models:
        raise ConfigError(
            "there is nothing to rate",
            found=f"{len(targets)} objects, {len(models)} models",
            expected="at least one of each",
        )
    double = next((name for name in models if list(models).count(name) > 1), None)
    if double is not None:
        raise ConfigError(
            "two models have the same name",
            where="MODEL",
            found=double,
            fix="name one of them yourself: NAME=PATH",
        )
    pairs = [(model, target) for target in targets for model in models]
    order = np.random.default_rng(derive_seed(_ORDER, seed)).permutation(len(pairs)).tolist()
    digits = max(4, len(str(len(pairs))))
    everyone = tuple(range(1, raters + 1))
    return [
        Job(
            code=f"j{place + 1:0{digits}d}",
            model=pairs[index][0],
            target=pairs[index][1],
            raters=everyone if place < common else (place % raters + 1,),
        )
        for place, index in enumerate(order)
    ]
