"""Which names a report may show: by default no file names, folders or users."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_DIGITS: Final = 8  # of 20,000 images about one in a thousand shares its label with another
_PERSONAL: Final = frozenset(
    {"user", "username", "login", "host", "hostname", "node", "home", "cwd", "email", "argv"}
)
_ROOTS: Final = frozenset({"root", "roots", "data_root"})
# The start of an absolute path: POSIX, the home folder, a drive, a Windows share, a file URL.
_START: Final = r"(?:file:/+|~[\w.-]*[/\\]|[A-Za-z]:[/\\]|\\\\(?=\w)|/(?=[\w.~]))"
_WHOLE: Final = re.compile(_START)
# In a sentence a path has no clear end: everything up to the next mark that ends one is taken.
_INSIDE: Final = re.compile(rf"(?<![\w./\\~…)]){_START}[^\"'<>,;:()\[\]\n]*")
_HOME: Final = re.compile(r"(?i)(?:.*[/\\])?(?:home|users)[/\\]+[^/\\]+[/\\]*|~[^/\\]*[/\\]*")
# Data that comes with a package, or with samft itself.
_PUBLIC: Final = re.compile(r"(?:package|example):\w[\w-]*(?:/[\w-]+)?")
_SEPARATORS: Final = re.compile(r"[/\\]+")


class Privacy:
    """Turns names into what may be shown.

    Args:
        run: The run folder, whose files are named relative to it; `None` without one.
        keep_names: Show everything as it is.
    """

    def __init__(self, run: Path | None = None, *, keep_names: bool = False) -> None:
        self.keep_names = keep_names
        self._run = None if run is None else _below(run)
        self._home = None if len(Path.home().parts) < 2 else _below(Path.home())

    def case(self, sample_id: str) -> str:
        """Return the name of an image: `case-` and the start of the hash of its id."""
        if self.keep_names or not sample_id:
            return sample_id
        return f"case-{hashlib.sha256(sample_id.encode('utf-8', 'replace')).hexdigest()[:_DIGITS]}"

    def models(self, names: Sequence[str]) -> dict[str, str]:
        """Return a different label for each model; one called by its path is shortened."""
        labels: dict[str, str] = {}
        for name in names:
            label = plain = name if self.keep_names else self.run_label(name)
            number = 2
            while label in labels.values():
                label, number = f"{plain} ({number})", number + 1
            labels[name] = label
        return labels

    def run_label(self, path: str | Path) -> str:
        """Return how a run is called: an absolute path from its folder `runs` on, or its end."""
        text = str(path)
        if self.keep_names or not _WHOLE.match(text):
            return text
        parts = [part for part in _SEPARATORS.split(text) if part]
        if "runs" in parts[:-1]:
            start = len(parts) - 1 - parts[::-1].index("runs")
            return "/".join(parts[start:])
        if len(parts) > 2 and parts[-1].isdigit() and not _HOME.fullmatch("/".join(parts[:-1])):
            return "/".join(parts[-2:])  # the number of a run says nothing by itself
        return parts[-1] if parts else text

    def last_part(self, path: str) -> str:
        """Return the last part of a folder, with a mark that something was left out."""
        parts = [part for part in _SEPARATORS.split(path) if part not in ("", ".")]
        if self.keep_names or _PUBLIC.fullmatch(path):
            return path
        if len(parts) < 2 and not _WHOLE.match(path):
            return path
        # The last part of somebody's home folder is their name.
        return f"…/{parts[-1]}" if parts and not _HOME.fullmatch(path) else "…"

    def text(self, text: str) -> str:
        """Return a text without absolute paths; those in the run are shown relative to it."""
        if self.keep_names:
            return text
        if self._run is not None:
            text = self._run.sub(lambda match: "" if match[1] else ".", text)
        if self._home is not None:
            text = self._home.sub(r"~\1", text)
        if _WHOLE.match(text) and "\n" not in text:
            return self.last_part(text)
        return _INSIDE.sub(lambda match: self.last_part(match[0].rstrip()), text)

    def clean(self, value: Any) -> Any:  # Any: JSON or YAML
        """Return plain data in which no text and no name holds an absolute path or a person."""
        if self.keep_names:
            return value
        if isinstance(value, dict):
            return {
                self.text(str(name)): self._clean_root(item) if name in _ROOTS else self.clean(item)
                for name, item in value.items()
                if name not in _PERSONAL
            }
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def _clean_root(self, value: Any) -> Any:  # Any: JSON or YAML
        if isinstance(value, str):
            return self.last_part(value)
        if isinstance(value, list):
            return [self._clean_root(item) for item in value]
        return self.clean(value)


def _below(folder: Path) -> re.Pattern[str]:
    """Match a folder where it is named in a text, with the slash that follows it."""
    return re.compile(rf"{re.escape(str(folder.absolute()))}(?:([/\\])|(?![\w.-]))")
