"""What a LightningModule has to do where several processes train it, in shards or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lightning.pytorch import LightningModule
from torch.optim import Optimizer

from samft.models.sam import Sam
from samft.sharding import clip_gradients, gather, is_sharded, release, shard, share_statistics
from samft.sharding_checks import check_shardable

if TYPE_CHECKING:
    from samft.module import SamModule


class ShardedTraining(LightningModule):
    """The hooks with which `SamModule` takes part in FSDP2; on one device they do nothing."""

    sam: Sam

    def configure_model(self) -> None:
        """Shard the image encoder where the trainer's strategy does.

        Raises:
            ConfigError: if the settings do not allow it.
        """
        if self.device_mesh is not None:
            check_shardable(cast("SamModule", self), self.trainer)
            shard(self.sam, self.device_mesh["data_parallel"])

    def on_validation_start(self) -> None:
        """Let every process go through its images at its own pace."""
        gather(self.sam)

    def on_validation_epoch_start(self) -> None:
        """Score, on all processes, the model that is saved; averaged weights are in it by now."""
        share_statistics(self.sam)

    def on_validation_end(self) -> None:
        """End what `on_validation_start` began."""
        release(self.sam)

    on_test_start, on_test_end = on_validation_start, on_validation_end
    on_predict_start, on_predict_end = on_validation_start, on_validation_end

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says; where the encoder is sharded, by norm."""
        if is_sharded(self.sam) and gradient_clip_val:
            clip_gradients(self.sam.parameters(), float(gradient_clip_val))
            return
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
