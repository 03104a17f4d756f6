"""`samft report`: what it prints, what it refuses and how it says so."""

import json

import pytest

from benchmarks.report import DrawnTest, make_results, make_run
from samft.cli.commands.report import main
from samft.errors import CheckpointError, ConfigError, DatasetError, OutputError

MODELS = {"tuned": 0.85, "zero-shot": 0.7}
SMALL = DrawnTest(images=19, objects=2, clicks=1, pictures=1, edge=60, models=MODELS)


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "runs" / "ct" / "0", epochs=2)
    make_results(folder / "test", SMALL)
    return folder


def refused(kind, arguments):
    with pytest.raises(kind) as caught:
        main([str(argument) for argument in arguments])
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    return lines


def test_it_prints_the_verdict_and_the_files(run, capsys):
    assert main([str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "verdict     Training made the model better with all 3 prompts"
    assert lines[1].startswith("warning     Only 19 cases.")
    names = [line.split()[1].rpartition("/")[2] for line in lines if line.startswith("written")]
    assert names == ["report.html", "report.md", "metrics.json", "model_card.md"]


def test_an_edited_model_card_is_kept(tmp_path, capsys):
    run = make_run(tmp_path / "run", epochs=1)
    main([str(run)])
    card = run / "model_card.md"
    card.write_text(card.read_text(encoding="utf-8").replace("unknown", "mit"), encoding="utf-8")
    main([str(run)])
    assert "kept        model_card.md, because somebody edited it" in capsys.readouterr().out
    assert "license: mit" in card.read_text(encoding="utf-8")
    new = (run / "model_card.new.md").read_text(encoding="utf-8")
    assert "license: unknown  # fill in" in new
    card.unlink()
    main([str(run)])
    main([str(run)])
    assert "kept" not in capsys.readouterr().out.rpartition("verdict")[2]


def test_not_a_run_folder(tmp_path):
    lines = refused(CheckpointError, [tmp_path])
    assert lines[0] == "this folder holds no checkpoint"
    lines = refused(CheckpointError, [tmp_path / "absent"])
    assert lines[0] == "no such run folder or checkpoint"


def test_named_results_that_are_not_there(run, tmp_path):
    lines = refused(DatasetError, [run, "--results", tmp_path / "no"])
    assert lines[0] == "there are no results of a test in this folder"
    assert lines[2] == f"  fix: make them with: samft test {run} --evaluation.out {tmp_path / 'no'}"


def test_broken_json(run):
    path = run / "test" / "metrics.json"
    path.write_text('{"format": "samft-test", ', encoding="utf-8")
    lines = refused(DatasetError, [run])
    assert str(path) in lines[1]
    assert "the metrics.json of samft test" in "\n".join(lines)


@pytest.mark.parametrize(
    ("change", "where", "found", "expected"),
    [
        ({"scores": []}, "scores", "a list", "an object"),
        ({"scores": {"box": {"tuned": 1}}}, "scores.box.tuned", "a number", "an object"),
        ({"models": {}}, "models", "an object", "a list"),
        ({"models": [{"name": 1}]}, "models[0].name", "a number", "a text"),
        ({"clicks": {"tuned": {"iou": ["x"]}}}, "clicks.tuned.iou[0]", "a text", "a number"),
        ({"differences": [{"clear": "yes"}]}, "differences[0].clear", "a text", "true or false"),
        ({"gallery": [{"picture": 5}]}, "gallery[0].picture", "a number", "a text"),
    ],
)
def test_results_of_another_shape(run, change, where, found, expected):
    path = run / "test" / "metrics.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    lines = refused(DatasetError, [run])
    assert lines == [
        "the results of a test are not as samft writes them",
        f"  where: {path}, {where}, found: {found}, expected: {expected}",
        "  fix: run samft test again, or name another folder with --results DIR",
    ]


def test_results_of_another_format_or_version(run):
    path = run / "test" / "metrics.json"
    path.write_text('{"format": "coco"}', encoding="utf-8")
    lines = refused(DatasetError, [run])
    assert lines[0] == "this is not a file of test results"
    assert "found: format 'coco'" in lines[1]
    path.write_text('{"format": "samft-test", "version": 9}', encoding="utf-8")
    lines = refused(DatasetError, [run])
    assert lines[0] == "these test results are of another version of the format"
    assert lines[2] == "  fix: run samft test again with this version of samft"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"model,prompt\n", "columns model, prompt"),
        (b"", "columns none"),
        (b"model,prompt,sample_id,dice\na,b\n", "line 2: 2 values"),
        (b"model,prompt,sample_id,dice\na,b,c,x\n", "could not convert string to float: 'x'"),
        (b"\xff\xfe\x00", "codec can't decode"),
    ],
)
def test_a_broken_table_of_images(run, content, found):
    (run / "test" / "images.csv").write_bytes(content)
    lines = refused(DatasetError, [run])
    assert lines[0].startswith("the table of a test")
    assert found in lines[1]
    assert lines[2] == "  fix: run samft test again"


def test_a_broken_table_of_the_training(run):
    (run / "metrics.csv").write_bytes(b"a,b\n1,2\n")
    lines = refused(DatasetError, [run])
    assert lines[0] == "this is not the table of a training"
    assert "found: columns a, b" in lines[1]
    (run / "metrics.csv").write_bytes(b"epoch\n\xff\xff\n")
    lines = refused(DatasetError, [run])
    assert lines[0] == "the table of a training cannot be read"
    assert lines[2] == "  fix: move the file away to make the report without it"


def test_a_broken_configuration(run):
    (run / "config.fit.yaml").write_text("a: [", encoding="utf-8")
    lines = refused(ConfigError, [run])
    assert lines[0] == "the configuration of the run cannot be read"
    (run / "config.fit.yaml").write_text("- 1", encoding="utf-8")
    lines = refused(ConfigError, [run])
    assert "found: list, expected: settings by name" in lines[1]


def test_foreign_files_are_not_overwritten(run, tmp_path):
    (tmp_path / "metrics.json").write_text('{"accuracy": 1}', encoding="utf-8")
    lines = refused(OutputError, [run, "--out", tmp_path])
    assert lines[0] == "a metrics.json of something else would be overwritten"
    assert not (tmp_path / "report.html").exists()
    lines = refused(OutputError, [run, "--out", tmp_path / "metrics.json"])
    assert lines[0] == "the output folder is a file"
    lines = refused(OutputError, [run, "--out", tmp_path / "metrics.json" / "below"])
    assert lines[0] == "the output folder cannot be made"


def test_a_broken_checkpoint(run):
    (run / "checkpoints" / "best.ckpt").write_bytes(b"nothing")
    lines = refused(CheckpointError, [run])
    assert "best.ckpt" in "\n".join(lines)
