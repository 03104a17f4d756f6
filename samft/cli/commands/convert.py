"""`samft convert`: the weights in an old checkpoint full of program objects, as safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from samft.cli.parser import CommandParser
from samft.errors import CheckpointError, ConfigError, OutputError

if TYPE_CHECKING:
    from samft.models.legacy_file import LegacyFile

_EPILOG = """\
examples:
  samft convert old.ckpt sam.safetensors                      show the hash and what is inside
  samft convert old.ckpt sam.safetensors --trust-sha256 HASH  write the weights
Files of torch.save that hold more than tensors and plain data are refused everywhere else, since
reading them the ordinary way runs what they name. Here nothing is run: every name stands for an
inert object, and only tensors are made. The hash says that you mean this very file: compare it
with the one its author gives.
"""
_SHOWN = 20


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft convert", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("file", type=Path, help="file of torch.save: .ckpt, .pth, .pt, .bin")
    add("out", type=Path, help=".safetensors file to write")
    add("--trust-sha256", "--trust_sha256", metavar="HASH", help="of FILE; nothing without it")
    add("--entry", help="which of several models, such as ema")
    add("--overwrite", action="store_true", help="replace OUT")
    return parser


def main(argv: list[str]) -> int:
    """Show what the file holds and, if it is trusted by its hash, write its weights.

    Raises:
        SamftError: if the file is not trusted, cannot be read, holds no SAM, or OUT cannot be
            written.
    """
    options = build_parser().parse_args(argv)
    _check_names(options.file, options.out, overwrite=options.overwrite)
    from samft.models.checkpoint import save_state_dict
    from samft.models.legacy_contents import choose_entry, find_entries
    from samft.models.legacy_file import damaged, read_legacy_file
    from samft.models.state_dict import to_official

    sha256 = _sha256(options.file)
    print(f"file     {options.file} ({options.file.stat().st_size / 1e6:.1f} MB)")
    print(f"sha256   {sha256}")
    file = read_legacy_file(options.file)
    _show_names(file)
    _check_trust(options.file, sha256, options.trust_sha256)
    try:
        entries = find_entries(file)
    except (ValueError, TypeError, RuntimeError) as error:
        raise damaged(options.file, error) from error
    chosen = choose_entry(entries, options.file, options.entry)
    state, _ = to_official(chosen, options.file)
    save_state_dict(state, options.out, overwrite=True, metadata={"source_sha256": sha256})
    print(f"written  {options.out} ({len(state)} tensors, nothing else)")
    return 0


def _check_names(file: Path, out: Path, *, overwrite: bool) -> None:
    if not file.is_file():
        raise CheckpointError("there is no such file", where=file)
    if out.suffix != ".safetensors":
        raise ConfigError(
            "OUT is written as safetensors, which cannot hold code",
            where=out,
            found=out.suffix or "no ending",
            expected=".safetensors",
        )
    if out.exists() and not overwrite:
        raise OutputError("OUT exists already", where=out, fix="pass --overwrite")


def _sha256(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(
            "the file cannot be opened", where=path, found=error.strerror
        ) from error


def _show_names(file: LegacyFile) -> None:
    """List what an ordinary reader would have called."""
    from samft.models.torch_file import HARMLESS_NAMES

    foreign = [name for name in file.names if name not in HARMLESS_NAMES]
    if not foreign:
        print("names    none but those of tensors and plain data: samft reads this file as it is")
        return
    print(f"names    {len(foreign)} that an ordinary reader would have called, and this did not:")
    for name in foreign[:_SHOWN]:
        print(f"           {name}")
    if len(foreign) > _SHOWN:
        print(f"           and {len(foreign) - _SHOWN} more")


def _check_trust(path: Path, sha256: str, trusted: str | None) -> None:
    if trusted is None:
        raise CheckpointError(
            "nothing was written: the file is not trusted yet",
            where=path,
            fix=f"compare the hash with its author's, then pass --trust-sha256 {sha256}",
        )
    if trusted.strip().lower() != sha256:
        raise CheckpointError(
            "nothing was written: this is not the file that is trusted",
            where=path,
            found=f"sha256 {sha256}",
            expected=trusted,
            fix="get the file again from its author",
        )
