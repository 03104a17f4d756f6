"""The parser of the commands that are not Lightning's."""

from __future__ import annotations

import argparse
from typing import NoReturn

from samft.cli.messages import explain


class CommandParser(argparse.ArgumentParser):
    """A parser whose mistakes are explained as those of all other commands are.

    Args:
        prog: The command as people type it; sub-commands get theirs from argparse.
        settings: Those of `argparse.ArgumentParser`.
    """

    def __init__(self, prog: str, **settings: object) -> None:
        super().__init__(
            prog=prog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,  # type: ignore[arg-type]  # handed on as they came
        )

    def error(self, message: str) -> NoReturn:
        """Raise what the user did wrong, with the closest option there is."""
        options = [name.lstrip("-") for name in self._option_string_actions]
        raise explain(message, options)
