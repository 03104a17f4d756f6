"""The words of `samft test RUN [MORE ...] [options]`, of which Lightning knows only the options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from samft.errors import ConfigError

HELP: Final = """\
samft test RUN [MORE ...] [options]: RUN is a run folder or a checkpoint; MORE are other runs,
checkpoints, weights files, named models or baselines that are to answer as well. The results go to
RUN/test, or to --evaluation.out.
"""
_CHECKPOINT = "--ckpt_path"


def split_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Turn the run in front of the options into `--ckpt_path`, and take the others out.

    Args:
        arguments: `test` and what was typed after it.

    Returns:
        `test` with options alone, and what else is to answer.

    Raises:
        ConfigError: if a run is given in both ways.
    """
    command, *words = arguments
    count = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    given, options = words[:count], words[count:]
    if not given:
        return [command, *options], []
    if any(word.partition("=")[0] == _CHECKPOINT for word in options):
        raise ConfigError(
            "the run is given twice",
            where="samft test",
            found=f"{given[0]} and {_CHECKPOINT}",
            fix="samft test RUN [MORE ...] needs no --ckpt_path",
        )
    run, *more = given
    return [command, _CHECKPOINT, run, *options], more
