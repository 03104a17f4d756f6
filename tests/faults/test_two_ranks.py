"""Saving, ending and skipping are agreed on by all processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_two_processes_end_together_and_go_on_exactly(tmp_path: Path) -> None:
    program = Path(__file__).with_name("two_ranks.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "found.json").read_text()) == {
        "exit_code": 143,
        "step": 3,
        "same": True,
        "finite": True,
        "skipped": 1,
    }
