"""metrics.csv: continued, not truncated, and replaced as a whole."""

import csv
from pathlib import Path

import pytest

from samft.callbacks import metrics_log
from samft.callbacks.metrics_log import Resumed, RunLog, read_rows


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


def write(folder: Path, resumed: Resumed | None, rows: list[dict[str, float]]) -> None:
    log = RunLog(folder, resumed)
    for row in rows:
        log.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))
    log.save()


FIRST = [
    {"step": 0, "loss": 3.0},
    {"step": 1, "loss": 2.0},
    {"step": 1, "val/iou": 0.5},
    {"step": 2, "loss": 1.0},
]


def test_a_new_run_starts_a_new_file(tmp_path: Path) -> None:
    write(tmp_path / "0", None, FIRST)
    write(tmp_path / "0", None, FIRST[:1])
    assert len(rows_of(tmp_path / "0")) == 1
    assert RunLog(tmp_path / "0").log_dir == str(tmp_path / "0")


@pytest.mark.parametrize(
    ("resumed", "kept"),
    [
        (Resumed(steps=3), 4),
        (Resumed(steps=2), 3),
        (Resumed(steps=2, validates=True), 2),
        (Resumed(steps=1), 1),
        (Resumed(steps=0), 0),
    ],
)
def test_rows_of_what_is_done_stay(tmp_path: Path, resumed: Resumed, kept: int) -> None:
    write(tmp_path, None, FIRST)
    write(tmp_path, resumed, [{"step": 7, "loss": 0.1, "speed": 9.0}])
    found = rows_of(tmp_path)
    assert [row["step"] for row in found] == [str(r["step"]) for r in FIRST[:kept]] + ["7"]
    assert found[-1]["speed"] == "9.0"
    if kept > 2:
        assert found[2]["val/iou"] == "0.5"


def test_a_line_cut_short_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, None, FIRST)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.")
    write(tmp_path, Resumed(steps=3), [{"step": 3, "loss": 0.5}])
    assert [row["step"] for row in rows_of(tmp_path)] == ["0", "1", "1", "2", "3"]


def test_a_full_disk_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = RunLog(tmp_path)
    log.log_metrics({"loss": 1.0}, step=0)
    log.save()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log.log_metrics({"loss": 0.5, "new": 1.0}, step=1)
    monkeypatch.setattr(metrics_log, "write_atomically", fail)
    log.save()
    assert "cannot be written now" in caplog.text
    assert len(rows_of(tmp_path)) == 1
    monkeypatch.undo()
    log.save()
    assert [(row["step"], row["new"]) for row in rows_of(tmp_path)] == [("0", ""), ("1", "1.0")]


def test_what_no_table_has_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,loss\n1,0.5\n\u00b2,1\n{'9' * 5000},1\n2,{'x' * 200_000}\n3,1\n")
    assert [row["step"] for row in read_rows(path)] == ["1", "\u00b2", "9" * 5000]
    assert [Resumed(steps=9).keeps(row) for row in read_rows(path)] == [True, False, False]
    write(tmp_path, Resumed(steps=9), [{"step": 9, "loss": 0.1}])
    assert [row["step"] for row in rows_of(tmp_path)] == ["1", "9"]
