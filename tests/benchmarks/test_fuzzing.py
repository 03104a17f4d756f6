"""The fuzzer's own parts: what it watches, how it changes inputs, what it keeps."""

import json
import os
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

from benchmarks.fuzzing.corpus import keep, name_of, read_kept
from benchmarks.fuzzing.mutation import mutate_json, mutate_json_lines, mutate_member, mutate_yaml
from benchmarks.fuzzing.registry import find_target
from benchmarks.fuzzing.target import Finding, Target, run_input
from samft.errors import DatasetError


def target(read, **more) -> Target:
    return Target("any", "input/file.bin", read, lambda _: [b""], **more)


def test_what_a_reader_may_do(tmp_path: Path) -> None:
    def refuse(path: Path) -> object:
        raise DatasetError("the file cannot be read", where=path)

    assert run_input(target(Path.read_bytes), b"abc", tmp_path) == "read"
    assert run_input(target(refuse), b"abc", tmp_path) == "DatasetError: the file cannot be read"


def test_an_iterator_is_used_up(tmp_path: Path) -> None:
    def lazily(path: Path):
        yield path.read_bytes()
        raise ValueError("late")

    with pytest.raises(Finding, match="ValueError: late"):
        run_input(target(lazily), b"abc", tmp_path)


def outside(path: Path) -> object:
    return (path.parents[2] / "secret").read_text()


def outside_by_dots(path: Path) -> object:
    return (path.parent / ".." / ".." / "secret").read_text()


def remove(path: Path) -> object:
    (path.parents[2] / "secret").unlink()
    return None


def start(_: Path) -> object:
    return subprocess.run(["true"], check=False)


def call_the_shell(_: Path) -> object:
    return os.system("true")


def connect(_: Path) -> object:
    with socket.socket() as one:
        one.settimeout(0.01)
        one.connect(("127.0.0.1", 9))


@pytest.mark.parametrize("act", [outside, outside_by_dots, remove, start, call_the_shell, connect])
def test_what_it_may_not(tmp_path: Path, act) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(Finding, match="reached out of its folder"):
        run_input(target(act), b"", tmp_path / "scratch")
    assert (tmp_path / "secret").is_file()


def test_a_message_of_many_lines_is_a_finding(tmp_path: Path) -> None:
    class LongError(DatasetError):
        def _text(self) -> str:
            return "one\ntwo\nthree\nfour"

    def refuse(_: Path) -> object:
        raise LongError("x")

    with pytest.raises(Finding, match="4 lines"):
        run_input(target(refuse), b"", tmp_path)


def test_memory_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(Finding, match="took"):
        run_input(target(lambda _: b"x" * 2**30), b"", tmp_path)


def test_wrapping_and_other_files(tmp_path: Path) -> None:
    one = target(
        lambda path: (path.read_bytes(), (path.parent / "other").read_bytes()),
        wrap=lambda data: b"<" + data + b">",
        around={"input/other": b"beside"},
    )
    path = one.write(b"abc", tmp_path)
    assert path.read_bytes() == b"<abc>"
    assert run_input(one, b"abc", tmp_path) == "read"


DOCUMENT = {"a": [1, 2, {"b": "c"}], "d": None}


@pytest.mark.parametrize("mutate", [mutate_json, mutate_yaml])
def test_mutations_keep_the_form(mutate) -> None:
    data = json.dumps(DOCUMENT).encode()
    changed = {mutate(data, seed) for seed in range(300)}
    assert len(changed) > 200
    if mutate is mutate_json:
        for each in changed:
            json.loads(each)
    assert mutate(data, 7) == mutate(data, 7)
    assert mutate(b"{no document", 7) == b"{no document"


def test_one_line_is_changed() -> None:
    data = b'{"a": 1}\n{"b": 2}\n{"c": 3}'
    for seed in range(50):
        lines = mutate_json_lines(data, seed).split(b"\n")
        assert sum(one != other for one, other in zip(lines, data.split(b"\n"), strict=True)) <= 1


def test_one_member_is_changed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/data.pkl", b"abc")
        archive.writestr("x/other", b"def")
    mutate = mutate_member("data.pkl", lambda data, seed: data + bytes([seed]))
    (tmp_path / "b.zip").write_bytes(mutate((tmp_path / "a.zip").read_bytes(), 7))
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.read("x/data.pkl") == b"abc\x07"
        assert archive.read("x/other") == b"def"
    assert mutate(b"no archive", 7) == b"no archive"


def test_a_corpus_is_kept_the_same_each_time(tmp_path: Path) -> None:
    assert keep("one", [b"b", b"a", b"b"], tmp_path) == 2
    first = (tmp_path / "one.zip").read_bytes()
    assert dict(read_kept("one", tmp_path)) == {name_of(b"a"): b"a", name_of(b"b"): b"b"}
    keep("one", [b"a", b"b"], tmp_path)
    assert (tmp_path / "one.zip").read_bytes() == first
    assert list(read_kept("none", tmp_path)) == []


def test_an_unknown_target() -> None:
    with pytest.raises(ValueError, match="no target is called coca"):
        find_target("coca")
