"""Filling in what a run folder knows, so that `samft test --ckpt_path RUN` is enough."""

from __future__ import annotations

from collections.abc import Sequence

from samft.runs import load_run

_CHECKPOINT = "--ckpt_path"


def complete_from_run(arguments: Sequence[str]) -> list[str]:
    """Turn a run folder given as `--ckpt_path` into its checkpoint and its configuration.

    `fit` goes on from the last checkpoint; the other commands use the best one.

    Args:
        arguments: A subcommand and its options.

    Returns:
        The same, with the path of the checkpoint, and with `--config` of the run right after the
        subcommand when neither a configuration nor a model was given.

    Raises:
        CheckpointError: if the path is neither a run folder nor a file.
    """
    command, *options = arguments
    at = _position(options)
    if at is None:
        return list(arguments)
    given = options[at].partition("=")[2] or options[at + 1]
    run = load_run(given, which="last" if command == "fit" else "best")
    taken = 1 if "=" in options[at] else 2
    options[at : at + taken] = [_CHECKPOINT, str(run.checkpoint)]
    words = {word.partition("=")[0] for word in options}
    if run.config is not None and not words & {"--config", "-c", "--model"}:
        options = ["--config", str(run.config), *options]
    return [command, *options]


def _position(options: Sequence[str]) -> int | None:
    for index, word in enumerate(options):
        if word.startswith(f"{_CHECKPOINT}=") and not word.endswith("="):
            return index
        if word == _CHECKPOINT and index + 1 < len(options):
            return index
    return None
