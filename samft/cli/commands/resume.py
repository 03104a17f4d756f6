"""`samft resume`: go on with a run that has stopped, exactly where it was."""

from __future__ import annotations

import argparse
import warnings
from typing import Final

from samft.cli.parser import CommandParser
from samft.errors import ConfigError

_EPILOG: Final = """\
Every other option is one of samft fit. Options that change the result are refused without
--allow-changed; so is data that has changed since the run began.

examples:
  samft resume runs/medical/0                            after a kill, Ctrl-C or a time limit
  samft resume runs/medical/0 --saving.stop_after 11:50:00    and end before the queue does
  samft resume runs/medical/0 --trainer.max_epochs 40    prolong it; what that means is said
  samft resume runs/medical/0 --data.root /new/place     the same files at another place
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options that are not those of `samft fit`."""
    parser = CommandParser(
        "samft resume", description=__doc__, epilog=_EPILOG, usage="samft resume RUN [options]"
    )
    parser.add_argument("run", help="run folder, such as runs/medical/0")
    parser.add_argument(
        "--allow-changed", action="store_true", help="go on although settings or data have changed"
    )
    return parser


def main(argv: list[str]) -> int:
    """Go on with a run; return 0 when it is finished, or was before.

    Raises:
        SamftError: if it cannot go on.
    """
    if argv and argv[0].startswith("-") and not {"-h", "--help"} & set(argv):
        raise ConfigError(
            "the run comes first", found=argv[0], expected="samft resume RUN [options]"
        )
    options, others = build_parser().parse_known_args(argv)
    return _resume(options.run, others, allow_changed=options.allow_changed)


def _resume(path: str, others: list[str], *, allow_changed: bool) -> int:
    from samft.cli.lightning import quiet, run
    from samft.cli.resuming.resume_cli import AlreadyFinished, resuming
    from samft.cli.resuming.stopped_run import find_stopped_run

    quiet()
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    stopped = find_stopped_run(path)
    words = ["fit", "--config", str(stopped.config), *others]
    if stopped.checkpoint is None:
        print(f"{stopped.folder} has no checkpoint yet: it starts from its beginning")
    else:
        words += ["--ckpt_path", str(stopped.checkpoint)]
    try:
        run(words, resuming(stopped, allow_changed=allow_changed))
    except AlreadyFinished:
        print(
            f"{stopped.folder} is finished: {stopped.epoch} epochs, {stopped.step} steps\n"
            f"  to prolong it: samft resume {stopped.folder} --trainer.max_epochs "
            f"{stopped.epoch * 2}"
        )
    return 0
