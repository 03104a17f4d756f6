"""`samft doctor`: the whole of it, on this machine."""

import io
import json
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from samft.cli.commands.doctor import main
from samft.cli.doctor_report import show, summary
from samft.diagnosis import checkup, devices, trial
from samft.diagnosis.checkup import Diagnosis
from samft.diagnosis.rows import Row

KEYS = {"format", "version", "samft", "status", "counts", "checks"}
COLUMNS = {"group", "name", "status", "found", "expected", "advice"}
ALWAYS = {
    *("samft", "python", "torch", "lightning", "blocked builds", "conflicting packages"),
    *("cpu cores", "open files", "temporary files", "environment variables", "runs folder"),
    *("cache folder", "memory", "gpu", "torch threads", "bf16 on cpu", "fp16 on cpu"),
    *("weights vit_nano", "weights not here", "cached embeddings", "backends"),
    *("network interfaces", "host name", "training"),
}

_opened: list[tuple[str, str]] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby")):
        _opened.append((event, str(arguments[0 if writes else -1])))


sys.addaudithook(_hook)  # can never be taken away again, so it listens only when told


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    """The report as JSON, with everything that was opened for writing or asked of a network."""
    global _opened  # noqa: PLW0603
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("doctor")
        patch.setenv("SAMFT_CACHE", str(place / "cache"))
        patch.setattr(devices, "_BUDGET_S", 0.01)
        patch.setattr(trial.look_at_training, "__defaults__", (0.0, None))
        _opened = []
        diagnosis = checkup.examine(runs=place / "runs")
        done, _opened = _opened, None
        left = list(place.rglob("*"))
    return {**diagnosis.to_dict(), "opened": done, "left": left}


def test_the_schema(report) -> None:
    assert report.keys() >= KEYS
    assert (report["format"], report["version"]) == ("samft-doctor", 1)
    assert set(report["counts"]) == {"ok", "warn", "error"}
    assert sum(report["counts"].values()) == len(report["checks"])
    for row in report["checks"]:
        assert row.keys() == COLUMNS
        assert all(isinstance(value, str) for value in row.values())
        assert row["status"] in {"ok", "warn", "error"}
        assert row["status"] == "ok" or row["advice"], row
    assert ALWAYS - {"gpu", "bf16 on cpu", "fp16 on cpu"} <= {r["name"] for r in report["checks"]}


def test_every_check_ran_to_its_end(report) -> None:
    broken = [row for row in report["checks"] if row["expected"] == "a check that runs to its end"]
    assert not broken


def test_training_was_tried(report) -> None:
    (row,) = (row for row in report["checks"] if row["name"] == "training")
    assert row["status"] == "ok", row
    assert "steps/s" in row["found"]


def test_no_network_and_no_file_outside_the_temporary_folder(report, tmp_path) -> None:
    asked = [entry for entry in report["opened"] if entry[0] != "open"]
    assert not asked
    written = [
        path
        for _, path in report["opened"]
        if "samft-doctor-" not in path
        and not path.endswith(".pyc")
        and "/dev/" not in path
        and not path.isdecimal()
        and path != tempfile.gettempdir()
        and "__pycache__" not in path
    ]
    assert not written
    assert not report["left"]


def test_names_of_person_and_machine_are_not_in_it(report) -> None:
    text = json.dumps(report["checks"])
    home = str(Path.home())
    assert len(home) <= 1 or home not in text
    if socket.gethostname() != "localhost":
        assert socket.gethostname() not in text.split()


def rows(*statuses: str) -> tuple[Row, ...]:
    return tuple(
        Row(group="machine", name=f"row {i}", status=s, found=f"[{i}]", expected="x", advice="do")
        for i, s in enumerate(statuses)
    )


@pytest.mark.parametrize(
    ("statuses", "code", "line"),
    [
        (("ok",), 0, "samft works here, nothing to mend"),
        (("ok", "warn"), 0, "samft works here, with 1 warning"),
        (("ok", "warn", "error", "warn"), 1, "1 error and 2 warnings: mend the errors first"),
    ],
)
def test_exit_codes(monkeypatch, capsys, statuses, code, line) -> None:
    monkeypatch.setattr(checkup, "examine", lambda **_: Diagnosis(rows=rows(*statuses)))
    assert main([]) == code
    assert capsys.readouterr().out.rstrip().endswith(line)
    assert main(["--json"]) == code
    assert json.loads(capsys.readouterr().out)["status"] == {0: statuses[-1], 1: "error"}[code]


def test_the_worst_comes_first_and_brackets_are_shown() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    show(Diagnosis(rows=rows("ok", "error", "warn")), console)
    text = console.export_text()
    assert text.index("row 1") < text.index("row 2") < text.index("row 0")
    assert "[1] (expected: x)" in text
    assert summary(Diagnosis(rows=())) == "samft works here, nothing to mend"


def test_packages_in_range_share_a_line() -> None:
    fine = [
        Row(group="packages", name=name, status="ok", found="1.0", expected=">=1")
        for name in ("a", "b")
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    show(Diagnosis(rows=fine), console)
    assert "a 1.0, b 1.0" in console.export_text()


def test_malware_is_never_imported(monkeypatch, tmp_path) -> None:
    from samft.diagnosis import packages

    real = packages.installed_version
    monkeypatch.setattr(
        packages, "installed_version", lambda name: "2.6.3" if name == "lightning" else real(name)
    )
    monkeypatch.setattr(checkup, "importing_checks", lambda *_: pytest.fail("would import"))
    found = {row.name: row for row in checkup.examine(runs=tmp_path).rows}
    assert found["blocked build of lightning"].status == "error"
    assert "malware" in found["blocked build of lightning"].found
    assert found["training"].found == "not tried: lightning 2.6.3 would run"
