"""`samft merge`: what a run learned, as a stock SAM file or as a small adapter folder."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from samft.cli.parser import CommandParser
from samft.errors import ConfigError, OutputError, SamftError
from samft.models.config import VitEncoder, config_for
from samft.runs import load_run

if TYPE_CHECKING:
    from samft.models.adaptation.reloaded import Reading
    from samft.models.sam import Sam
    from samft.module import SamModule

_EPILOG = """\
examples:
  samft merge runs/medical/0 tuned.pth             a stock file for every tool that reads SAM
  samft merge runs/medical/0 tuned.safetensors     the same; also holds a channel adapter
  samft merge runs/medical/0 adapter --adapter     what was trained alone, for the same base weights
"""
_SUFFIXES: Final = (".pth", ".safetensors")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft merge", description=__doc__, epilog=_EPILOG)
    parser.add_argument("run", help="run folder or .ckpt file")
    parser.add_argument("out", type=Path, help=".pth or .safetensors file; a folder with --adapter")
    parser.add_argument("--adapter", action="store_true", help="write only what was trained")
    parser.add_argument("--which", choices=["best", "last"], default="best", help="of a run folder")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    return parser


def main(argv: list[str]) -> int:
    """Write the file or folder; a stock file is read back and compared before it gets its name.

    Raises:
        SamftError: if the run cannot be read or merged, or OUT cannot be written.
    """
    options = build_parser().parse_args(argv)
    _check_out(options.out, adapter=options.adapter, overwrite=options.overwrite)
    module = load_run(options.run, which=options.which).load()
    if options.adapter:
        _save_adapter(module, options.out)
        return 0
    _report(options.out, _save_merged(module, options.out), module.sam)
    return 0


def _check_out(out: Path, *, adapter: bool, overwrite: bool) -> None:
    if not adapter and out.suffix not in _SUFFIXES:
        raise ConfigError(
            "the kind of file is not known",
            where=out,
            found=out.suffix or "no ending",
            expected=" or ".join(_SUFFIXES),
        )
    if out.is_dir() and not adapter:
        raise OutputError("OUT is a folder", where=out, expected="a file, or --adapter")
    if out.exists() and not overwrite:
        raise OutputError("OUT exists already", where=out, fix="pass --overwrite")


def _save_adapter(module: SamModule, out: Path) -> None:
    from samft.models.adaptation.saved import save_adapted

    base = module.base_weights.get("sha256", "")
    save_adapted(module.sam, module.adapted.settings, out, base)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"adapter     {out} ({size / 1e6:.1f} MB)")


def _save_merged(module: SamModule, out: Path) -> list[Reading]:
    """Write a stock file; it takes its name only once it answers as the run does."""
    from samft.models.adaptation.merge import merged
    from samft.models.adaptation.reloaded import compare_file
    from samft.models.checkpoint import check_stock, save_state_dict

    check_stock(module.sam.state_dict(), out)
    stock = merged(module.sam)
    unproven = out.with_name(f".{out.stem}.unproven{out.suffix}")
    try:
        save_state_dict(stock, unproven, overwrite=True)
        del stock  # a ViT-H takes 2.5 GB
        readings = compare_file(module.sam, unproven)
        unproven.replace(out)
    except SamftError as error:
        raise _named(error, out) from error
    finally:
        with suppress(OSError):
            unproven.unlink()
    return readings


def _named(error: SamftError, out: Path) -> SamftError:
    """Return the error with the name that was asked for, not the one that is gone."""
    return type(error)(
        error.what,
        where=out,
        found=error.found,
        expected=error.expected,
        fix=error.fix or "nothing was written; please report it, with the run's config.fit.yaml",
    )


def _report(out: Path, readings: list[Reading], sam: Sam) -> None:
    from samft.models.adaptation.reloaded import TOLERANCE

    print(f"merged      {out}")
    for program, difference, reason in readings:
        if difference is None:
            print(f"not read    in {program}: {reason}; only samft's own reading was checked")
            continue
        print(
            f"read back   in {program}: largest difference of logits and IoU {difference:.1e} of "
            f"the largest value (at most {TOLERANCE:g})"
        )
    built = config_for(sam.config.name).image_size
    if isinstance(sam.config.encoder, VitEncoder) and sam.image_size != built:
        print(
            f"input size  {sam.image_size}: sam_model_registry builds {built} alone; give "
            f"ImageEncoderViT img_size={sam.image_size}"
        )
