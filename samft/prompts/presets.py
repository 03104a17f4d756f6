"""Ways to simulate prompts by name: what SAM, SAM 2 and micro-sam were trained with.

The files in `configs/prompts` say the same, for the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Final

from samft.errors import ConfigError, did_you_mean
from samft.prompts.settings import PromptSettings

Values = Mapping[str, bool | int | float | str | dict[str, float]]

PAPER: Final[Values] = MappingProxyType(
    {
        "mix": {"point": 0.5, "box": 0.5},
        "box_shift": "gaussian",
        "box_noise": 0.1,
        "box_noise_max_px": 20.0,
        "rounds": 8,
        "extra_passes": 2,
        "click": "uniform",
        "click_from_truth": 0.0,
        "feed_back_probability": 1.0,
        "multimask": "all",
        "max_objects_per_image": 64,
    }
)
"""SAM: eleven passes, three masks for every first prompt.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A.
"""

SAM2: Final[Values] = MappingProxyType(
    {
        "mix": {"point": 0.5, "box": 0.5},
        "box_shift": "uniform",
        "box_noise": 0.1,
        "box_noise_max_px": 20.0,
        "rounds": 7,
        "extra_passes": 0,
        "click": "uniform",
        "click_from_truth": 0.1,
        "feed_back_probability": 1.0,
        "multimask": "ambiguous",
        "max_objects_per_image": 64,
    }
)
"""SAM 2 on images: eight passes, one mask for a box, a tenth of the clicks from the truth.

Not taken over: a mask as the first prompt, which its code leaves out for single frames; several
prompted frames, which an image does not have; and the background click on a perfect answer, which
would teach that clicks come where nothing is wrong. The draw between error and truth is made for
each object rather than for all objects of a frame.

Source: Ravi et al. 2024, arXiv:2408.00714, and its training code.
"""

MICRO_SAM: Final[Values] = MappingProxyType(
    {
        "mix": {"point": 0.5, "box": 0.5},
        "box_shift": "outward",
        "box_noise": 0.025,
        "box_noise_max_px": 1024.0,
        "rounds": 7,
        "extra_passes": 0,
        "click": "pair",
        "click_from_truth": 0.0,
        "feed_back_probability": 0.5,
        "multimask": "ambiguous",
        "max_objects_per_image": 25,
    }
)
"""micro-sam: eight passes, a positive and a negative click in each, logits fed back half the time.

There, point and box alternate between steps and one coin per pass decides on the feedback; here
both are drawn for each object, which is the same on average and the same on every process.

Source: Archit et al. 2025, Nature Methods, "Segment Anything for Microscopy", and its 1.x code.
"""

BOX_ONLY: Final[Values] = MappingProxyType(
    {"mix": {"box": 1.0}, "box_shift": "gaussian", "rounds": 0, "extra_passes": 0}
)
"""One noisy box per object and no clicks: quickest, and poor with points afterwards."""

PRESETS: Final[Mapping[str, Values]] = MappingProxyType(
    {"paper": PAPER, "sam2": SAM2, "micro_sam": MICRO_SAM, "box_only": BOX_ONLY}
)
"""All of them by name."""


def preset(name: str) -> PromptSettings:
    """Return the settings of that name.

    Raises:
        ConfigError: if there are none.
    """
    if name not in PRESETS:
        raise ConfigError(f"no prompt preset is called {name!r}", fix=did_you_mean(name, PRESETS))
    return PromptSettings.from_dict(deepcopy(dict(PRESETS[name])))
