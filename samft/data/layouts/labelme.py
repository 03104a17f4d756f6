"""labelme: a JSON file beside each image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from samft.data.files import name_some
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.label_files import label_stem
from samft.data.layouts.listing import Listing
from samft.data.layouts.per_image import PerImageLayout
from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.readers.labelme import is_labelme, read_label_names, read_labelme
from samft.data.readers.outlines import LabelledImage
from samft.data.roots import inside_root
from samft.errors import DatasetError

_LOOKED_AT = 5


class LabelmeLayout(PerImageLayout):
    """JSON files of labelme, and of programs that write the same, such as X-AnyLabeling.

    `labels.txt`, where there is one, gives the order of the classes.

    Args:
        root: See `Layout`.
        settings: See `Layout`.
    """

    name: ClassVar[str] = "labelme"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    kind: ClassVar[str] = "labelme's JSON"

    def __init__(self, root: Path, settings: LayoutSettings) -> None:
        super().__init__(root, settings)
        self._embedded: set[Path] = set()

    @classmethod
    def recognise(cls, listing: Listing) -> str | None:
        """See `Layout`."""
        for name in listing.ending(".json")[:_LOOKED_AT]:
            if is_labelme(listing.parsed(name)):
                return f"{name} holds labelme's imagePath and shapes"
        return None

    def read(self, label: Path) -> LabelledImage | None:
        """See `PerImageLayout`."""
        found = read_labelme(label)
        if found is None:
            return None
        if found.has_image:
            self._embedded.add(label)
        return found.labelled

    def declared_names(self) -> tuple[str, ...]:
        """See `PerImageLayout`."""
        path = self.root / "labels.txt"
        return read_label_names(path) if path.is_file() else ()

    def named_image(self, label: Path, labelled: LabelledImage) -> Path | None:
        """Return the image of `imagePath`, or else the one beside the JSON with its name."""
        named = (labelled.image_name or "").replace("\\", "/")
        folder = label.parent.relative_to(self.root)
        candidates = [_resolved(folder, named)] if _is_relative(named) else []
        base = named.rpartition("/")[2]
        candidates += [(folder / base).as_posix()] if base and base != ".." else []
        candidates += [(folder / f"{label_stem(label)}{end}").as_posix() for end in _ENDINGS]
        paths = (inside_root(self.root, name) for name in candidates if name is not None)
        return next((path for path in paths if path is not None and path.is_file()), None)

    def explain_lonely(self, labels: Iterable[Path]) -> None:
        """See `PerImageLayout`."""
        inside = [label for label in labels if label in self._embedded]
        if inside:
            raise DatasetError(
                "images lie only inside their label files",
                where=self.root,
                found=f"imageData in {name_some(self.root, inside)}, and no image file",
                expected="the image beside its JSON file",
                fix="write them out with labelme's labelme_export_json, or leave them out with "
                "data.on_missing: skip",
            )


_ENDINGS = tuple(ending for lower in sorted(IMAGE_SUFFIXES) for ending in (lower, lower.upper()))


def _is_relative(named: str) -> bool:
    return bool(named) and not named.startswith("/") and ":" not in named


def _resolved(folder: Path, named: str) -> str | None:
    """Return a name with its `..` applied, relative to the root; `None` if it climbs out."""
    parts = list(folder.parts)
    for part in named.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None
