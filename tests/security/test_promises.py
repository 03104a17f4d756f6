"""SECURITY.md names, for every promise, tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# What each line of the issue asks for, as words of a promise.
ASKED = (
    *("never runs code", "samft convert", "No pickle", "cannot exhaust memory", "in part"),
    *("Named weights", "No network", "No telemetry", "Names in data sets", "Archives"),
    *("Results stay", "Images cannot", "Volumes cannot", "Label files", "Patients"),
)


def promises() -> dict[str, list[tuple[str, str]]]:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    table = text.partition("## What samft promises")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {row[0].strip(): NAMED.findall(row[-1]) for row in rows[2:]}


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("promise", promises())
def test_every_promise_has_tests_that_exist(promise: str) -> None:
    named = promises()[promise]
    assert named, "no test holds it"
    lost = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert not lost


@pytest.mark.parametrize("words", ASKED)
def test_nothing_that_was_asked_for_is_missing(words: str) -> None:
    assert any(words in promise for promise in promises())


def test_no_test_is_named_without_its_file() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    loose = [word for word in re.findall(r"`(tests/[^`]*)`", text) if "::" not in word]
    assert loose == ["tests/security/test_promises.py"]
    assert len(promises()) >= 25


def test_held_tests_are_not_skipped_or_expected_to_fail() -> None:
    for named in promises().values():
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                    assert "skip(" not in marks
                    assert "xfail" not in marks
