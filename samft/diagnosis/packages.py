"""Installed versions against what samft says it works with. Nothing is imported to find out."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, metadata, requires, version
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import samft
from samft.diagnosis.blocked_builds import BLOCKED_BUILDS, CONFLICTS, BlockedBuilds, Conflict
from samft.diagnosis.rows import Row

_NOT_FOR_USERS: Final = frozenset({"all", "dev", "test"})
_UNSURE = "the supported versions are not sure"
_FROM_SOURCE = "pip install -e . in the folder of the source"
_TWICE: Final = ("torch", "lightning", "torchmetrics", "numpy", "jsonargparse", "albumentations")


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """What samft says it needs.

    Args:
        python: Supported versions of Python, such as `>=3.11`.
        core: What always is needed.
        extras: What each extra adds.
    """

    python: str
    core: Sequence[Requirement]
    extras: Mapping[str, Sequence[Requirement]]


def read_requirements() -> Requirements | None:
    """Read samft's own package metadata; `None` if it is used without being installed."""
    try:
        about, lines = metadata("samft"), requires("samft") or []
    except PackageNotFoundError:
        return None
    core: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
        if not _applies(requirement, extra[1] if extra else ""):
            continue
        if extra is None:
            core.append(requirement)
        elif requirement.name != "samft":  # an extra that is made of others
            extras.setdefault(extra[1], []).append(requirement)
    python = str(about.json.get("requires_python", ""))
    return Requirements(python=python, core=core, extras=extras)


def installed_version(package: str) -> str | None:
    """Return the version of a package, or `None` if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_malware() -> list[str]:
    """Return the packages that attack whoever imports them, with their versions."""
    return [
        f"{blocked.package} {blocked.versions[2:]}"
        for blocked in BLOCKED_BUILDS
        if blocked.is_malware and _is_in(installed_version(blocked.package), blocked.versions)
    ]


def look_at_samft() -> Iterator[Row]:
    """Say which samft and Python run, and whether the metadata is that of this samft."""
    needed = read_requirements()
    recorded = installed_version("samft")
    stale = needed is not None and recorded != samft.__version__
    yield Row(
        group="packages",
        name="samft",
        status="warn" if needed is None or stale else "ok",
        found=samft.__version__ + (f", but installed as {recorded}" if stale else ""),
        expected="installed as a package" if needed is None else "",
        advice="" if recorded == samft.__version__ else f"{_UNSURE}: {_FROM_SOURCE}",
    )
    supported = needed.python if needed else ""
    running = platform.python_version()
    fits = not supported or _is_in(running, supported)
    yield Row(
        group="packages",
        name="python",
        status="ok" if fits else "error",
        found=f"{running} ({platform.python_implementation()}, {platform.machine()})",
        expected=supported,
        advice="" if fits else "make an environment with a newer Python",
    )


def look_at_core() -> Iterator[Row]:
    """Compare every package that samft always needs with its supported range."""
    needed = read_requirements()
    for requirement in needed.core if needed else ():
        found = installed_version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        yield Row(
            group="packages",
            name=requirement.name,
            status="ok" if fits else "error",
            found=found or "not installed",
            expected=str(requirement.specifier),
            advice="" if fits else f'pip install "{requirement.name}{requirement.specifier}"',
        )


def look_at_extras() -> Iterator[Row]:
    """Say which extras are installed; one that is not is no fault."""
    needed = read_requirements()
    for extra, requirements in sorted(needed.extras.items() if needed else ()):
        if extra in _NOT_FOR_USERS:
            continue
        found = {item.name: installed_version(item.name) for item in requirements}
        missing = [name for name, there in found.items() if there is None]
        misfits = [
            item
            for item in requirements
            if (there := found[item.name]) is not None
            and not item.specifier.contains(there, prereleases=True)
        ]
        words = [f"{name} {there}" for name, there in found.items() if there is not None]
        if missing:
            words.append(f"not installed: {', '.join(missing)}")
        install = f'pip install "samft[{extra}]"'
        yield Row(
            group="packages",
            name=f"extra {extra}",
            status="warn" if misfits else "ok",
            found=", ".join(words),
            expected=", ".join(f"{item.name}{item.specifier}" for item in misfits),
            advice=f"to use it: {install}" if missing else install if misfits else "",
        )


def look_at_blocked(builds: Iterable[BlockedBuilds] = BLOCKED_BUILDS) -> Iterator[Row]:
    """Name what is installed and must not be used; one row of praise if there is nothing."""
    named: set[str] = set()
    for blocked in builds:
        found = installed_version(blocked.package)
        if blocked.package in named or not _is_in(found, blocked.versions):
            continue
        named.add(blocked.package)
        advice = f"pip install --upgrade {blocked.package}"
        if blocked.is_malware:
            advice = "uninstall it, and change every password and token this machine could read"
        yield Row(
            group="packages",
            name=f"blocked build of {blocked.package}",
            status=blocked.status,
            found=f"{found}: {blocked.reason}",
            expected=f"not {blocked.package}{blocked.versions}",
            advice=advice,
        )
    if not named:
        yield Row(group="packages", name="blocked builds", status="ok", found="none installed")


def look_at_conflicts(conflicts: Iterable[Conflict] = CONFLICTS) -> Iterator[Row]:
    """Name packages that do not go together, and packages that are there twice."""
    clean = True
    for conflict in conflicts:
        found = {name: there for name in conflict.packages if (there := installed_version(name))}
        if len(found) < 2 or (conflict.same_version_is_fine and len(set(found.values())) == 1):
            continue
        clean = False
        yield Row(
            group="packages",
            name="conflicting packages",
            status=conflict.status,
            found=" and ".join(f"{name} {there}" for name, there in found.items()),
            expected=f"one of them: {conflict.reason}",
            advice=conflict.advice,
        )
    for name in _TWICE:
        versions = sorted({item.version for item in distributions(name=name)})
        if len(versions) > 1:
            clean = False
            yield Row(
                group="packages",
                name="conflicting packages",
                status="error",
                found=f"{name} twice: {' and '.join(versions)}",
                expected="one version on the search path",
                advice=f"pip uninstall {name} until none is left, then install it once",
            )
    if clean:
        yield Row(group="packages", name="conflicting packages", status="ok", found="none")


def _applies(requirement: Requirement, extra: str) -> bool:
    environment = {name: str(value) for name, value in default_environment().items()}
    return requirement.marker is None or requirement.marker.evaluate(
        {**environment, "extra": extra}
    )


def _is_in(found: str | None, versions: str) -> bool:
    return found is not None and SpecifierSet(versions).contains(found, prereleases=True)
