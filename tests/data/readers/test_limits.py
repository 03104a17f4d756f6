"""Limits and the errors of damaged files."""

from pathlib import Path

import pytest

from samft.data.readers.limits import check_declared_size, max_bytes, reading
from samft.errors import ConfigError, DatasetError


def test_limit_from_the_environment(monkeypatch) -> None:
    assert max_bytes() == 2 * 1024**3
    monkeypatch.setenv("SAMFT_MAX_BYTES", "123")
    assert max_bytes() == 123


@pytest.mark.parametrize("text", ["2GB", "-1", "0", "1e9"])
def test_limit_that_is_no_number(monkeypatch, text: str) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", text)
    with pytest.raises(ConfigError, match="not a number of bytes") as caught:
        max_bytes()
    assert repr(text) in str(caught.value)


def test_declared_sizes() -> None:
    check_declared_size(Path("a"), (1024, 1024, 1024), 2)
    with pytest.raises(DatasetError, match=r"1024 x 1024 x 1025 values, 2.00 GB"):
        check_declared_size(Path("a"), (1024, 1024, 1025), 2)
    for shape in ((), (0, 3), (-5, -5)):
        with pytest.raises(DatasetError, match="impossible size"):
            check_declared_size(Path("a"), shape, 1)


def test_long_reasons_are_cut_to_one_line() -> None:
    with pytest.raises(DatasetError) as caught, reading(Path("a.png"), "an image"):
        raise ValueError("line one\nline two " + "x" * 500)
    assert len(str(caught.value).splitlines()) == 3
    assert "line one line two" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_samft_errors_and_bugs_pass_through() -> None:
    original = DatasetError("mine")
    with pytest.raises(DatasetError) as caught, reading(Path("a"), "x"):
        raise original
    assert caught.value is original
    with pytest.raises(AssertionError), reading(Path("a"), "x"):
        raise AssertionError
    with pytest.raises(DatasetError, match="may not be read"), reading(Path("a"), "x"):
        raise PermissionError
