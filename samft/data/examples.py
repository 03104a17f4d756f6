"""Data sets that come with small Python packages, with the settings that fit them.

`data.root: example:ct_chest` means the folder and how to read it, so that a recipe runs as it is
and still needs nothing but `--data.root DIR` to run on somebody's own folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from samft.errors import ConfigError, did_you_mean

_PREFIX = "example:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A packaged data set.

    Args:
        root: The folder, as `resolve_root` takes it.
        settings: Settings of the datamodule for it, by name.
    """

    root: str
    settings: Mapping[str, object] = field(default_factory=dict)


EXAMPLES: Final[Mapping[str, Example]] = {
    # 128 x 128 x 34 voxels, seven segments (ribs, spine, lungs, tissue); MIT licence. There is one
    # volume, so it can only be split into slabs.
    "ct_chest": Example(
        root="package:slicerio/data",
        settings={
            "images": "CTChest4.nrrd",
            "labels": "Segmentation.seg.nrrd",
            "split_by": "block",
            "window": "ct_soft",  # percentiles meet the -3024 outside the scanner's circle
        },
    ),
}


def use_example(datamodule: object) -> None:
    """Replace a root of the form `example:NAME` by its folder and settings, in place.

    Settings that were given, and so differ from their defaults, stay as they are.

    Args:
        datamodule: A dataclass with a `root`.

    Raises:
        ConfigError: if there is no example of that name, or it is not for this kind of data.
    """
    root = str(getattr(datamodule, "root"))  # noqa: B009  (any dataclass with a root)
    if not root.startswith(_PREFIX):
        return
    name = root.removeprefix(_PREFIX)
    if name not in EXAMPLES:
        raise ConfigError(
            f"no example data set is called {name!r}",
            where="data.root",
            fix=did_you_mean(name, EXAMPLES),
        )
    example = EXAMPLES[name]
    defaults = {item.name: item.default for item in fields(datamodule)}  # type: ignore[arg-type]  # always a dataclass
    unfit = [setting for setting in example.settings if setting not in defaults]
    if unfit:
        raise ConfigError(
            f"the example {name!r} is not for {type(datamodule).__name__}",
            where="data.root",
            found=f"no setting {', '.join(unfit)}",
        )
    chosen = {
        setting: value
        for setting, value in example.settings.items()
        if getattr(datamodule, setting) == defaults[setting]
    }
    for setting, value in {"root": example.root, **chosen}.items():
        setattr(datamodule, setting, value)
    _log.info("%s%s: %s", _PREFIX, name, {"root": example.root, **chosen})
