"""YAML that is larger than it looks, contains itself, or asks for more than plain data."""

from pathlib import Path

import pytest
import yaml

from samft.data.readers import yaml_files
from samft.data.readers.yaml_files import YAML_ERRORS, load_yaml, problem_in, read_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9)
)


def problem(text: str) -> str:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(text)
    found = problem_in(caught.value)
    assert "\n" not in found
    assert len(found) < 200
    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "model: {lr: 1e-4, layers: [1, 2.5, null, true], when: 2024-01-01}\n",
        "base: &base {a: 1}\ndata:\n  <<: *base\n  b: *base\nlist: [*base, *base]\n",
    ],
)
def test_what_is_sound_is_read_as_pyyaml_does(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", [LAUGHS, MERGES])
def test_aliases_of_aliases(text: str) -> None:
    assert problem(text) == "more than 1000000 parts, aliases written out"


def test_a_document_that_contains_itself() -> None:
    assert problem("a: &a [1, *a]") == "a part of the document contains itself"
    assert problem("&a {b: {c: *a}}") == "a part of the document contains itself"


@pytest.mark.parametrize("depth", [150, 400])
def test_parts_in_parts(depth: int) -> None:
    assert "deep" in problem("[" * depth + "]" * depth) or "recursion" in problem("[" * depth)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [true]",
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 2001-99-99",
        "a: " + "9" * 5000,
        "{[1, {}]: 2}",
        "a: *nothing",
        "a: [1",
        "a: 1\n---\nb: 2\n",
        "\x00",
    ],
)
def test_what_cannot_be_read(text: str) -> None:
    assert problem(text)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [1, 2]")
    assert read_yaml(path) == {"a": [1, 2]}
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(YAML_ERRORS):
        read_yaml(path)
    with pytest.raises(YAML_ERRORS):
        read_yaml(tmp_path / "none.yaml")
    monkeypatch.setattr(yaml_files, "_MOST_BYTES", 10)
    path.write_text("a: " + "x" * 20)
    with pytest.raises(ValueError, match="23 bytes, at most 10 are read"):
        read_yaml(path)
