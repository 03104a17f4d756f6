"""Draws one picture per domain: prompts, zero-shot, tuned, truth, on an image not tuned on.

    python -m benchmarks.nano.pictures --weights vit_nano --out docs/pictures --seconds 120
    python -m benchmarks.nano.pictures --out pictures --tuned nuclei=runs/microscopy/0

The nuclei are DSB2018's (CC0), the chest CT is slicerio's (MIT), the scenes are SUIM's (MIT). The
image drawn is always the one with the median number of objects among those left out of training:
it is not chosen by how well it turned out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.nano.sets import DATA, EvaluationImage
from benchmarks.nano.tuning import NANO, ROOT, arguments, read_settings, tune
from benchmarks.nano.zero_shot import load_sam
from samft.data.collate import collate
from samft.data.datamodule import SamDataModule
from samft.data.geometry import boxes_to_input, points_to_input
from samft.data.medical import MedicalDataModule
from samft.data.microscopy import MicroscopyDataModule
from samft.data.underwater import UnderwaterDataModule
from samft.errors import ConfigError, SamftError, did_you_mean
from samft.inference.masks import answer, original_masks
from samft.inference.output_folder import write_atomically
from samft.inference.overlay import Marks, draw_marks, draw_masks, picture, side_by_side
from samft.metrics.objects import mask_scores
from samft.models.sam import Sam
from samft.prompts.sampling import center_points, tight_boxes
from samft.types import ABSENT, POSITIVE, PromptBatch, Sample

WIDTH: Final = 1000
MAX_OBJECTS: Final = 12
MAX_BYTES: Final = 300_000
_GAP = 6  # between panels, of `side_by_side`


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where a picture comes from.

    Args:
        recipe: The recipe to tune with, with the nano size on top.
        kind: Its datamodule.
        folder: Below the data folder, or an `example:`.
        settings: More settings of the datamodule.
    """

    recipe: str
    kind: type[SamDataModule]
    folder: str
    settings: Mapping[str, Any]  # Any: settings of the several datamodules

    def configs(self) -> list[Path]:
        """Return the recipe and what is put on top of it."""
        return [ROOT / "recipes" / self.recipe, NANO]

    def data(self, data: Path, **changes: Any) -> SamDataModule:  # Any: as above
        """Return the datamodule; what is drawn is of its validation split."""
        root = self.folder if ":" in self.folder else str(data / self.folder)
        given = arguments(read_settings(self.configs()), "data")
        return self.kind(**{**given, "root": root, **self.settings, **changes})


DOMAINS: Final[Mapping[str, Domain]] = {
    "nuclei": Domain(
        recipe="microscopy.yaml",
        kind=MicroscopyDataModule,
        folder="microscopy/DSB2018",
        settings={"val_fraction": 0.5, "min_area": 30},
    ),
    "ct": Domain(
        recipe="medical.yaml",
        kind=MedicalDataModule,
        folder="example:ct_chest",
        settings={"val_fraction": 0.25, "min_area": 30, "split_by": "block"},
    ),
    "underwater": Domain(
        recipe="underwater.yaml",
        kind=UnderwaterDataModule,
        folder="underwater/SUIM",
        settings={"val_fraction": 0.2, "split_folders": False},
    ),
}


def unseen_image(data: SamDataModule) -> EvaluationImage:
    """Return the validation image with the median number of objects, and its largest objects."""
    dataset = data.dataset("val")
    samples = [dataset[index] for index in range(len(dataset))]
    samples = sorted((s for s in samples if s.num_objects), key=lambda s: s.num_objects)
    sample = samples[len(samples) // 2]
    areas = sample.masks().flatten(1).sum(dim=1)
    rows = areas.argsort(descending=True, stable=True)[:MAX_OBJECTS]
    return EvaluationImage(sample=sample, rows=rows.sort().values)


def segment(sam: Sam, image: EvaluationImage) -> tuple[Tensor, float]:
    """Return the answers to a box for every other object and a click for the rest.

    Args:
        sam: The model.
        image: The image and its objects.

    Returns:
        (k, H, W) bool, and their mean IoU.
    """
    truth, valid = image.sample.masks(image.rows), ~image.sample.ignored(image.rows)
    batch = collate([image.sample], image_size=sam.image_size, keep_samples=True)
    (frame,) = batch.frames
    clicked = _clicked(len(truth))
    prompts = PromptBatch(
        image_index=torch.zeros(len(truth), dtype=torch.int64),
        boxes=boxes_to_input(tight_boxes(truth)[0], frame),
        has_box=~clicked,
        points=points_to_input(center_points(truth)[0], frame)[:, None],
        labels=torch.where(clicked, POSITIVE, ABSENT)[:, None],
    )
    with torch.inference_mode():
        embedding = sam.encode_image(batch.images, batch.input_sizes)
        output = answer(sam, embedding, prompts)
        chunks = original_masks(output, prompts.image_index, batch.frames)
        masks = torch.cat([chunk.masks for chunk in chunks])
    return masks, float(mask_scores(masks, truth, valid)[0].mean())


def draw(
    image: EvaluationImage, zero_shot: tuple[Tensor, float], tuned: tuple[Tensor, float]
) -> NDArray[np.uint8]:
    """Return the row of panels, `WIDTH` pixels wide, (H, W, 3) uint8 RGB.

    Args:
        image: The image and its objects.
        zero_shot: The masks (k, H, W) before tuning and their mean IoU.
        tuned: The same afterwards.
    """
    truth = image.sample.masks(image.rows)
    width = (WIDTH - 3 * _GAP) // 4
    size = (width, round(width * image.sample.size[0] / image.sample.size[1]))
    plain = _scaled(_brightened(picture(image.sample.image)), size)

    def panel(masks: Tensor) -> NDArray[np.uint8]:
        shown = [_scaled(mask.numpy(), size) for mask in masks]
        return draw_masks(plain, shown, opacity=0.35)

    panels = [
        ("prompts: boxes and clicks", _with_marks(plain, image.sample, truth)),
        (f"zero-shot, IoU {zero_shot[1]:.2f}", panel(zero_shot[0])),
        (f"tuned, IoU {tuned[1]:.2f}", panel(tuned[0])),
        ("truth", panel(truth)),
    ]
    return side_by_side(panels, height=size[1])


def save_small(array: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG; with 256 colours only if it would be larger than `MAX_BYTES` otherwise."""
    image = Image.fromarray(array)

    def write(part: Path) -> None:
        image.save(part, format="PNG", optimize=True)
        if part.stat().st_size > MAX_BYTES:
            image.quantize(256).save(part, format="PNG", optimize=True)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)


def main(given: list[str] | None = None) -> int:
    """Draw the pictures; return the exit status."""
    options = parse(given)
    torch.set_num_threads(options.threads)
    try:
        tuned = _tuned_files(options.tuned)
        for name in options.domains:
            path = options.out / f"{name}.png"
            _draw_domain(DOMAINS[name], path, options, tuned=tuned.get(name))
            print(f"{path}: {path.stat().st_size} bytes")
    except SamftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", default="vit_nano", help="name, weights file or .ckpt")
    parser.add_argument("--arch", default="vit_nano")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--domains", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    parser.add_argument(
        "--tuned", nargs="+", default=[], metavar="DOMAIN=RUN", help="do not tune, take this run"
    )
    parser.add_argument("--seconds", type=float, default=120, help="to tune for each domain")
    parser.add_argument("--workers", type=int, help="processes that load data; default: recipe's")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args(given)


def _draw_domain(
    domain: Domain, path: Path, options: argparse.Namespace, *, tuned: str | None
) -> None:
    changes = {} if options.workers is None else {"num_workers": options.workers}
    make_data: Callable[[], SamDataModule] = partial(domain.data, options.data, **changes)
    image = unseen_image(make_data())
    before = segment(load_sam(options.weights, options.arch), image)
    if tuned is not None:
        sam = load_sam(tuned, options.arch)
    else:
        settings = read_settings(domain.configs())
        module, _ = tune(
            make_data,
            settings,
            weights=options.weights,
            arch=options.arch,
            seconds=options.seconds,
        )
        sam = module.sam
    save_small(draw(image, before, segment(sam, image)), path)


def _tuned_files(given: Sequence[str]) -> dict[str, str]:
    files = dict(item.partition("=")[::2] for item in given)
    for name in files:
        if name not in DOMAINS:
            raise ConfigError(
                f"no domain is called {name!r}", where="--tuned", fix=did_you_mean(name, DOMAINS)
            )
    return files


def _clicked(count: int) -> Tensor:
    """Return (count,) bool: which objects get a click; the others get a box."""
    return torch.arange(count) % 2 == 1


def _with_marks(image: NDArray[np.uint8], sample: Sample, truth: Tensor) -> NDArray[np.uint8]:
    """Draw the prompts of `segment` on the scaled picture."""
    clicked = _clicked(len(truth))
    height, width = sample.size
    factor = torch.tensor([image.shape[1] / width, image.shape[0] / height])
    points = (center_points(truth)[0][clicked] + 0.5) * factor - 0.5
    boxes = (tight_boxes(truth)[0][~clicked] + 0.5) * factor.repeat(2) - 0.5
    labels = np.ones(len(points), np.int64)
    marks = Marks(boxes=boxes.numpy(), points=points.numpy(), labels=labels)
    return draw_marks(image, marks, weight=2)


def _brightened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make dark pictures visible: all but the brightest pixels fill the range of a screen."""
    white = max(1.0, float(np.percentile(image, 99.9)))
    bright: NDArray[np.uint8] = np.clip(image * (255 / white), 0, 255).astype(np.uint8)
    return bright


def _scaled(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:  # Any: uint8 or bool
    method = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(array).resize(size, method))


if __name__ == "__main__":
    sys.exit(main())
