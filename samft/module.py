"""`SamModule`: SAM as a LightningModule, trained with simulated prompts and validated honestly."""

from __future__ import annotations

import logging
from typing import Any, Literal, Self

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from samft.accumulation import ObjectMean
from samft.cached_encoder import CachedEncoder, OnError
from samft.data.prompted import PromptedBatch
from samft.encoding import PiecewiseEncoder
from samft.errors import ConfigError
from samft.exact_resume import go_on_exactly
from samft.inference.overlay import picture
from samft.inference.prediction import predict_images
from samft.inference.predictions import ImagePrediction
from samft.losses import LossTerms, SamLossSettings
from samft.models.adaptation import apply
from samft.models.adaptation.presets import settle
from samft.models.adaptation.settings import AdaptationPreset, AdaptationSettings
from samft.models.channels import ChannelSettings
from samft.models.registry import build_sam
from samft.models.weights import load_weights
from samft.module_checks import (
    check_cacheable,
    check_channels,
    check_clicks,
    check_length,
    check_names,
    check_variants,
)
from samft.objective import InteractiveObjective
from samft.optim import OptimizerSettings, lightning_optimizers
from samft.planning.advice import advised
from samft.planning.batch_size import settle_batch_size
from samft.prompts.settings import PromptSettings
from samft.prompts.streams import ImageStreams
from samft.sharded_training import ShardedTraining
from samft.sharding import average_gradients, is_sharded
from samft.types import MaskOutput, PromptBatch, SamBatch
from samft.validation import PROMPTS, PromptKind, Validation, simulate
from samft.window_settings import WindowSettings

logger = logging.getLogger(__name__)


EmbeddingType = Literal["off", "float16", "bfloat16", "float32"]


class SamModule(ShardedTraining):
    """SAM with its training objective, interactive prompt simulation and validation.

    Takes `samft.types.SamBatch` from a samft datamodule. Validation prompts every object with its
    tight box and with its centre point and scores the answer at the original resolution; nothing
    in it is random. The first full validation, before any training, is kept as `zero_shot`.

    Args:
        arch: Named size: vit_b, vit_l, vit_h, vit_t (MobileSAM), or vit_nano for tests and laptops.
        weights: Where to start: a named model such as vit_b, a file, a folder, or nothing for
            random weights.
        image_size: Side of the square the model sees; default is the size's own (1024, nano 256).
        channels: How images of other than three channels become three; default: images are RGB.
        trim_padding: Cut off the padding that all images of a batch share: faster where they are
            not square. SAM was trained with it.
        adapt: What is trained: a preset (frozen: the mask decoder alone, the default; lora,
            late_lora, late, full), or settings of your own.
        prompts: How prompts are simulated in training.
        loss: Weights of the objective.
        optimizer: Learning rate, decay and schedule.
        loss_stride: The loss compares masks at 1 / loss_stride of the input side: 4 is the
            decoder's own resolution, 1 the full input.
        windows: Whether training images are cut into windows.
        max_prompts_per_step: Objects decoded at once in training; lower it when memory runs out.
            The gradients are the same. Default: for images of 1024 pixels and patches of 16, 8 on
            a CPU and 64 on a GPU; more where the image embedding is smaller.
        validation_prompts: Prompt types to validate with; default box and point.
        validation_clicks: Most clicks of the point prompt in validation: with more than 1 a user
            is simulated who corrects the answer, which takes as many decoder passes.
        checkpoint_blocks: Recompute encoder blocks in backward: less memory, more time.
        cache_embeddings: Run the frozen part of the image encoder, all of it or what lies below the
            first trained block, once for each image, and keep what it gives on disk in this type.
            Where images are augmented, set `data.variants`.
        cache_on_error: What to do when the disk is full or fails: `compute` from then on, with a
            warning, or `raise` an error.
        compile_encoder: Let `torch.compile` make the image encoder faster; costs a minute or more
            at the start, and needs a C++ compiler (on a GPU: Triton).
        drop_path: Highest drop-path rate of the image encoder.
        seed: Base of all random prompts.

    Raises:
        ConfigError: if a setting is out of range or nothing would be trained.
        CheckpointError: if `weights` does not fit.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A.
    """

    def __init__(
        self,
        arch: str = "vit_b",
        *,
        weights: str | None = None,
        image_size: int | None = None,
        channels: ChannelSettings | None = None,
        trim_padding: bool = False,
        adapt: AdaptationSettings | AdaptationPreset = "frozen",
        prompts: PromptSettings | None = None,
        loss: SamLossSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        loss_stride: int = 4,
        windows: WindowSettings | None = None,
        max_prompts_per_step: int | None = None,
        validation_prompts: list[PromptKind] | None = None,
        validation_clicks: int = 1,
        checkpoint_blocks: bool = False,
        cache_embeddings: EmbeddingType = "off",
        cache_on_error: OnError = "compute",
        compile_encoder: bool = False,
        drop_path: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.prompt_settings = PromptSettings.resolve(prompts)
        self.loss_settings = SamLossSettings.resolve(loss)
        self.optimizer_settings = OptimizerSettings.resolve(optimizer)
        self.validation_prompts = tuple(validation_prompts or PROMPTS)
        check_clicks(validation_clicks)
        check_names(self.validation_prompts, PROMPTS, "validation_prompts", "prompt type")
        self.seed = seed
        self.sam = build_sam(
            arch, image_size=image_size, drop_path=drop_path, checkpoint_blocks=checkpoint_blocks
        )
        self.sam.set_channels(None if channels is None else ChannelSettings.resolve(channels))
        self.sam.trim_padding = trim_padding
        self.base_weights = {} if weights is None else self._load(weights)
        self.adapted = apply.adapt(self.sam, settle(adapt, from_scratch=weights is None))
        self.encoder = PiecewiseEncoder(self.sam)
        self.cached_encoder = self._cached(cache_embeddings, cache_on_error)
        self.zero_shot: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.objective = InteractiveObjective(
            self.sam,
            prompts=self.prompt_settings,
            loss=self.loss_settings,
            loss_stride=loss_stride,
            windows=WindowSettings.resolve(windows),
            max_prompts_per_step=max_prompts_per_step,
        )
        self.object_mean = ObjectMean()
        self.validation = Validation(self.validation_prompts, clicks=validation_clicks)
        self._record(
            arch=arch,
            checkpoint_blocks=checkpoint_blocks,
            cache_embeddings=cache_embeddings,
            compile_encoder=compile_encoder,
            drop_path=drop_path,
        )

    @property
    def image_size(self) -> int:
        """S, the side of the square the model sees; datamodules ask for it."""
        return self.sam.image_size

    @property
    def trim_to(self) -> int | None:
        """What sides of trimmed batches are multiples of; datamodules ask for it."""
        return self.sam.config.patch_size if self.sam.trim_padding else None

    @property
    def score_names(self) -> list[str]:
        """What validation logs, for checkpoints and early stopping to watch."""
        return [*(f"val/{name}" for name in self.validation.names), "train/loss"]

    def forward(
        self, images: Tensor, input_sizes: Tensor, prompts: PromptBatch, *, multimask: bool = True
    ) -> MaskOutput:
        """Encode (B, 3, S, S) images of 0..255 and answer P prompts; see `Sam.forward`."""
        output: MaskOutput = self.sam(images, input_sizes, prompts, multimask=multimask)
        return output

    def encode(self, batch: SamBatch | PromptedBatch) -> Tensor:
        """Return the image embeddings (B, D, h, w); without a graph when the encoder is frozen."""
        if self.cached_encoder is not None and isinstance(batch, SamBatch):
            return self.cached_encoder(batch.images, batch.input_sizes)
        wanted = torch.is_grad_enabled() and self.adapted.embeddings_change
        with torch.set_grad_enabled(wanted):
            return self.encoder(batch.images, batch.input_sizes)

    def training_loss(self, batch: SamBatch, *, step: int, progress: float = 0.0) -> LossTerms:
        """Return the objective of one batch, averaged over prompt rounds.

        Does not log and does not need a trainer, so that it can serve as a part of another module.

        Args:
            batch: B images with P objects; P may be 0.
            step: Number of the step; the prompts of an image are a pure function of it, of the
                seed and of the image's name, whatever else is in the batch.
            progress: Share of the training done, 0 to 1, for terms that fade out.
        """
        if max(batch.images.shape[-2:]) != self.image_size:
            raise ConfigError(
                "images and model differ in size",
                where="data.image_size",
                found=max(batch.images.shape[-2:]),
                expected=self.image_size,
                fix="leave data.image_size unset, or set it to the model's",
            )
        streams = ImageStreams(self.seed, step, batch.sample_ids, device=batch.images.device)
        # In shards all devices encode at once: one that began again would wait for the others.
        alone = self.cached_encoder is None and not is_sharded(self.sam)
        retry = self.encoder.retrying if alone else None
        with advised(self, batch):
            return self.objective(
                batch, encode=self.encode, generator=streams, progress=progress, retry=retry
            )

    def setup(self, stage: str) -> None:
        """Check the length of the run, and choose the size of the batches that is left open."""
        if stage == "fit":
            check_length(self, self.trainer)
            settle_batch_size(self, getattr(self.trainer, "datamodule", None), self.trainer)

    def on_fit_start(self) -> None:
        """Take what the datamodule has of recorded prompts, and compile what is to be compiled."""
        data = getattr(self.trainer, "datamodule", None)  # missing where loaders are handed over
        check_channels(self.sam, data)
        self.objective.replay(getattr(data, "recorded", None))
        if self.cached_encoder is not None:
            check_variants(data)
            self.cached_encoder.expect(data)
        if self.hparams["compile_encoder"]:
            self.sam.image_encoder.compile()  # in place: the keys of the weights stay

    def on_train_start(self) -> None:
        """Let a resumed run go on with the batch that comes next."""
        go_on_exactly(self.trainer)

    def training_step(self, batch: SamBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch and log its parts."""
        progress = min(1.0, self.global_step / max(1, self.trainer.estimated_stepping_batches))
        step = self.trainer.fit_loop.total_batch_idx
        terms = self.training_loss(batch, step=step, progress=progress)
        size = max(1, len(batch.sample_ids))
        self.log("train/loss", terms.total, prog_bar=True, batch_size=size)
        for name in self.objective.loss.logged:
            self.log(f"train/{name}", getattr(terms, name), batch_size=size)
        if len(terms.best):
            self.log("train/mask_iou", terms.chosen_iou, batch_size=size)
        # Weighted by objects over accumulated batches and processes, not by batches.
        return self.object_mean.weigh(
            terms.total, len(terms.best), batch_idx=batch_idx, trainer=self.trainer
        )

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn gradients of a sum over objects into those of a mean."""
        if is_sharded(self.sam):
            average_gradients(self.sam.parameters())
        self.object_mean.divide(self.sam.parameters(), trainer=self.trainer)

    def on_train_end(self) -> None:
        """Say what became of the objects that were offered."""
        if self.trainer.is_global_zero:
            logger.info("training: %s", self.objective.counts)

    def teardown(self, stage: str) -> None:
        """Finish the cache of embeddings."""
        if self.cached_encoder is not None:
            self.cached_encoder.close()

    def validation_step(self, batch: SamBatch, batch_idx: int) -> None:
        """Score the batch's objects for each prompt type, at the original resolution."""
        self.validation.update(self.sam, batch, self.encode(batch))

    def test_step(self, batch: SamBatch, batch_idx: int) -> None:
        """Score the batch's objects, as in validation."""
        self.validation.update(self.sam, batch, self.encode(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores; keep those of a full pass before training as `zero_shot`."""
        values = {f"val/{name}": value for name, value in self.validation.compute().items()}
        plain = {name: float(value) for name, value in values.items()}
        if self.trainer.sanity_checking:
            # The default sanity check sees two batches: no basis for a comparison.
            if self.trainer.num_sanity_val_steps == float("inf") and self.global_step == 0:
                self.zero_shot = plain
            return
        self.history.append({"epoch": self.current_epoch, **plain})
        for name, value in values.items():
            self.log(name, value, prog_bar="/iou_" in name, sync_dist=True)
        self.log_dict(
            {name.replace("val/", "zero_shot/"): value for name, value in self.zero_shot.items()},
            sync_dist=True,  # the same everywhere, which Lightning cannot know
        )

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test split."""
        scores = self.validation.compute()
        self.log_dict({f"test/{name}": value for name, value in scores.items()})

    def predict_step(
        self, batch: SamBatch | PromptedBatch, batch_idx: int
    ) -> list[ImagePrediction]:
        """Segment what the batch's prompts ask for, or else what its truth's boxes ask for."""
        embeddings = self.encode(batch)
        if isinstance(batch, PromptedBatch):
            return predict_images(
                self.sam,
                embeddings,
                batch.prompts,
                frames=batch.frames,
                sample_ids=batch.sample_ids,
                prompt_ids=batch.prompt_ids,
                classes=batch.prompt_classes,
                images=batch.originals,
            )
        assert batch.samples is not None  # prediction loaders keep the samples
        return predict_images(
            self.sam,
            embeddings,
            simulate(self.validation_prompts[0], batch),
            frames=batch.frames,
            sample_ids=batch.sample_ids,
            classes=self._class_names(batch),
            images=[picture(sample.image) for sample in batch.samples],
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule, see `OptimizerSettings`."""
        if self.trainer.num_training_batches == float("inf"):
            self.trainer.fit_loop.setup_data()  # with max_steps nobody has counted them yet
        return lightning_optimizers(
            self.sam,
            self.optimizer_settings,
            total_steps=self.trainer.estimated_stepping_batches,
            batches_per_epoch=int(self.trainer.num_training_batches),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where the weights came from and what they scored before training."""
        checkpoint["samft"] = {
            "base_weights": self.base_weights,
            "zero_shot": self.zero_shot,
            "history": self.history,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added."""
        extra = checkpoint.get("samft", {})
        self.base_weights = dict(extra.get("base_weights", {}))
        self.zero_shot = dict(extra.get("zero_shot", {}))
        self.history = list(extra.get("history", []))

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self.adapted.train(mode)
        return self

    def _load(self, weights: str) -> dict[str, str]:
        info = load_weights(self.sam, weights)
        return {"source": weights, "sha256": info.sha256}

    def _cached(self, dtype: EmbeddingType, on_error: OnError) -> CachedEncoder | None:
        if dtype == "off":
            return None
        check_cacheable(self.adapted)
        stop = self.adapted.cut.stop
        return CachedEncoder(self.sam, stop=stop, dtype=dtype, on_error=on_error)

    def _record(self, **plain: Any) -> None:  # Any: settings of several plain types
        """Save the hyper-parameters: `plain` and what the constructor made of the others."""
        # Plain data only, so that checkpoints load with weights_only=True; and without `weights`:
        # the checkpoint holds them, the file they came from need not exist where it is loaded.
        self.save_hyperparameters(
            {
                **plain,
                "seed": self.seed,
                "loss_stride": self.objective.loss_stride,
                "max_prompts_per_step": self.objective.max_prompts_per_step,
                "validation_clicks": self.validation.clicks,
                "image_size": self.sam.image_size,
                "channels": None if self.sam.channels is None else self.sam.channels.to_dict(),
                "trim_padding": self.sam.trim_padding,
                "adapt": self.adapted.settings.to_dict(),
                "prompts": self.prompt_settings.to_dict(),
                "loss": self.loss_settings.to_dict(),
                "optimizer": self.optimizer_settings.to_dict(),
                "windows": self.objective.windows.to_dict(),
                "validation_prompts": list(self.validation_prompts),
            }
        )

    def _class_names(self, batch: SamBatch) -> list[str] | None:
        data = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        names = getattr(data, "class_names", None)
        return [names[index] for index in batch.object_class.tolist()] if names else None
