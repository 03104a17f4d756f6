"""Versions that must not be used, with the reason of each.

The same reasons stand beside the bounds in `pyproject.toml`; here they are for what was installed
past those bounds, and for packages that samft does not depend on but meets in the same environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockedBuilds:
    """Versions of a package that must not be used.

    Args:
        package: Name on the package index.
        versions: Which, as in a requirement.
        reason: Why.
        status: `error` if samft imports the package, else `warn`.
        is_malware: Whether importing it is an attack: nothing may then be imported at all.
    """

    package: str
    versions: str
    reason: str
    status: Literal["warn", "error"] = "error"
    is_malware: bool = False


BLOCKED_BUILDS: Final = (
    *(
        BlockedBuilds(
            package="lightning",
            versions=f"=={version}",
            reason="malware that steals credentials (GHSA-w37p-236h-pfx3)",
            is_malware=True,
        )
        for version in ("2.6.2", "2.6.3")
    ),
    BlockedBuilds(
        package="lightning",
        versions="<2.6.6",
        reason="a checkpoint can run code, even with weights_only (CVE-2026-58659)",
    ),
    BlockedBuilds(
        package="torch",
        versions="<2.10",
        reason="weights-only loading can be broken out of (CVE-2025-32434, CVE-2026-24747)",
    ),
    BlockedBuilds(
        package="pillow",
        versions="<12.3",
        reason="a picture can write out of bounds or pass the check for bombs "
        "(CVE-2026-42311, CVE-2026-55380)",
    ),
    BlockedBuilds(
        package="pydicom",
        versions="<3.0.2",
        reason="a DICOMDIR can name files outside its folder (CVE-2026-32711)",
    ),
    BlockedBuilds(
        package="pyarrow",
        versions="<24",
        reason="a file can corrupt memory (CVE-2026-25087)",
    ),
    BlockedBuilds(
        package="monai",
        versions="<1.6.1",
        reason="archives and pickles can write files and run code (CVE-2026-21851, CVE-2025-58756)",
        status="warn",
    ),
    BlockedBuilds(
        package="jsonargparse",
        versions=">=5",
        reason="removes what the command line of Lightning 2.6 calls",
    ),
    *(
        BlockedBuilds(
            package="ultralytics",
            versions=f"=={version}",
            reason="carries a crypto miner",
            status="warn",
        )
        for version in ("8.3.41", "8.3.42", "8.3.45", "8.3.46")
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Packages that should not be installed together.

    Args:
        packages: Their names; two of them are a conflict.
        reason: What goes wrong.
        advice: What to do.
        status: How bad it is.
        same_version_is_fine: Whether it is only a conflict if their versions differ.
    """

    packages: tuple[str, ...]
    reason: str
    advice: str
    status: Literal["warn", "error"] = "warn"
    same_version_is_fine: bool = False


CONFLICTS: Final = (
    Conflict(
        packages=("lightning", "pytorch-lightning"),
        reason="modules and callbacks of one are not accepted by the other",
        advice="import lightning.pytorch everywhere, and: pip uninstall pytorch-lightning",
        same_version_is_fine=True,
    ),
    Conflict(
        packages=("albumentations", "albumentationsx"),
        reason="both write the module albumentations; albumentationsx is AGPL",
        advice="pip uninstall albumentationsx, then pip install --force-reinstall "
        "albumentations==2.0.8",
        status="error",
    ),
    Conflict(
        packages=(
            "opencv-python",
            "opencv-python-headless",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        reason="they overwrite each other's files",
        advice="keep opencv-python-headless: it needs no display",
        same_version_is_fine=True,
    ),
    Conflict(
        packages=("onnxruntime", "onnxruntime-gpu"),
        reason="they overwrite each other's files",
        advice="keep one of them",
    ),
    Conflict(
        packages=("pillow", "pillow-simd"),
        reason="both write the module PIL, and pillow-simd is older than the last security fixes",
        advice="pip uninstall pillow-simd, then pip install --force-reinstall pillow",
        status="error",
    ),
)
