"""The script in `examples/` works as it stands."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "plain_lightning.py"


def test_plain_script(dsb_folder: Path, tmp_path: Path) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    module = main(str(dsb_folder), max_epochs=2, out=str(tmp_path))
    assert len(module.history) == 2
    assert "val/iou_box" in module.zero_shot


def test_it_is_short() -> None:
    code = [line for line in SCRIPT.read_text().splitlines() if line.strip()]
    assert len(code) <= 34
