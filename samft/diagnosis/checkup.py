"""All checks in their order, and the result of running them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import samft
from samft.diagnosis import machine, switches
from samft.diagnosis.private_names import NameRemover
from samft.diagnosis.rows import Check, Row, Status, run_checks, worst

FORMAT, VERSION = "samft-doctor", 1
_OTHER_DISK: Final = "free some, or choose another folder with "


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found.

    Args:
        rows: In the order of the checks.
    """

    rows: Sequence[Row]

    @property
    def status(self) -> Status:
        """The worst of all rows."""
        return worst(self.rows)

    def count(self, status: Status) -> int:
        """Return how many rows have a status."""
        return sum(row.status == status for row in self.rows)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return it as plain data: what `samft doctor --json` prints."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "samft": samft.__version__,
            "status": self.status,
            "counts": {status: self.count(status) for status in ("error", "warn", "ok")},
            "checks": [row.to_dict() for row in self.rows],
        }


def examine(
    *,
    runs: Path = Path("runs"),
    run: Path | None = None,
    data: Path | None = None,
    keep_names: bool = False,
) -> Diagnosis:
    """Look at everything; nothing is sent anywhere and nothing is written but temporary files.

    Packages that are known to attack whoever imports them are found without importing anything;
    then everything that would import them is left out.

    Args:
        runs: Folder of the runs.
        run: A run to look at.
        data: A data folder to look at.
        keep_names: Leave the home folder, user and machine by name in the texts.
    """
    rows = run_checks(plain_checks(runs))
    malware = _malware()
    if malware:
        rows.append(
            Row(
                group="training",
                name="training",
                status="error",
                found=f"not tried: {', '.join(malware)} would run",
                expected="no malware",
                advice="see the blocked builds",
            )
        )
    else:
        rows += run_checks(importing_checks(run, data))
    if keep_names:
        return Diagnosis(rows=tuple(rows))
    remover = NameRemover()
    return Diagnosis(rows=tuple(remover.row(row) for row in rows))


def plain_checks(runs: Path) -> list[Check]:
    """Return the checks that need neither torch nor Lightning."""
    return [
        *(
            Check(group="packages", name=name, look=partial(_packages, f"look_at_{name}"))
            for name in ("samft", "blocked", "conflicts", "core", "extras")
        ),
        Check(group="machine", name="cpu cores", look=machine.look_at_cores),
        Check(group="machine", name="shared memory", look=machine.look_at_shared_memory),
        Check(group="machine", name="open files", look=machine.look_at_descriptors),
        Check(group="machine", name="temporary files", look=machine.look_at_temporary_folder),
        Check(group="machine", name="environment variables", look=switches.look_at_variables),
        Check(
            group="storage",
            name="runs folder",
            look=partial(machine.look_at_folder, runs, "runs folder", _OTHER_DISK + "--runs"),
        ),
        Check(group="storage", name="cache folder", look=_cache_folder),
    ]


def importing_checks(run: Path | None, data: Path | None) -> list[Check]:
    """Return the checks that need torch, and at the end Lightning; imported when they run."""
    given = {"run": run, "data": data}
    return [
        Check(group="devices", name="devices", look=partial(_late, "devices", "devices")),
        Check(group="devices", name="torch threads", look=partial(_late, "devices", "threads")),
        Check(group="devices", name="precision", look=partial(_late, "devices", "precision")),
        Check(group="storage", name="weights", look=partial(_late, "storage", "weights")),
        Check(
            group="storage", name="cached embeddings", look=partial(_late, "storage", "embeddings")
        ),
        Check(group="processes", name="backends", look=partial(_late, "processes", "backends")),
        Check(
            group="processes",
            name="network interfaces",
            look=partial(_late, "processes", "interfaces"),
        ),
        Check(group="processes", name="host name", look=partial(_late, "processes", "host_name")),
        Check(group="training", name="training", look=partial(_late, "trial", "training")),
        *(
            Check(group="given", name=name, look=partial(_late, "given", name, path))
            for name, path in given.items()
            if path is not None
        ),
    ]


def _late(module: str, name: str, *arguments: Path) -> list[Row]:
    """Import a module of this folder and return what one of its checks finds."""
    from importlib import import_module

    found = import_module(f"samft.diagnosis.{module}")
    return list(getattr(found, f"look_at_{name}")(*arguments))


def _packages(name: str) -> list[Row]:
    return _late("packages", name.removeprefix("look_at_"))


def _malware() -> list[str]:
    try:
        from samft.diagnosis.packages import installed_malware
    except ImportError:  # the package that reads version numbers is missing: reported as a row
        return []
    return installed_malware()


def _cache_folder() -> list[Row]:
    from samft.models.cache import weights_dir

    folder = weights_dir().parent
    return list(machine.look_at_folder(folder, "cache folder", _OTHER_DISK + "SAMFT_CACHE"))
