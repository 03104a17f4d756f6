"""Optional packages: imported when there, explained when not."""

import json
import sys
from types import ModuleType

import pytest

from samft._deps import require
from samft.errors import DependencyError


def test_returns_the_module() -> None:
    assert require("json", extra="medical", purpose="read") is json


def test_names_the_extra() -> None:
    with pytest.raises(DependencyError) as caught:
        require("no_such_package_xyz", extra="medical", purpose="read NIfTI files")
    shown = str(caught.value)
    assert "'no_such_package_xyz' is needed to read NIfTI files" in shown
    assert 'pip install "samft[medical]"' in shown


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_package_xyz.py").write_text("import no_such_dependency_xyz\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency_xyz") as caught:
        require("broken_package_xyz", extra="medical", purpose="read")
    assert not isinstance(caught.value, DependencyError)
    assert not isinstance(sys.modules.get("broken_package_xyz"), ModuleType)
