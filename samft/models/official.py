"""The model of the `segment_anything` package, for proof that it reads what samft writes.

The package's own `__init__` also imports its predictor and mask generator, which want torchvision.
Neither is needed here, so only the modules that build models are imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from samft.errors import CheckpointError, DependencyError
from samft.models.config import SamConfig, VitEncoder
from samft.types import PromptBatch

PACKAGE: Final = "segment_anything"

_ALIAS = "_samft_segment_anything"
_NORM_EPS = 1e-6  # of the encoder; the package's builder gives it, the class does not


def why_not(config: SamConfig, path: Path) -> str | None:
    """Say why the package cannot read a file of this architecture; `None` if it can.

    Args:
        config: The architecture.
        path: The weights file.
    """
    if not isinstance(config.encoder, VitEncoder):
        return f"it has no {config.name}"
    if path.suffix not in {".pth", ".pt"}:
        return f"it reads .pth, not {path.suffix}"
    if find_spec(PACKAGE) is None:
        return 'it is not installed: pip install "samft[export]"'
    return None


def package_name() -> str:
    """Return the package's name with its version, where it is known."""
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return PACKAGE


def build_official(config: SamConfig) -> Any:  # Any: the package has no types
    """Build the package's model of any input size; `sam_model_registry` knows 1024 alone.

    Args:
        config: An architecture with a plain vision transformer.

    Raises:
        DependencyError: if the package is not installed.
    """
    modules, encoder = _builders(), config.encoder
    assert isinstance(encoder, VitEncoder)  # see `why_not`
    return modules.Sam(
        image_encoder=modules.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=encoder.dim,
            depth=encoder.depth,
            num_heads=encoder.heads,
            out_chans=config.embed_dim,
            norm_layer=lambda dim: nn.LayerNorm(dim, eps=_NORM_EPS),
            use_rel_pos=True,
            window_size=encoder.window_size,
            global_attn_indexes=encoder.global_blocks,
        ),
        prompt_encoder=modules.PromptEncoder(
            embed_dim=config.embed_dim,
            image_embedding_size=(config.grid_size, config.grid_size),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=modules.MaskDecoder(
            transformer_dim=config.embed_dim,
            transformer=modules.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.embed_dim,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            num_multimask_outputs=config.num_multimask,
            iou_head_hidden_dim=config.embed_dim,
        ),
    ).eval()


def load_official(config: SamConfig, path: Path) -> Any:  # Any: the package has no types
    """Build the package's model and load a `.pth` as the package does: every key must fit.

    Args:
        config: The architecture.
        path: A plain state dict.

    Raises:
        CheckpointError: if a key is missing, unknown or of another shape.
        DependencyError: if the package is not installed.
    """
    model = build_official(config)
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{PACKAGE} refuses the file", where=path, found=" ".join(str(error).split())[:200]
        ) from error
    return model


@torch.no_grad()
def official_answers(model: Any, images: Tensor, asked: list[PromptBatch]) -> list[Tensor]:
    """Return logits (P, M, S / 4, S / 4) and predicted IoU (P, M) of all masks, prompt by prompt.

    Args:
        model: The package's model.
        images: (1, 3, S, S) float, 0 to 255, RGB, input frame.
        asked: Prompts about that image; all rows of a batch have the same fields.
    """
    embedding = model.image_encoder(model.preprocess(images))
    answers: list[Tensor] = []
    for prompts in asked:
        points = None if prompts.points is None else (prompts.points, prompts.labels)
        sparse, dense = model.prompt_encoder(
            points=points, boxes=prompts.boxes, masks=prompts.mask_logits
        )
        answers += model.mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
    return answers


def _builders() -> Any:  # Any: the package has no types
    """Import what builds the models, beside the package rather than through it."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise DependencyError(
            f"the package {PACKAGE!r} is needed to reload a file in it",
            fix='pip install "samft[export]"',
        )
    if _ALIAS not in sys.modules:
        parent = ModuleType(_ALIAS)
        parent.__path__ = list(spec.submodule_search_locations)
        sys.modules[_ALIAS] = parent
    return import_module(f"{_ALIAS}.build_sam")
