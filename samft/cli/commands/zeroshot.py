"""`samft zeroshot`: the five experiments of SAM's paper without training, on your own data."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Final

from samft.cli.parser import CommandParser
from samft.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from samft.cli.zeroshot.tasks import Task

PROTOCOLS: Final[dict[str, str]] = {
    "point": "masks from 1 to 9 clicks: mean IoU, also with the best of the first three masks",
    "edges": "edges from automatic masks: ODS, OIS, AP, R50",
    "proposals": "how many objects are among 1000 masks: AR@1000 by size",
    "instances": "masks for given boxes: COCO's AP",
    "text": "masks from words, with an encoder of your own",
}
_CLASSES: Final[dict[str, str]] = {
    "point": "samft.cli.zeroshot.tasks:PointTask",
    "edges": "samft.cli.zeroshot.tasks:EdgeTask",
    "proposals": "samft.cli.zeroshot.tasks:ProposalTask",
    "instances": "samft.cli.zeroshot.instance_task:InstanceTask",
    "text": "samft.cli.zeroshot.text_task:TextTask",
}
_EXAMPLES: Final = """\
examples:
  samft zeroshot point vit_b --data photos/
  samft zeroshot point vit_b runs/microscopy/0 --config configs/data/dsb2018.yaml --data DIR
  samft zeroshot point runs/medical/0                      the run's own test split
  samft zeroshot edges vit_h --data BSDS500/ --baseline
  samft zeroshot proposals vit_h --data coco/ --split val --max-images 500
  samft zeroshot instances vit_h --data coco/ --split val --boxes detections.json --baseline
  samft zeroshot text vit_h --data coco/ --encoder my_clip:Encoder

A MODEL is a run folder, a .ckpt, a weights file (with --arch) or a name such as vit_b; NAME=PATH
gives it a name. Every further one is compared with the first. --config and --data can be repeated:
then the mean of the data sets is given too. Options such as --data.tile 256 are those of samft fit.
"""


def build_parser(protocol: str) -> argparse.ArgumentParser:
    """Return the parser of the options of a protocol.

    Args:
        protocol: One of `PROTOCOLS`.
    """
    from samft.cli.zeroshot.words import add_settings

    task = _task_class(protocol)
    parser = CommandParser(
        f"samft zeroshot {protocol}", description=PROTOCOLS[protocol], epilog=_EXAMPLES
    )
    _add_common(parser, task.max_masks)
    if task.baselines:
        parser.add_argument("--baseline", action="store_true", help=f"also {task.baselines}")
    else:
        parser.set_defaults(baseline=False)
    task.add_options(parser)
    add_settings(parser, task.settings_class, without=["seed"])
    parser.set_defaults(out=f"zeroshot/{protocol}")
    return parser


def main(argv: list[str]) -> int:
    """Run one of the protocols.

    Raises:
        SamftError: if the options do not go together, or a model or data cannot be used.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    protocol, *words = argv
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"there is no protocol called {protocol!r}",
            where="samft zeroshot",
            fix=did_you_mean(protocol, PROTOCOLS),
        )
    from samft.cli.zeroshot.words import split_data_options

    words, data_options = split_data_options(words)
    options = build_parser(protocol).parse_args(words)
    options.data_options = data_options
    task = _task_class(protocol)(options)
    from samft.cli.zeroshot.running import run_experiment

    return run_experiment(protocol, task, options)


def _add_common(parser: argparse.ArgumentParser, max_masks: int) -> None:
    from samft.cli.zeroshot.words import whole_number

    add = parser.add_argument
    add("model", nargs="+", metavar="MODEL", help="run folder, .ckpt, weights file or name")
    add("--arch", help="architecture of weights files")
    add(
        *("-c", "--config"),
        action="append",
        default=[],
        metavar="FILE",
        help="recipe or file of configs/data whose data section is used; repeatable",
    )
    add(
        "--data",
        action="append",
        default=[],
        metavar="DIR",
        help="folder of the data, in any layout that samft knows; repeatable",
    )
    add(
        "--split",
        choices=("test", "val", "train", "all"),
        help="what to use (default: test, or else val where the data itself has it, or else all)",
    )
    limits = f"{max_masks:,}" if max_masks else "0"
    add("--max-images", type=whole_number, default=0, metavar="N", help="most images, 0 for all")
    add(
        "--max-masks",
        type=whole_number,
        metavar="N",
        help="cut sets of more than 1.5 N masks down to about N, by whole images; 0 for never "
        f"(default: {limits})",
    )
    add("--seed", type=whole_number, default=0, metavar="N", help="of everything random")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--out", metavar="DIR", help="folder for the results (default: zeroshot/PROTOCOL)")
    add("--overwrite", action="store_true", help="replace earlier results in --out")


def _task_class(protocol: str) -> type[Task]:
    module, _, name = _CLASSES[protocol].partition(":")
    found: type[Task] = getattr(import_module(module), name)
    return found


def _help() -> str:
    width = max(map(len, PROTOCOLS))
    lines = [f"  {name:<{width}}  {text}" for name, text in PROTOCOLS.items()]
    return "\n".join(
        [
            "usage: samft zeroshot PROTOCOL MODEL [MODEL ...] [options]",
            "",
            (__doc__ or "").strip(),
            "",
            *lines,
            "",
            _EXAMPLES,
            "samft zeroshot PROTOCOL --help lists the options",
        ]
    )
