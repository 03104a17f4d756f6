"""The front door: answers `--help` and `--version` at once and hands everything else on.

Only the standard library is imported here, because importing torch and Lightning takes seconds.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from samft import __version__
from samft.errors import ConfigError, SamftError, did_you_mean

COMMANDS = {
    "fit": "train on your images: samft fit --config recipes/medical.yaml --data.root DIR; "
    "with --plan, say what that takes",
    "validate": "score a checkpoint on the validation split",
    "test": "a run beside zero-shot, baselines and other runs on the same cases: samft test RUN",
    "baseline": "a U-Net on a run's own data for its own time, for samft test to compare with",
    "report": "a run as one HTML page with tables, curves and pictures, and as a model card",
    "zeroshot": "the SAM paper's experiments: samft zeroshot point | edges | proposals | ...",
    "ratings": "sheets for people to rate masks from 1 to 10, and their analysis",
    "resume": "go on with a stopped run exactly where it was: samft resume RUN",
    "predict": "masks for images and prompts: samft predict RUN --source DIR --prompts FILE",
    "check": "every problem of a data set, each with its fix: samft check DIR --preview sheet.png",
    "cache": "stored embeddings of frozen encoders: samft cache build | info | clear",
    "merge": "a run as a stock SAM file, or as a small adapter: samft merge RUN OUT.pth",
    "export": "a run for other tools, read back and compared: samft export RUN --to onnx",
    "convert": "tensors of an old pickled checkpoint you trust, as safetensors",
    "doctor": "is everything here that training needs: versions, devices, disk, three seconds",
    "recipes": "list, show or copy the recipes that come with samft",
    "demo": "the quick start: train on a packaged CT scan, offline, in about two minutes",
}
LIGHTNING_COMMANDS = ("fit", "validate", "test")
DEBUG_VARIABLE = "SAMFT_DEBUG"
OFFLINE_FLAG, OFFLINE_VARIABLE = "--offline", "SAMFT_OFFLINE"
PLOT_VARIABLE = "MPLBACKEND"

OK, USER_ERROR, MACHINE_ERROR, INTERRUPTED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program name; default those of the process.

    Returns:
        0 done, 1 done with findings, 2 the user's mistake, 3 the machine's, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A notebook names its own, which matplotlib does not find in another environment.
    os.environ[PLOT_VARIABLE] = "agg"
    try:
        return _dispatch(arguments)
    except SamftError as error:
        _show(f"{type(error).__name__}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _show("interrupted")
        return INTERRUPTED
    except SystemExit as exit_request:
        return exit_request.code if isinstance(exit_request.code, int) else USER_ERROR
    except Exception as error:  # noqa: BLE001  (the last line of defence: no traceback for users)
        if _is_out_of_memory(error):
            _show("out of memory: lower --data.batch_size, or set --model.checkpoint_blocks true")
            return MACHINE_ERROR
        better = _explained(error)
        if better is not None:
            _show(f"{type(better).__name__}: {better}")
            return better.exit_code
        _show(f"unexpected {type(error).__name__}: {error}".splitlines()[0])
        _show(f"  this looks like a defect of samft; {DEBUG_VARIABLE}=1 shows where it happened")
        return MACHINE_ERROR


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or a GPU has none left; torch's class is known by name alone here."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _explained(error: Exception) -> SamftError | None:
    """Return what an error means that torch raises for a lost process, wherever it comes up."""
    if not isinstance(error, RuntimeError):
        return None
    explained: Callable[[Exception], SamftError | None]
    explained = import_module("samft.data.worker_errors").explained
    return explained(error)


def _dispatch(arguments: list[str]) -> int:
    arguments = _command_first(_without_offline(arguments))
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return OK
    if arguments[0] in ("-V", "--version"):
        print(f"samft {__version__}")
        return OK
    command, *rest = arguments
    if command not in COMMANDS:
        raise ConfigError(f"unknown command {command!r}", fix=did_you_mean(command, COMMANDS))
    module = "lightning" if command in LIGHTNING_COMMANDS else f"commands.{command}"
    run: Callable[[list[str]], int] = import_module(f"samft.cli.{module}").main
    return run(arguments if command in LIGHTNING_COMMANDS else rest)


def _without_offline(arguments: list[str]) -> list[str]:
    """Take `--offline` out of the arguments; it holds for everything this process does."""
    if OFFLINE_FLAG in arguments:
        os.environ[OFFLINE_VARIABLE] = "1"
    return [word for word in arguments if word != OFFLINE_FLAG]


def _command_first(arguments: list[str]) -> list[str]:
    """Accept `samft --config x fit` as `samft fit --config x`."""
    if not arguments or arguments[0] not in ("-c", "--config"):
        return arguments
    at = next((i for i, word in enumerate(arguments) if word in COMMANDS), None)
    if at is None:
        return arguments
    return [arguments[at], *arguments[:at], *arguments[at + 1 :]]


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"samft {__version__}: fine-tune the Segment Anything Model on your own images",
            "",
            "usage: samft COMMAND [options]",
            "",
            *lines,
            "",
            "samft COMMAND --help explains a command; start with: samft demo",
            "--offline with any command: never download anything",
        ]
    )


def _show(text: str) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1" and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(text, file=sys.stderr)
