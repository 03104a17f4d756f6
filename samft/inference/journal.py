"""What a prediction has done so far, on disk: it goes on from there when it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from samft.data.readers.yaml_files import YAML_ERRORS, read_yaml
from samft.errors import OutputError
from samft.inference.output_folder import OutputFolder, refuse_to_overwrite

PLAN = "config.predict.yaml"
"""The settings a folder was made with."""
_FOLDER = ".samft"
KINDS = ("images", "volumes", "together")
"""Kinds of entries: of one image or plane, of one volume, of all together."""

Plan = Mapping[str, Any]
"""Plain data: everything that the results depend on beside the images themselves."""


class Journal:
    """One small file for every finished image and volume, below the folder of the results.

    An image is entered when all its files are written, so one without an entry is done again.

    Args:
        folder: The folder of the results.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder

    def begin(self, plan: Plan | None, *, overwrite: bool) -> None:
        """Prepare the folder for results of `plan`, or to go on with them.

        Args:
            plan: The settings, `None` where the folder must be new.
            overwrite: Delete the results of an earlier prediction and begin anew.

        Raises:
            OutputError: if the folder holds something else.
        """
        root = self.folder.root
        before = self._plan() if plan is not None else None
        if before is not None and not overwrite:
            _check_same(before, _plain(plan or {}), root)
            self.folder.remove_halves()
            return
        if root.is_dir():
            self.folder.remove_half(root / PLAN)  # killed before anything else was written
        refuse_to_overwrite(root, overwrite=overwrite)
        self._forget()
        root.mkdir(parents=True, exist_ok=True)
        if plan is not None:
            text = yaml.safe_dump(_plain(plan), sort_keys=True)
            self.folder.write(root / PLAN, lambda path: path.write_text(text, encoding="utf-8"))

    def enter(self, kind: str, name: str, values: Mapping[str, Any]) -> None:  # Any: JSON
        """Write an entry.

        Args:
            kind: One of `KINDS`.
            name: Whose entry.
            values: Plain data; `files` lists the results by their relative paths.
        """
        text = json.dumps(values, sort_keys=True)
        place = self.folder.place(f"{_FOLDER}/{kind}", name, ".json")
        self.folder.write(place, lambda path: path.write_text(text, encoding="utf-8"))

    def entry(self, kind: str, name: str) -> dict[str, Any] | None:  # Any: JSON
        """Return an entry, `None` if there is none or it cannot be read."""
        return _read(self.folder.place(f"{_FOLDER}/{kind}", name, ".json"))

    def entries(self, kind: str) -> Iterator[dict[str, Any]]:  # Any: JSON
        """Yield all entries of a kind, by name."""
        base = self.folder.root / _FOLDER / kind
        paths = sorted(base.rglob("*.json"), key=lambda path: path.relative_to(base).as_posix())
        for path in paths:
            values = _read(path)
            if values is not None:
                yield values

    def end(self) -> None:
        """Delete the journal; the results stay."""
        self.folder.remove(_FOLDER)

    def _plan(self) -> dict[str, Any] | None:
        try:
            content = read_yaml(self.folder.root / PLAN)
        except YAML_ERRORS:
            return None
        return content if isinstance(content, dict) else None

    def _forget(self) -> None:
        """Delete the results that the journal names, and the journal."""
        for kind in KINDS:
            for values in self.entries(kind):
                names = values.get("files")
                for name in names if isinstance(names, list) else ():
                    self.folder.remove(str(name))
        self.end()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _plain(plan: Plan) -> dict[str, Any]:
    """Return the plan as it comes back from a file: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(plan))
    return plain


def _check_same(before: Plan, now: Plan, root: Path) -> None:
    flat_before, flat_now = dict(_flat(before)), dict(_flat(now))
    names = sorted(flat_before.keys() | flat_now.keys())
    different = [name for name in names if flat_before.get(name) != flat_now.get(name)]
    if different:
        name = different[0]
        more = f" (and {', '.join(different[1:4])})" if len(different) > 1 else ""
        raise OutputError(
            "the results in the output folder were made with other settings",
            where=root,
            found=f"{name} was {flat_before.get(name)!r}, is {flat_now.get(name)!r} now{more}",
            fix="choose another --out, or add --overwrite to replace what is there",
        )


def _flat(values: Plan, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
