"""Optional packages: imported where they are used, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from samft.errors import DependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module` or say how to install it.

    Args:
        module: Import name, such as `nibabel`.
        extra: The samft extra that installs it, such as `medical`.
        purpose: What it is needed for, to complete "... is needed to <purpose>".

    Returns:
        The imported module.

    Raises:
        DependencyError: if it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.partition(".")[0]:
            raise
        raise DependencyError(
            f"the package {module!r} is needed to {purpose}",
            fix=f'pip install "samft[{extra}]"',
        ) from error
