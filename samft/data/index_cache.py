"""Arrays of an index as files that all processes of a machine map into their memory."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.array_files import ARRAY_ERRORS
from samft.errors import MachineError
from samft.models.cache import weights_dir

_log = logging.getLogger(__name__)
_ABOUT = "about.json"


def index_dir() -> Path:
    """Return the folder for stored indices; it need not exist, and may be deleted at any time.

    That is `index` in the folder named by the environment variable `SAMFT_CACHE`, or in the
    platform's folder for caches.
    """
    return weights_dir().with_name("index")


def store_arrays(arrays: Mapping[str, NDArray[Any]], about: object) -> Path | None:
    """Write arrays under a name made of their content, unless they are there already.

    Args:
        arrays: By name.
        about: Plain data to be stored with them.

    Returns:
        The folder they lie in; `None`, and a warning, if they cannot be written.
    """
    text = json.dumps(about)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    folder = index_dir() / digest.hexdigest()[:32]
    if _holds(folder, arrays, text):
        return folder
    try:
        _write(folder, arrays, text)
    except OSError as error:
        _log.warning("the index stays in memory, it cannot be written to %s: %s", folder, error)
        return None
    return folder


def load_arrays(folder: Path) -> tuple[dict[str, NDArray[Any]], Any]:  # Any: plain data
    """Map what `store_arrays` wrote: the arrays, and what was stored with them.

    Raises:
        MachineError: if it is gone or damaged.
    """
    try:
        arrays = {path.stem: _mapped(path) for path in folder.glob("*.npy")}
        return arrays, json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except ARRAY_ERRORS as error:
        raise MachineError(
            "the stored index of a data set is damaged",
            where=folder,
            found=f"{type(error).__name__}: {str(error)[:80]}",
            fix="delete this folder; it is made again",
        ) from error


def _holds(folder: Path, arrays: Mapping[str, NDArray[Any]], about: str) -> bool:
    """Tell whether a folder holds these very arrays, undamaged."""
    if not (folder / _ABOUT).is_file():
        return False
    try:
        stored, found = load_arrays(folder)
    except MachineError:
        stored, found = {}, None
    same = stored.keys() == arrays.keys() and json.dumps(found) == about
    if same and all(_equal(stored[name], array) for name, array in arrays.items()):
        return True
    _log.warning("the stored index %s is damaged and is made again", folder)
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _equal(stored: NDArray[Any], array: NDArray[Any]) -> bool:
    return stored.dtype == array.dtype and np.array_equal(stored, array)


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]], about: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as temporary:
        ready = Path(temporary, folder.name)
        ready.mkdir()
        for name, array in arrays.items():
            np.save(ready / f"{name}.npy", array, allow_pickle=False)
        (ready / _ABOUT).write_text(about, encoding="utf-8")
        try:
            ready.rename(folder)
        except OSError:
            if not (folder / _ABOUT).is_file():  # another process was not faster: a half folder
                shutil.rmtree(folder, ignore_errors=True)
                ready.rename(folder)


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if 0 in shape:  # it cannot be mapped
        return np.empty(shape, dtype)
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
