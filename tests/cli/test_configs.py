"""Configuration files: found by path or by packaged name, checked before the parser sees them."""

from pathlib import Path

import pytest

from samft.cli.configs import (
    find_config,
    read_config,
    resolve_config_arguments,
    values_to_give,
)
from samft.errors import ConfigError


def test_a_path_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: {}\n")
    assert find_config(str(path)) == path


def test_packaged_recipe_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("recipes/quickstart.yaml").is_file()
    assert find_config("configs/trainer/cpu.yaml").is_file()


@pytest.mark.parametrize("name", ["recipes/quickstrat.yaml", "recipes/../pyproject.toml", "x"])
def test_missing_file_lists_what_there_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"configuration file not found\n  where: .*") as caught:
        find_config(name)
    assert "recipes/quickstart.yaml" in str(caught.value)


def test_unknown_section_even_when_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("modle: {}\n")
    with pytest.raises(ConfigError, match=r"unknown section 'modle'") as caught:
        read_config(path)
    assert "did you mean 'model'" in str(caught.value)
    assert str(path) in str(caught.value)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: {a: 1\ndata: {}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml, line 2"):
        read_config(path)


def test_a_list_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        read_config(path)


def test_empty_file_is_an_empty_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert read_config(path) == {}


def test_arguments_keep_their_order(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("model: {}\n")
    b.write_text("data: {}\n")
    words = ["fit", "--config", str(a), "--data.root", "x", f"--config={b}", "-c", str(a)]
    assert resolve_config_arguments(words) == [
        *["fit", "--config", str(a), "--data.root", "x"],
        *["--config", str(b), "-c", str(a)],
    ]


def test_values_to_give_are_named_as_options() -> None:
    config = {"data": {"class_path": "x", "init_args": {"root": "???", "n": 1}}, "a": "???"}
    assert list(values_to_give(config)) == ["data.root", "a"]
