"""`samft zeroshot text`: words in place of the first prompt, by an encoder of the user's own."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from samft.cli.zeroshot.data import OpenData, Track
from samft.cli.zeroshot.tasks import Task
from samft.data.readers.json_files import kind_of, read_json_object
from samft.errors import ConfigError, DatasetError
from samft.evaluation.zero_shot.outcome import Outcome
from samft.evaluation.zero_shot.settings import TextSettings
from samft.evaluation.zero_shot.text import (
    Queries,
    TextQuery,
    class_queries,
    object_queries,
    run_text,
)
from samft.evaluation.zero_shot.text_encoder import TextEncoder, one_line
from samft.models.sam import Sam
from samft.types import Sample

_PROTOCOL = "samft.evaluation.zero_shot.text_encoder.TextEncoder"
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_EXPECTED = 'texts about images: {"a.jpg": [{"text": "the left cell", "objects": [1]}]}'


class TextTask(Task):
    """Text to mask."""

    settings_class = TextSettings
    max_masks = 10_000
    headline = ("iou", "num_")

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.encoder = load_encoder(options.encoder)
        self.texts = None if options.texts is None else read_texts(Path(options.texts))

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """See `Task`."""
        parser.add_argument(
            "--encoder",
            metavar="MODULE:CLASS",
            help=f"your own encoder, a class as {_PROTOCOL} says in an installed module; its code "
            "is run",
        )
        parser.add_argument(
            "--texts",
            metavar="FILE",
            help=f"JSON with {_EXPECTED}; default: the names of the classes in each image",
        )

    def prepare(self, data: Sequence[OpenData]) -> None:
        """See `Task`."""
        self._text_settings.validate()
        if self.texts is not None and self._text_settings.prompt == "crop":
            raise ConfigError("crops take the place of texts: give one of the two", where="--texts")
        for each in data:
            if self.texts is None and self._text_settings.prompt == "text" and not each.class_names:
                raise ConfigError(
                    "the data has no classes whose names could be asked for",
                    where=each.name,
                    fix="name them with --data.classes, or give texts with --texts",
                )
            if self.texts is not None and not set(each.sample_ids()) & set(self.texts):
                raise DatasetError(
                    "no image of the data has a text", where=each.name, expected=_EXPECTED
                )

    def run(self, sam: Sam, data: OpenData, track: Track, *, name: str) -> Outcome:
        """See `Task`."""
        del name
        samples = track(data.samples(), "asking", len(data))
        queries = self._queries(data.class_names)
        return run_text(sam, self.encoder, samples, queries, self._text_settings).outcome()

    @property
    def _text_settings(self) -> TextSettings:
        assert isinstance(self.settings, TextSettings)  # its own class
        return self.settings

    def _queries(self, class_names: tuple[str, ...]) -> Queries:
        if self.texts is not None:
            return _given(self.texts)
        if self._text_settings.prompt == "crop":
            return object_queries(class_names)
        return class_queries(class_names, self._text_settings.template)


def load_encoder(name: str | None) -> TextEncoder:
    """Make an encoder from a class of an installed module, which runs that module's code.

    Args:
        name: `MODULE:CLASS`; the class is called without arguments.

    Raises:
        ConfigError: if nothing was given, it cannot be imported, or is no `TextEncoder`.
    """
    fix = f"write a class as {_PROTOCOL} says, and give it: --encoder MODULE:CLASS"
    if name is None:
        raise ConfigError(
            "samft comes without a text encoder, and SAM's own was never published",
            where="samft zeroshot text",
            expected="CLIP or the like, with a projection to SAM's prompt tokens",
            fix=fix,
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "this names no class", where="--encoder", found=name, expected="MODULE:CLASS", fix=fix
        )
    module, _, attribute = name.partition(":")
    try:
        kind: Any = getattr(import_module(module), attribute)  # Any: the user's own
    except Exception as error:
        raise ConfigError(
            "the encoder cannot be imported",
            where="--encoder",
            found=f"{name}: {one_line(error)}",
            fix="install the module, and check its name",
        ) from error
    try:
        encoder = kind() if isinstance(kind, type) else None
    except Exception as error:
        raise ConfigError(
            "the encoder cannot be made",
            where="--encoder",
            found=f"{name}: {one_line(error)}",
            expected="a class that is called without arguments",
        ) from error
    if not isinstance(encoder, TextEncoder):
        raise ConfigError(
            "this is no text encoder", where="--encoder", found=name, expected=_PROTOCOL, fix=fix
        )
    return encoder


def read_texts(path: Path) -> dict[str, list[TextQuery]]:
    """Read texts about images.

    Args:
        path: JSON: for every image a list of texts, each with the numbers of the objects that it is
            about, from 1.

    Raises:
        DatasetError: if it is something else.
    """
    content = read_json_object(path, _EXPECTED)
    found: dict[str, list[TextQuery]] = {}
    for image, entries in content.items():
        if not isinstance(entries, list):
            raise _malformed(path, image, kind_of(entries))
        for entry in entries:
            found.setdefault(image, []).append(_query(path, image, entry))
    return found


def _query(path: Path, image: str, entry: Any) -> TextQuery:  # Any: JSON
    fields = entry if isinstance(entry, dict) else {}
    text, objects = fields.get("text"), fields.get("objects")
    numbers = isinstance(objects, list) and all(type(value) is int for value in objects)
    if not isinstance(text, str) or not text.strip() or not numbers or not objects:
        raise _malformed(path, image, repr(entry)[:80])
    if min(objects) < 1:
        raise _malformed(path, image, f"object {min(objects)}; the first is 1")
    return TextQuery(text=text, objects=tuple(dict.fromkeys(value - 1 for value in objects)))


def _malformed(path: Path, image: str, found: str) -> DatasetError:
    return DatasetError(
        "a text about an image is malformed",
        where=f"{path}, {image}",
        found=found,
        expected=_EXPECTED,
    )


def _given(texts: dict[str, list[TextQuery]]) -> Queries:
    def queries(sample: Sample) -> list[TextQuery]:
        asked = texts.get(sample.sample_id, [])
        for query in asked:
            if max(query.objects) >= sample.num_objects:
                raise DatasetError(
                    "a text is about an object that the image does not have",
                    where=f"--texts, {sample.sample_id}",
                    found=f"object {max(query.objects) + 1}: {query.text[:40]!r}",
                    expected=f"1 to {sample.num_objects}",
                )
        return asked

    return queries
