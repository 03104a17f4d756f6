import csv
import json
import os
from pathlib import Path

import pytest
from evaluation_tables import NAN, box_rows, facts, image_row, object_row, records

from samft.errors import MachineError, OutputError
from samft.evaluation import writing
from samft.evaluation.row_files import protected
from samft.evaluation.rows import Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.summary import Summary
from samft.evaluation.writing import write_results

OBJECTS = (
    "model,prompt,sample_id,case_id,object_id,class_name,area_px,unit,iou,dice,boundary_iou,nsd,"
    "hd95,assd,predicted_iou"
)
IMAGES = (
    "model,prompt,sample_id,case_id,class_name,num_objects,unit,iou,dice,boundary_iou,nsd,hd95,"
    "assd,f1,precision,recall,ap,pq,sq,rq,aji,aji_plus"
)


def write(rows: Rows, folder: Path, *names: str) -> Summary:
    return write_results(
        rows,
        folder=folder,
        competitors=records(*(names or ("tuned", "zero-shot"))),
        settings=EvaluationSettings(),
        data=facts(),
        reference="zero-shot",
    )


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_files(tmp_path: Path):
    rows = Rows(
        objects=[
            object_row(
                "tuned",
                "box",
                "b",
                iou=1 / 3,
                case_id="p1",
                class_name="lung",
                area=1234567,
                unit="mm",
                hd95=NAN,
                predicted_iou=-0.5,
            ),
            *box_rows({"zero-shot": [0.5], "tuned": [0.25]}, prompt="point2"),
        ],
        images=[image_row("tuned", "auto", "b", f1=0.5, ap=NAN, num_objects=7)],
    )
    folder = tmp_path / "run" / "test"
    summary = write(rows, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("images.csv", "metrics.json", "objects.csv", "objects.json")
    ]
    assert json.loads((folder / "metrics.json").read_text()) == summary.to_dict()
    assert (folder / "objects.csv").read_text().splitlines() == [
        OBJECTS,
        "tuned,box,b,p1,1,lung,1234567,mm,0.3333333,,,,,,-0.5",
        "tuned,point2,a,a,1,,100,px,0.25,,,,,,",
        "zero-shot,point2,a,a,1,,100,px,0.5,,,,,,",
    ]
    assert (folder / "images.csv").read_text().splitlines() == [
        IMAGES,
        "tuned,auto,b,b,,7,px,,,,,,,0.5,,,,,,,,",
    ]
    table = json.loads((folder / "objects.json").read_text())
    assert list(table["columns"]) == OBJECTS.split(",")
    assert table["columns"]["iou"] == [0.3333333, 0.25, 0.5]
    assert table["columns"]["hd95"] == [None, None, None]
    assert table["columns"]["object_id"] == [1, 1, 1]


def test_the_order_does_not_depend_on_who_scored_what(tmp_path: Path):
    rows = box_rows({"zero-shot": [0.1] * 3, "tuned": [0.2] * 3, "x": [0.3] * 3})
    rows += box_rows({"tuned": [0.1] * 3}, prompt="point10")
    rows += box_rows({"tuned": [0.1] * 3}, prompt="point9")
    for number, order in enumerate((rows, rows[::-1])):
        write(Rows(objects=list(order)), tmp_path / str(number))
    first, second = ((tmp_path / name / "objects.csv").read_bytes() for name in "01")
    assert first == second
    keys = [row[:3] for row in lines(tmp_path / "0" / "objects.csv")[1:]]
    prompts = list(dict.fromkeys(tuple(key[:2]) for key in keys))
    assert prompts == [
        ("tuned", "box"),
        ("tuned", "point9"),
        ("tuned", "point10"),
        ("zero-shot", "box"),
        ("x", "box"),
    ]
    assert [key[2] for key in keys[:3]] == ["a", "b", "c"]


def test_further_scores_follow(tmp_path: Path):
    rows = Rows(objects=[object_row("tuned", "box", "a", iou=0.5, zeta=1.0, alpha=2.0)])
    write(rows, tmp_path)
    header, row = lines(tmp_path / "objects.csv")
    assert header[-3:] == ["predicted_iou", "alpha", "zeta"]
    assert row[-3:] == ["", "2", "1"]


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\tx", "\rx", "\nx", '=HYPERLINK("http://a")'],
)
def test_no_name_is_a_formula(tmp_path: Path, name: str):
    rows = Rows(
        objects=[object_row(name, "box", name, iou=0.5, class_name=name, predicted_iou=-0.25)],
        images=[image_row(name, "box", name, class_name=name, dice=0.5)],
    )
    write(rows, tmp_path, name)
    for file in ("objects.csv", "images.csv"):
        (_, row) = lines(tmp_path / file)
        assert [cell for cell in row if name in cell] == [f"'{name}"] * 4
    assert lines(tmp_path / "objects.csv")[1][-1] == "-0.25"  # a number stays one
    assert json.loads((tmp_path / "objects.json").read_text())["columns"]["model"] == [name]


@pytest.mark.parametrize("name", ['a,b"c', "a\nb", "ä/ö", "b\udce4d", "x\x00y", "<b>", "'x"])
def test_odd_names_stay_one_cell(tmp_path: Path, name: str):
    write(Rows(objects=[object_row("tuned", "box", name, iou=0.5)]), tmp_path)
    header, row = lines(tmp_path / "objects.csv")
    assert len(header) == len(row)
    expected = name.encode("utf-8", "backslashreplace").decode()
    assert row[2] == expected
    assert json.loads((tmp_path / "objects.json").read_text())["columns"]["sample_id"] == [name]


def test_plain_text_is_not_touched():
    assert [protected(text) for text in ("case 1", "1-2", "", "'=x")] == [
        "case 1",
        "1-2",
        "",
        "'=x",
    ]


def test_no_rows_still_are_results(tmp_path: Path):
    write(Rows(), tmp_path)
    assert (tmp_path / "objects.csv").read_text() == f"{OBJECTS}\n"
    assert json.loads((tmp_path / "objects.json").read_text())["columns"]["iou"] == []
    assert json.loads((tmp_path / "metrics.json").read_text())["scores"] == {}


def test_new_results_replace_old_ones_and_their_pictures(tmp_path: Path):
    write(Rows(objects=box_rows({"tuned": [0.5]})), tmp_path)
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "best_01.jpg").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    write(Rows(objects=box_rows({"tuned": [0.75]})), tmp_path)
    assert lines(tmp_path / "objects.csv")[1][8] == "0.75"
    assert not (tmp_path / "gallery").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_interrupted_write_leaves_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(Rows(objects=box_rows({"tuned": [0.5]})), tmp_path)
    (tmp_path / "gallery").mkdir()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def stopped(path: Path, summary: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_write_metrics", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(Rows(objects=box_rows({"tuned": [0.75]})), tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before
    assert (tmp_path / "gallery").is_dir()
    assert not (tmp_path / ".results.part").exists()


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, summary: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(writing, "_write_metrics", full)
    with pytest.raises(MachineError) as caught:
        write(Rows(), tmp_path)
    assert str(caught.value) == (
        f"a result could not be written\n  where: {tmp_path}, found: No space left on device"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_for_results(tmp_path: Path):
    place = tmp_path / "test"
    place.write_text("mine")
    with pytest.raises(OutputError) as caught:
        write(Rows(), place)
    assert str(caught.value).splitlines() == [
        "the folder for the results is a file",
        f"  where: {place}",
        "  fix: choose another --out",
    ]
    assert place.read_text() == "mine"
