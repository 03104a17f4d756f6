"""The rows of a diagnosis, and how a check that fails becomes one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Status = Literal["ok", "warn", "error"]
Group = Literal["packages", "machine", "devices", "storage", "processes", "training", "given"]

WORST_FIRST: Final[tuple[Status, ...]] = ("error", "warn", "ok")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one check found.

    Args:
        group: The part of the machine it is about.
        name: What was looked at; the same on every machine.
        status: `error` if samft cannot work or is not safe here, `warn` if something will be slow
            or fail under load.
        found: What there is.
        expected: What there should be; empty where nothing in particular is expected.
        advice: What to do; empty if nothing.
    """

    group: Group
    name: str
    status: Status
    found: str
    expected: str = ""
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return the row as plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A small function that looks at one thing.

    Args:
        group: See `Row`.
        name: Its name, for the row that says that it failed.
        look: Returns what it found.
    """

    group: Group
    name: str
    look: Callable[[], Iterable[Row]]


def run_checks(checks: Sequence[Check]) -> list[Row]:
    """Run every check; one that raises becomes a row of its own and stops none of the others.

    Args:
        checks: In the order in which they run.
    """
    rows: list[Row] = []
    for check in checks:
        try:
            rows.extend(check.look())
        except Exception as error:  # noqa: BLE001  (whatever is broken is what was looked for)
            rows.append(_failed(check, error))
    return rows


def worst(rows: Iterable[Row]) -> Status:
    """Return the worst status there is; `ok` of no rows."""
    found = {row.status for row in rows}
    return next((status for status in WORST_FIRST if status in found), "ok")


def _failed(check: Check, error: Exception) -> Row:
    lines = str(error).strip().splitlines() or [""]
    missing = isinstance(error, ImportError)
    advice = "install samft again: pip install --upgrade samft" if missing else ""
    return Row(
        group=check.group,
        name=check.name,
        status="error",
        found=f"{type(error).__name__}: {lines[0][:200]}".rstrip(": "),
        expected="a check that runs to its end",
        advice=getattr(error, "fix", None) or advice or "please report it, with this table",
    )
