"""A folder for `transformers`: `SamModel`, its processor and the mask-generation pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from samft._deps import require
from samft.errors import OutputError
from samft.export.comparison import compare
from samft.export.questions import Kind, Question
from samft.export.target import ExportOptions, ReadBack
from samft.export.tuned import TunedModel
from samft.models.config import SamConfig, VitEncoder
from samft.models.huggingface import to_huggingface
from samft.models.sam import PIXEL_MEAN, PIXEL_STD
from samft.types import MaskOutput, PromptBatch

_PROGRAM: Final = "transformers"
_DECODER_NORM_EPS: Final = 1e-5  # torch's default, which SAM's decoder has; theirs is 1e-6


@dataclass(frozen=True, slots=True)
class HuggingfaceTarget:
    """A folder for `from_pretrained`; see `samft.export.target.Target`."""

    name: str = "hf"
    about: str = "a folder for transformers.SamModel.from_pretrained, with its processor"
    suffix: str = ""
    knows: frozenset[str] = frozenset()

    def check(self, model: TunedModel) -> None:
        """Refuse encoders that `SamModel` does not have."""
        model.check_rgb("transformers")
        if not isinstance(model.sam.config.encoder, VitEncoder):
            raise OutputError(
                "transformers.SamModel has no such image encoder",
                found=model.sam.config.name,
                expected="vit_b, vit_l or vit_h",
                fix="export with --to onnx, or --to safetensors for samft",
            )

    def write(self, model: TunedModel, out: Path, options: ExportOptions) -> None:  # noqa: ARG002  (see Target)
        """Write weights, configuration and processor."""
        transformers = _transformers()
        settings = transformers_config(model.sam.config)
        settings.samft = model.metadata
        with torch.device("meta"):
            theirs = transformers.SamModel(settings)
        theirs.load_state_dict(to_huggingface(model.sam.state_dict()), strict=True, assign=True)
        with _quiet(transformers):
            theirs.save_pretrained(out)
            prepare = processor(model.sam.config)
            prepare.save_pretrained(out)
            prepare.image_processor.save_pretrained(out)  # where transformers before 5 looks

    def read(
        self,
        model: TunedModel,  # noqa: ARG002  (see Target)
        out: Path,
        options: ExportOptions,  # noqa: ARG002  (see Target)
        questions: Sequence[Question],
    ) -> ReadBack:
        """Load the folder as people do."""
        transformers = _transformers()
        with _quiet(transformers):
            theirs = transformers.SamModel.from_pretrained(out, local_files_only=True).eval()
            prepare = transformers.SamProcessor.from_pretrained(out, local_files_only=True)
        name = f"{_PROGRAM} {transformers.__version__}"
        return ReadBack(comparisons=[compare(HuggingfaceReader(theirs, prepare, name), questions)])


@dataclass(frozen=True, slots=True)
class HuggingfaceReader:
    """`transformers`, with a folder that was read.

    Args:
        model: Its `SamModel`.
        processor: Its `SamProcessor`, which normalises and pads.
        program: Its name and version.
    """

    model: Any  # Any: the package's types do not reach here
    processor: Any
    program: str

    @torch.no_grad()
    def answer(self, question: Question) -> dict[Kind, MaskOutput]:
        """See `samft.export.comparison.Reader`."""
        # Of the size that their own resizing would give: it would round differently.
        image = question.pixels.permute(1, 2, 0).numpy()
        prepared = self.processor(images=[image], do_resize=False, return_tensors="pt")
        embedding = self.model.get_image_embeddings(prepared["pixel_values"])
        return {
            kind: self._decode(embedding, prompts) for kind, prompts in question.prompts.items()
        }

    def _decode(self, embedding: Any, prompts: PromptBatch) -> MaskOutput:
        asked = {
            "input_points": None if prompts.points is None else prompts.points[None],
            "input_labels": None if prompts.labels is None else prompts.labels[None],
            "input_boxes": None if prompts.boxes is None else prompts.boxes[None],
            "input_masks": prompts.mask_logits,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        single, several = (
            self.model(image_embeddings=embedding, multimask_output=multimask, **given)
            for multimask in (False, True)
        )
        return MaskOutput(
            logits=torch.cat([single.pred_masks, several.pred_masks], dim=2)[0],
            iou=torch.cat([single.iou_scores, several.iou_scores], dim=2)[0],
        )


def transformers_config(config: SamConfig) -> Any:  # Any: the package's types do not reach here
    """Return the `transformers.SamConfig` of an architecture with a plain vision transformer.

    Raises:
        DependencyError: if transformers is not installed.
    """
    transformers, encoder = _transformers(), config.encoder
    assert isinstance(encoder, VitEncoder)  # see HuggingfaceTarget.check
    size = {"image_size": config.image_size, "patch_size": config.patch_size}
    return transformers.SamConfig(
        vision_config={
            **size,
            "hidden_size": encoder.dim,
            "output_channels": config.embed_dim,
            "num_hidden_layers": encoder.depth,
            "num_attention_heads": encoder.heads,
            "window_size": encoder.window_size,
            "global_attn_indexes": list(encoder.global_blocks),
            "num_pos_feats": config.embed_dim // 2,
        },
        prompt_encoder_config={
            **size,
            "hidden_size": config.embed_dim,
            "image_embedding_size": config.grid_size,
        },
        mask_decoder_config={
            "hidden_size": config.embed_dim,
            "mlp_dim": config.decoder_mlp_dim,
            "num_hidden_layers": config.decoder_depth,
            "num_attention_heads": config.decoder_heads,
            "num_multimask_outputs": config.num_multimask,
            "iou_head_hidden_dim": config.embed_dim,
            "layer_norm_eps": _DECODER_NORM_EPS,
        },
    )


def processor(config: SamConfig) -> Any:  # Any: as above
    """Return the `transformers.SamProcessor` that prepares images for an architecture.

    It works without torchvision; where that is installed, reading the folder uses it.

    Raises:
        DependencyError: if transformers is not installed.
    """
    transformers = _transformers()
    side, mask_side = config.image_size, 4 * config.grid_size
    images = transformers.SamImageProcessorPil(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        mask_size={"longest_edge": mask_side},
        mask_pad_size={"height": mask_side, "width": mask_side},
        image_mean=[value / 255 for value in PIXEL_MEAN],
        image_std=[value / 255 for value in PIXEL_STD],
    )
    return transformers.SamProcessor(images)


def _transformers() -> Any:  # Any: a module
    return require(_PROGRAM, extra="export", purpose="export for Hugging Face")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice off the terminal, and leave the user's settings as they are."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
