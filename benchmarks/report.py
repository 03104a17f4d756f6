"""How long `samft report` takes for a large test, and how large its page becomes.

    python -m benchmarks.report                          # 2,000 images, 20,000 objects, 5 models
    python -m benchmarks.report --images 200 --keep OUT  # smaller, and keep the folder

A run folder is written as a training and `samft test` leave it, with drawn scores: 11 prompts, 5
models, a row for every answer, 48 pictures. Printed is a row of a Markdown table: the size of the
tables read, the time of a process from its start to its end, its peak memory, and the page's size.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measuring import peak_mb
from benchmarks.results import aligned, run_worker
from samft.evaluation.columns import OBJECT_SCORES
from samft.evaluation.plain_json import plain
from samft.evaluation.row_files import IMAGE_COLUMNS, OBJECT_COLUMNS
from samft.evaluation.settings import EvaluationSettings
from samft.metrics.bootstrap import paired_difference

Floats = NDArray[np.float64]

MODELS: Final = {"tuned": 0.85, "zero-shot": 0.74, "filled_box": 0.66, "otsu": 0.5, "unet": 0.8}
"""The models, and the mean IoU that is drawn for each."""
KINDS: Final = {"filled_box": "baseline", "otsu": "baseline", "unet": "unet"}
CLASSES: Final = ("nucleus", "membrane", "debris")
_GALLERY: Final = ("best", "worst", "improved", "worsened")
_SHA: Final = "0f" * 32


@dataclass(frozen=True, kw_only=True)
class DrawnTest:
    """How large a test is drawn.

    Args:
        images: Images of the split, each a case.
        objects: Objects of each.
        clicks: Clicks after one another.
        pictures: Of each kind in the gallery.
        edge: Width of a picture, pixels.
        models: Mean IoU by model.
        split: Name of the split.
    """

    images: int = 2000
    objects: int = 10
    clicks: int = 9
    pictures: int = 12
    edge: int = 900
    models: Mapping[str, float] | None = None
    split: str = "test"

    @property
    def prompts(self) -> list[str]:
        """Return every prompt that is answered."""
        return ["box", "loose_box", *(f"point{n + 1}" for n in range(self.clicks))]

    @property
    def means(self) -> Mapping[str, float]:
        """Return the mean IoU by model."""
        return MODELS if self.models is None else self.models


def main(arguments: list[str] | None = None) -> None:
    """Write a folder, make its report in a process of its own, print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=10, help="of each image")
    parser.add_argument("--keep", type=Path, help="write the run folder here, and keep it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(_measured(options.worker)))
        return
    with TemporaryDirectory() as folder:
        run = options.keep or Path(folder) / "runs" / "drawn" / "0"
        test = DrawnTest(images=options.images, objects=options.objects)
        make_run(run)
        make_results(run / "test", test)
        size = sum(path.stat().st_size for path in (run / "test").glob("*.csv"))
        start = time.perf_counter()
        found = run_worker("benchmarks.report", ["--worker", str(run)], threads=options.threads)
        seconds = time.perf_counter() - start
    if "failed" in found:
        raise SystemExit(str(found["failed"]))
    _print_row(test, size, seconds, found)


def make_run(folder: Path, *, epochs: int = 20) -> Path:
    """Write what a training leaves: configuration, scores, a checkpoint without weights."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    config = {
        "seed_everything": 0,
        "model": {"class_path": "samft.SamModule", "init_args": {"arch": "vit_b"}},
        "data": {
            "class_path": "samft.MicroscopyDataModule",
            "init_args": {"root": "/home/somebody/secret/nuclei", "batch_size": 4},
        },
        "runs": "runs",
    }
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / "config.fit.yaml").write_text(text, encoding="utf-8")
    rows = list(_epochs(epochs))
    names = sorted({name for row in rows for name in row})
    lines = [",".join(names), *(",".join(str(row.get(n, "")) for n in names) for row in rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    history = [
        {name: value for name, value in row.items() if name == "epoch" or name.startswith("val/")}
        for row in rows
        if "val/iou" in row
    ]
    before = {"val/iou": 0.6, "val/iou_box": 0.7, "val/iou_point1": 0.5}
    checkpoint = {
        "epoch": epochs - 1,
        "global_step": 100 * epochs,
        "state_dict": {},
        "hyper_parameters": {
            "arch": "vit_b",
            "image_size": 1024,
            "adapt": {"preset": "decoder", "train": ["mask_decoder"]},
            "validation_prompts": ["box", "point"],
        },
        "callbacks": {"Curves": {"losses": {e: 1 / (e + 1) for e in range(epochs)}}},
        "samft": {
            "base_weights": {"source": "vit_b", "sha256": _SHA},
            "zero_shot": before,
            "history": history,
        },
    }
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    return folder


def make_results(folder: Path, test: DrawnTest) -> Path:
    """Write what `samft test` leaves, with drawn scores: `metrics.json`, tables, pictures."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    drawn = _Drawn(test)
    drawn.write_objects(folder / "objects.csv")
    drawn.write_images(folder / "images.csv")
    content = drawn.metrics()
    content["gallery"] = [
        _picture(folder, kind, number, test) for kind in _GALLERY for number in range(test.pictures)
    ]
    (folder / "metrics.json").write_text(json.dumps(plain(content), indent=1), encoding="utf-8")
    return folder


class _Drawn:
    """Scores of every answer, and their means."""

    def __init__(self, test: DrawnTest) -> None:
        self._test = test
        generator = np.random.default_rng(0)
        count = test.images * test.objects
        hard = generator.normal(0, 0.06, (test.images, 1)).repeat(test.objects, 1).ravel()
        self._names = [f"site_{n % 7}/patient_{n:05}.png" for n in range(test.images)]
        self._image = np.arange(count) // test.objects
        self._class = np.arange(count) % len(CLASSES)
        self._area = generator.lognormal(6.5, 1.4, count).astype(int) + 1
        self._iou: dict[tuple[str, str], Floats] = {}
        for row, prompt in enumerate(test.prompts):
            gain = 0.05 if row < 2 else 0.1 * (1 - math.exp(-(row - 2) / 3)) - 0.05
            for model, mean in test.means.items():
                if KINDS.get(model) == "baseline" and row > 1:
                    continue
                noise = generator.normal(0, 0.07, count)
                self._iou[prompt, model] = np.clip(mean + gain + hard + noise, 0, 1)

    def write_objects(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(OBJECT_COLUMNS) + "\n")
            for (prompt, model), iou in self._iou.items():
                for index, value in enumerate(iou.tolist()):
                    name = self._names[index // self._test.objects]
                    file.write(
                        f"{model},{prompt},{name},{name},{index % self._test.objects + 1},"
                        f"{CLASSES[index % len(CLASSES)]},{self._area[index]},px,"
                        f"{_cells(value)},{min(1.0, value + 0.03):.7g}\n"
                    )

    def write_images(self, path: Path) -> None:
        empty = "," * (len(IMAGE_COLUMNS) - 7 - len(OBJECT_SCORES))
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(IMAGE_COLUMNS) + "\n")
            for (prompt, model), iou in self._iou.items():
                means = self._by_image(iou)
                for image, name in enumerate(self._names):
                    for number, kind in enumerate(CLASSES):
                        if math.isfinite(means[number, image]):
                            cells = f"{model},{prompt},{name},{name},{kind},"
                            cells += f"{self._test.objects // 3 + 1},px,"
                            file.write(f"{cells}{_cells(means[number, image])}{empty}\n")

    def metrics(self) -> dict[str, Any]:  # Any: JSON
        test = self._test
        everything = np.ones(len(self._area), bool)
        sizes = {"small (< 32 px)": (0, 1024), "medium (32 to 96 px)": (1024, 9216)}
        sizes["large (>= 96 px)"] = (9216, 1 << 40)
        quarters = 1 + np.quantile(self._area, (0, 0.25, 0.5, 0.75, 1)).astype(int)
        parts = {f"{low} to {high} px": (low, high) for low, high in pairwise(quarters)}
        reference = "zero-shot" if "zero-shot" in test.means else None
        return {
            "format": "samft-test",
            "version": 1,
            "samft": "0.1.0",
            "created": "2026-11-20T10:00:00+00:00",
            "split": test.split,
            "data": {
                "root": "nuclei",
                "images": test.images,
                "cases": test.images,
                "objects": len(self._area),
                "classes": list(CLASSES),
                "sha256": _SHA,
            },
            "environment": {"python": "3.11.9", "torch": "2.13.0", "device": "cpu"},
            "settings": EvaluationSettings(clicks=max(1, test.clicks)).to_dict(),
            "models": [self._model(name) for name in test.means],
            "reference": reference,
            "unit": "px",
            "scores": self._scores(everything),
            "by_class": self._by_class(),
            "by_size": {
                "coco": self._bins(sizes),
                "quartiles": self._bins(parts),
            },
            "clicks": dict(self._clicks()),
            "differences": list(self._differences(reference)),
            "images": self._image_scores(),
            "instances": {"unet": {"f1": 0.8, "ap": 0.5, "pq": 0.7, "num_images": test.images}},
            "calibration": self._calibration(),
            "empty": {"box": {name: {"num_missed": 3} for name in test.means}},
        }

    def _model(self, name: str) -> dict[str, Any]:  # Any: JSON
        prompts = [prompt for prompt, model in self._iou if model == name]
        kind = KINDS.get(name, "sam")
        own = {"name": name, "kind": kind, "prompts": prompts, "seconds": 12.5}
        return {**own, "parameters": 93_735_472, "sha256": _SHA} if kind == "sam" else own

    def _scores(self, chosen: NDArray[np.bool_]) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (prompt, model), iou in self._iou.items():
            found.setdefault(prompt, {})[model] = _means(iou[chosen])
        return found

    def _by_class(self) -> dict[str, Any]:  # Any: JSON
        found: dict[str, Any] = {prompt: {} for prompt in self._test.prompts}
        for number, name in enumerate(CLASSES):
            for prompt, models in self._scores(self._class == number).items():
                found[prompt][name] = models
        return found

    def _bins(self, edges: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:  # Any: JSON
        bins = []
        for label, (low, high) in edges.items():
            chosen = (self._area >= low) & (self._area < high)
            if chosen.any():
                entry = {"label": label, "low": low, "high": high if high < 1 << 40 else None}
                scores = self._scores(chosen)
                bins.append({**entry, "num_objects": int(chosen.sum()), "scores": scores})
        return bins

    def _clicks(self) -> Iterator[tuple[str, dict[str, Any]]]:  # Any: JSON
        prompts = [prompt for prompt in self._test.prompts if prompt.startswith("point")]
        for model in self._test.means:
            if prompts and all((prompt, model) in self._iou for prompt in prompts):
                curve = [float(self._iou[prompt, model].mean()) for prompt in prompts]
                needed = {"noc_85": 3.2, "noc_90": 5.1, "failed_85": 0.1, "failed_90": 0.3}
                yield model, {"iou": curve, "click_auc": float(np.mean(curve)), **needed}

    def _differences(self, reference: str | None) -> Iterator[dict[str, Any]]:  # Any: JSON
        for prompt, model in self._iou:
            if reference is None or model == reference:
                continue
            pair = [
                dict(zip(self._names, self._case_means(self._iou[prompt, name]), strict=True))
                for name in (reference, model)
            ]
            found = paired_difference(*pair, samples=200)
            fields = ("mean", "low", "high", "level", "better", "worse", "equal", "left_out")
            yield {
                "prompt": prompt,
                "score": "iou",
                "model": model,
                "reference": reference,
                **{name: getattr(found, name) for name in (*fields, "num_groups", "clear")},
            }

    def _case_means(self, iou: Floats) -> list[float]:
        means: list[float] = iou.reshape(-1, self._test.objects).mean(axis=1).tolist()
        return means

    def _by_image(self, iou: Floats) -> Floats:
        """Return the mean of each class and image, (classes, images), NaN without an object."""
        shape = len(CLASSES), self._test.images
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, (self._class, self._image), iou)
        np.add.at(counts, (self._class, self._image), 1)
        return np.divide(sums, counts, out=np.full(shape, math.nan), where=counts > 0)

    def _image_scores(self) -> dict[str, Any]:  # Any: JSON
        found: dict[str, Any] = {}
        for (prompt, model), iou in self._iou.items():
            means = self._by_image(iou)
            found.setdefault(prompt, {})[model] = {
                name: {**_means(row[np.isfinite(row)]), "num_images": int(np.isfinite(row).sum())}
                for name, row in zip(CLASSES, means, strict=True)
            }
        return found

    def _calibration(self) -> dict[str, Any]:  # Any: JSON
        found: dict[str, Any] = {}
        for (prompt, model), iou in self._iou.items():
            if model not in KINDS:
                bins = [_bin(iou, low / 10) for low in range(10)]
                scores = {"iou_ece": 0.03, "iou_mae": 0.05, "iou_bias": 0.03, "iou_spearman": 0.7}
                found.setdefault(prompt, {})[model] = {**scores, "bins": bins}
        return found


def _bin(iou: Floats, low: float) -> dict[str, float]:
    predicted = np.minimum(1, iou + 0.03)
    inside = (predicted >= low) & (predicted < low + 0.1 + 1e-9 * (low >= 0.9))
    count = int(inside.sum())
    means = [float(values[inside].mean()) if count else math.nan for values in (predicted, iou)]
    return {"low": low, "high": low + 0.1, "count": count, "predicted": means[0], "true": means[1]}


def _means(iou: Floats) -> dict[str, float]:
    if not len(iou):
        return {"num_objects": 0}
    value = float(iou.mean())
    values = [float(text) for text in _cells(value).split(",")]
    return {**dict(zip(OBJECT_SCORES, values, strict=True)), "num_objects": len(iou)}


def _cells(iou: float) -> str:
    """Return the scores that go with an IoU, in the order of `OBJECT_SCORES`."""
    dice = 2 * iou / (1 + iou)
    far = 12 * (1 - iou)
    return f"{iou:.7g},{dice:.7g},{0.9 * iou:.7g},{dice:.7g},{far:.7g},{far / 3:.7g}"


def _epochs(count: int) -> Iterator[dict[str, float]]:
    for epoch in range(count):
        step = 100 * epoch + 99
        yield {"epoch": epoch, "step": step, "train/loss": 1 / (epoch + 1)}
        if epoch % 2:
            done = epoch / count
            yield {
                "epoch": epoch,
                "step": step,
                "val/iou": 0.6 + 0.2 * done,
                "val/iou_box": 0.7 + 0.15 * done,
                "val/iou_point1": 0.5 + 0.25 * done,
                "val/same_answer": 0.0,
                "zero_shot/iou": 0.6,
                "zero_shot/iou_box": 0.7,
                "zero_shot/iou_point1": 0.5,
            }


def _picture(folder: Path, kind: str, number: int, test: DrawnTest) -> dict[str, Any]:  # Any: JSON
    name = f"gallery/{kind}_{number + 1:02}.jpg"
    generator = np.random.default_rng([_GALLERY.index(kind), number])
    small = generator.integers(0, 256, (12, 40, 3), dtype=np.uint8)
    size = test.edge, max(1, test.edge * 3 // 10)
    picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    noise = generator.integers(0, 24, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.asarray(picture) // 2 + noise).save(stream, format="JPEG", quality=85)
    (folder / name).write_bytes(stream.getvalue())
    return {
        "picture": name,
        "kind": kind,
        "sample_id": f"site_{number % 7}/patient_{number:05}.png",
        "object_id": number + 1,
        "class_name": CLASSES[number % len(CLASSES)],
        "prompt": "box",
        "iou": dict(test.means),
    }


def _measured(run: Path) -> dict[str, float]:
    """Make the report of a run folder, in this process."""
    from samft.evaluation.report.building import build_report

    start, cpu = time.perf_counter(), time.process_time()
    written = build_report(run)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(torch.device("cpu")),
        "page_mb": written.files[0].stat().st_size / 1e6,
    }


def _print_row(test: DrawnTest, size: int, seconds: float, found: Mapping[str, float]) -> None:
    head = ["images", "objects", "tables, MB", "process, s", "report, s", "CPU, s"]
    row = [
        f"{test.images:,}",
        f"{test.images * test.objects:,}",
        f"{size / 1e6:.0f}",
        f"{seconds:.1f}",
        f"{found['seconds']:.1f}",
        f"{found['cpu_seconds']:.1f}",
        f"{found['peak_mb']:.0f}",
        f"{found['page_mb']:.1f}",
    ]
    rows: Sequence[Sequence[str]] = [[*head, "peak, MB", "page, MB"], row]
    for line in aligned(rows, markdown=True):
        print(line)


if __name__ == "__main__":
    main()
