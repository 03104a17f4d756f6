"""Copies the files of a template into an export."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).with_name("templates")
_SHARED: Final = "shared"


def copy_template(name: str, out: Path) -> None:
    """Copy the files of a template, and those that several share, into an existing folder."""
    for folder in (_SHARED, name):
        for file in sorted((_FOLDER / folder).iterdir()):
            if file.is_file():
                shutil.copyfile(file, out / file.name)
