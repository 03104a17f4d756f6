"""Where a long computation keeps its finished parts, so that it can go on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor, nn

from samft.data.readers.array_files import ARRAY_ERRORS
from samft.embeddings.key import weights_hash
from samft.errors import MachineError, OutputError
from samft.inference.array_sources import ImageSource, VolumeSource
from samft.inference.label_stores import check_label_path, remove, sync

FORMAT: Final = 1
"""Version of the parts; one that was begun with another is not gone on with."""
_MANIFEST: Final = "work.json"
_LOCK: Final = "lock"
_LOOKED_AT: Final = 16
_LOOK: Final = 64

_log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name."""


class WorkFolder:
    """Finished parts of one computation, in a folder beside its output.

    A part appears under its name only when it is on the disk as a whole. The folder belongs to one
    computation: with other settings, weights or pixels it is refused.

    Args:
        out: The output; the folder is called the same with `.partial` at the end.
        key: What the result depends on, plain data.
    """

    def __init__(self, out: Path, key: Mapping[str, Any]) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}.partial")
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._text = json.dumps({"digest": self._digest, "format": FORMAT, **key}, indent=1)

    @property
    def labels(self) -> Path:
        """Where the output grows until it is complete."""
        return self.path / f"labels{self.out.suffix.lower()}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the folder, alone; delete it when all went well.

        Raises:
            OutputError: if the output is there, another process is at work, or the folder belongs
                to another computation.
            MachineError: if it cannot be written.
        """
        check_label_path(self.out)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError("another process is writing this output", where=self.out) from error
        try:
            self._check()
            yield
        finally:
            lock.release()
        if self.out.exists():
            remove(self.path)

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return a finished part; `None` if it is missing or damaged."""
        path = self._part(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except FileNotFoundError:
            return None
        except ARRAY_ERRORS as error:
            _log.warning("%s is damaged and will be made again: %s", path, error)
            return None

    def need(self, name: str) -> dict[str, NDArray[Any]]:
        """Return a part that is finished.

        Raises:
            MachineError: if it has gone.
        """
        arrays = self.load(name)
        if arrays is None:
            raise MachineError(
                "a finished part has gone", where=self._part(name), fix="run the command again"
            )
        return arrays

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a finished part."""
        temporary = self.path / f".{name}.{os.getpid()}.npz"
        try:
            with writing(self._part(name)):
                np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # names are ours
                sync(temporary)
                temporary.replace(self._part(name))
        finally:
            temporary.unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self.path / f"{name}.npz"

    def _check(self) -> None:
        manifest = self.path / _MANIFEST
        if not manifest.exists():
            temporary = manifest.with_suffix(".tmp")
            temporary.write_text(self._text + "\n", encoding="utf-8")
            sync(temporary)
            temporary.replace(manifest)
            return
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))["digest"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
        if found != self._digest:
            raise OutputError(
                "an unfinished run left parts made with other settings, weights or pixels",
                where=self.path,
                fix="delete this folder to start anew, or choose another output",
            )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what was being written when the disk fails.

    Raises:
        MachineError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise MachineError(
            "a result could not be written", where=path, found=error.strerror or error
        ) from error


def model_key(model: nn.Module) -> str:
    """Return the sha256 of a model's weights, hexadecimal."""
    return weights_hash(dict(model.state_dict()))


def tensors_key(tensors: list[Tensor]) -> str:
    """Return the sha256 of tensors, hexadecimal."""
    return weights_hash({str(index): tensor for index, tensor in enumerate(tensors)})


def image_key(image: ImageSource) -> dict[str, Any]:  # Any: plain data
    """Return what tells an image from another one: form, range, and a few of its pixels."""
    digest = hashlib.sha256()
    height, width = image.size
    for share in np.linspace(0, 1, _LOOKED_AT):
        x, y = int(share * max(width - _LOOK, 0)), int(share * max(height - _LOOK, 0))
        digest.update(image.read((x, y, min(x + _LOOK, width), min(y + _LOOK, height))).tobytes())
    return {
        "shape": list(image.array.shape),
        "dtype": str(np.dtype(image.array.dtype)),
        "axes": image.axes,
        "value_range": image.value_range,
        "pixels": digest.hexdigest(),
    }


def volume_key(volume: VolumeSource) -> dict[str, Any]:  # Any: plain data
    """Return what tells a volume from another one: form, range, and a few of its slices."""
    digest = hashlib.sha256()
    for index in np.unique(np.linspace(0, volume.count - 1, 4).astype(int)):
        digest.update(volume.read(int(index)).tobytes())
    return {
        "shape": list(volume.array.shape),
        "dtype": str(np.dtype(volume.array.dtype)),
        "axes": volume.axes,
        "axis": volume.axis,
        "value_range": volume.value_range,
        "pixels": digest.hexdigest(),
    }
