"""A training whose disk is slow: run by `test_slow_disk.py` as a program.

`python slow_disk.py FOLDER` says `waiting` when half of the third checkpoint is written, and stays
there.
"""

import io
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults.tiny_run import fit

from samft import safe_checkpoint
from samft.callbacks.saving import Saving

SAVED = 2  # before the disk becomes slow


def main(folder: Path) -> None:
    save, written = torch.save, []

    def slowly(content: object, file) -> None:
        written.append(file)
        if len(written) <= SAVED:
            save(content, file)
            return
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        time.sleep(120)

    safe_checkpoint.torch.save = slowly
    fit(folder, Saving(every_minutes=0, every_n_steps=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
