"""Files that a table or a JSON file names: below the root, there, and looked up quickly."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from samft.data.files import relative_name, stem_of
from samft.data.pairing import OnMissing
from samft.data.readers.image import probe_image
from samft.data.readers.json_files import text_of
from samft.data.readers.tiff_stack import is_stack, stack_shape
from samft.data.readers.volumes import is_volume, probe_volume
from samft.data.roots import stays_inside
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_FOREIGN = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://|\\\\|~")
_SHOWN = 3


class NamedFiles:
    """Looks names up below a root; each folder is listed once, however many names lie in it.

    Args:
        root: The absolute data root.
        on_missing: What to do with entries whose file is not there.
    """

    def __init__(self, root: Path, on_missing: OnMissing) -> None:
        self.root = root
        self.on_missing = on_missing
        self._top = f"{root.as_posix().rstrip('/')}/"
        self._folders: dict[str, dict[str, bool]] = {}
        self._missing: list[str] = []
        self._num_missing = 0

    def find(self, name: object, bases: Sequence[Path], where: str) -> Path | None:
        """Return the file of a name, or `None`, remembered, if there is none.

        Args:
            name: Relative, with forward slashes or backslashes; or absolute, inside the root.
            bases: What it may be relative to; the first below which it exists counts.
            where: The place that names it, for messages.

        Raises:
            DatasetError: if it is no name, or leads out of the root.
        """
        text = text_of(name, where, "a file name").strip()
        places = [self._place(base, text) for base in bases]
        inside = [place for place in places if place is not None]
        if not inside:
            raise self._leads_out(text, where)
        found = next((place for place in inside if self._exists(place, where)), None)
        if found is not None:
            return Path(found)
        self._num_missing += 1
        if len(self._missing) < _SHOWN:
            self._missing.append(f"{inside[0].removeprefix(self._top)} ({where})")
        return None

    def report_missing(self) -> None:
        """Report the names without a file.

        Raises:
            DatasetError: if there are any and that is an error.
        """
        if not self._num_missing:
            return
        several = self._num_missing > 1
        text = f"{self._num_missing} named file{'s do' if several else ' does'} not exist"
        more = self._num_missing - len(self._missing)
        shown = ", ".join(self._missing) + (f" and {more} more" if more else "")
        if self.on_missing == "skip":
            _log.warning("%s, what names them is left out: %s", text, shown)
            return
        raise DatasetError(
            text,
            where=self.root,
            found=shown,
            fix="add the files, set data.root to the folder that the names are relative to, or "
            "leave them out with data.on_missing: skip",
        )

    # Texts rather than paths: a table may have a million rows.
    def _place(self, base: Path, name: str) -> str | None:
        folder, relative = str(base), name.replace("\\", "/")
        place = os.path.normpath(os.path.join(folder, relative)).replace(os.sep, "/")  # noqa: PTH118
        outside = "\0" in name or _FOREIGN.match(name) or not place.startswith(self._top)
        return None if outside or place == base.as_posix() else place

    def _exists(self, place: str, where: str) -> bool:
        folder, _, name = place.rpartition("/")
        listed = self._folders.get(folder)
        if listed is None:
            if not stays_inside(self.root, Path(folder)):
                raise self._leads_out(place.removeprefix(self._top), where)
            listed = self._folders[folder] = _list_folder(Path(folder))
        is_link = listed.get(name)
        if is_link and not stays_inside(self.root, Path(place)):
            raise self._leads_out(place.removeprefix(self._top), where)
        return is_link is not None

    def _leads_out(self, name: str, where: str) -> DatasetError:
        return DatasetError(
            "a file outside the data root is named",
            where=where,
            found=repr(name if len(name) <= 100 else name[:97] + "..."),
            expected=f"a path below {self.root}",
            fix="write paths relative to the file that names them, or set data.root to the folder "
            "that holds everything",
        )


def sample_name(root: Path, image: Path) -> str:
    """Return the identifier of an image: its relative path; of a volume, without the ending."""
    return relative_name(root, image.with_name(stem_of(image)) if is_volume(image) else image)


def size_of(image: Path) -> tuple[int, ...]:
    """Return (H, W), or (Z, Y, X) of a volume or stack, from the header.

    Raises:
        DatasetError: if the file is damaged.
    """
    if is_volume(image):
        return probe_volume(image).shape
    if is_stack(image):
        return stack_shape(image) or ()
    return probe_image(image, every_channel=True)


def _list_folder(folder: Path) -> dict[str, bool]:
    """Return the names in a folder and whether they are symbolic links."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: entry.is_symlink()
                for entry in entries
                if not entry.is_dir() or entry.name.lower().endswith(".zarr")
            }
    except (OSError, ValueError):
        return {}
