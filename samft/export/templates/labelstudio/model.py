"""A Label Studio backend that turns smart key points and rectangles into brush masks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from brush import mask_to_rle
from image_encoder import ImageEncoder
from label_studio_ml.model import LabelStudioMLBase
from mask_decoder import MaskDecoder
from PIL import Image

HERE = Path(__file__).parent
ENCODER = ImageEncoder(HERE / "encoder.onnx")
DECODER = MaskDecoder(HERE / "decoder.onnx")
Json = dict[str, Any]


class SamftBackend(LabelStudioMLBase):
    """Answers while somebody draws: all prompts of the region that is being made."""

    def setup(self) -> None:
        """Name the model."""
        self.set("model_version", "samft")

    def predict(self, tasks: list[Json], context: Json | None = None, **_: Any) -> list[Json]:
        """Return one brush mask for the prompts in `context`; nothing without prompts."""
        prompts = (context or {}).get("result") or []
        if not prompts:
            return []
        from_name, to_name, value = self.get_first_tag_occurence("BrushLabels", "Image")
        task = tasks[0]
        path = self.get_local_path(task["data"][value], task_id=task.get("id"))
        embedding, size, scale = _encoded(str(path))
        mask, score = DECODER(embedding, size=size, scale=scale, **pixels_of(prompts, size))
        region = {
            "id": uuid4().hex[:10],
            "from_name": from_name,
            "to_name": to_name,
            "original_width": size[0],
            "original_height": size[1],
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": mask_to_rle(mask),
                "brushlabels": [label_of(prompts[-1])],
            },
            "score": score,
            "type": "brushlabels",
            "readonly": False,
        }
        return [{"result": [region], "model_version": "samft", "score": score}]


def pixels_of(prompts: list[Json], size: tuple[int, int]) -> Json:
    """Return the arguments of `MaskDecoder` for prompts in percent of the image's size.

    Args:
        prompts: Results of type `keypointlabels` and `rectanglelabels`.
        size: (width, height) of the image.
    """
    width, height = size[0] / 100, size[1] / 100
    points, labels, box = [], [], None
    for prompt in prompts:
        value = prompt["value"]
        x, y = value["x"] * width, value["y"] * height
        if prompt["type"] == "rectanglelabels":
            box = [x, y, x + value["width"] * width, y + value["height"] * height]
        else:
            points.append([x, y])
            labels.append(int(bool(prompt.get("is_positive", True))))
    return {"points": points, "labels": labels, "box": box}


def label_of(prompt: Json) -> str:
    """Return the label that was chosen for a prompt."""
    return str(prompt["value"][prompt["type"]][0])


@lru_cache(maxsize=16)
def _encoded(path: str) -> tuple[Any, tuple[int, int], tuple[float, float]]:
    """Return the embedding of an image, its (width, height) and its scale."""
    with Image.open(path) as image:
        return ENCODER(image), image.size, ENCODER.scale(image)
