"""`samft merge`: what a run learned, as a stock SAM file or as a small adapter folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from samft.cli.parser import CommandParser
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.runs import load_run

if TYPE_CHECKING:
    from samft.models.sam import Sam
    from samft.module import SamModule

_EPILOG = """\
examples:
  samft merge runs/medical/0 tuned.pth             a stock file for every tool that reads SAM
  samft merge runs/medical/0 tuned.safetensors
  samft merge runs/medical/0 adapter --adapter     what was trained alone, for the same base weights
"""
_TOLERANCE: Final = 1e-3  # of logits, relative to the largest
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
    """Write the file or folder, read it back, and compare before saying so.

    Raises:
        SamftError: if the run cannot be read or merged, or OUT cannot be written.
    """
    options = build_parser().parse_args(argv)
    _check_out(options.out, adapter=options.adapter, overwrite=options.overwrite)
    module = load_run(options.run, which=options.which).load()
    if options.adapter:
        _save_adapter(module, options.out)
        return 0
    difference = _save_merged(module, options.out, overwrite=options.overwrite)
    print(f"merged      {options.out}")
    print(f"read back   largest difference of the logits {difference:.1e} of the largest")
    return 0


def _check_out(out: Path, *, adapter: bool, overwrite: bool) -> None:
    if not adapter and out.suffix not in _SUFFIXES:
        raise ConfigError(
            "the kind of file is not known",
            where=out,
            found=out.suffix or "no ending",
            expected=" or ".join(_SUFFIXES),
        )
    if out.exists() and not overwrite:
        raise OutputError("OUT exists already", where=out, fix="pass --overwrite")


def _save_adapter(module: SamModule, out: Path) -> None:
    from samft.models.adaptation.saved import save_adapted

    base = module.base_weights.get("sha256", "")
    save_adapted(module.sam, module.adapted.settings, out, base)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"adapter     {out} ({size / 1e6:.1f} MB)")


def _save_merged(module: SamModule, out: Path, *, overwrite: bool) -> float:
    """Write a stock file and return how far its answers are from the run's, 0 to 1."""
    from samft.models.adaptation.merge import merged
    from samft.models.checkpoint import save_state_dict
    from samft.models.registry import build_sam

    stock = merged(module.sam)
    save_state_dict(stock.state_dict(), out, overwrite=overwrite)
    again = build_sam(
        str(module.hparams["arch"]), weights=out, image_size=int(module.hparams["image_size"])
    )
    difference = _difference(module.sam, again)
    if not difference <= _TOLERANCE:
        raise CheckpointError(
            "the file does not answer as the run does",
            where=out,
            found=f"a difference of {difference:.1e}",
            expected=f"at most {_TOLERANCE:g} of the largest logit",
        )
    return difference


def _difference(one: Sam, other: Sam) -> float:
    """Return the largest difference of logits on a random image, relative to the largest logit."""
    import torch

    from samft.types import POSITIVE, PromptBatch

    side = one.image_size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, side, side), generator=generator) * 255
    prompts = PromptBatch(
        image_index=torch.zeros(2, dtype=torch.int64),
        points=torch.rand((2, 1, 2), generator=generator) * side,
        labels=torch.full((2, 1), POSITIVE),
        boxes=torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.3, 0.1, 0.8, 0.7]]) * side,
        has_box=torch.tensor([True, False]),
    )
    with torch.no_grad():
        answers = [
            sam.eval().decode(sam.encode_image(image), prompts, multimask=None).logits
            for sam in (one, other)
        ]
    return float((answers[0] - answers[1]).abs().max() / answers[0].abs().max().clamp(min=1e-12))
