"""Encoding every image of a data set once, before any training."""

from __future__ import annotations

from collections.abc import Iterator

from rich.progress import track

from samft.cached_encoder import CachedEncoder
from samft.cli.lightning import SamftCLI, run
from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError
from samft.module_checks import check_variants
from samft.types import SamBatch

_OPTION = "--model.cache_embeddings"


class CacheCLI(SamftCLI):
    """Takes the options of `samft fit`, and encodes where that would train."""

    def _run_subcommand(self, subcommand: str) -> None:
        del subcommand  # always fit, whose options these are
        self.before_fit()
        encoder, data = self.model.cached_encoder, self.datamodule
        if encoder is None or not isinstance(data, SplitDataModule):
            raise ConfigError(
                "there is nothing to cache",
                where="model.cache_embeddings and data",
                expected="a type such as float16, and a samft datamodule with masks",
            )
        if data.image_size is None:
            data.image_size = self.model.image_size
        check_variants(data)
        precision = self.trainer.precision_plugin
        precision.convert_module(self.model.to(self.trainer.strategy.root_device)).eval()
        with precision.forward_context():  # what is computed depends on it, so fit looks for it
            build(encoder, data)


def build(encoder: CachedEncoder, data: SplitDataModule) -> None:
    """Encode the training images, each of their variants, and those of validation.

    What is stored already is left as it is.

    Args:
        encoder: What encodes and stores; nothing is encoded that it cannot store.
        data: The images.

    Raises:
        MachineError: if there is no room for them, or the disk cannot be written.
    """
    encoder.on_error = "raise"
    encoder.expect(data)
    train, val = data.train_dataloader(), data.val_dataloader()
    passes = data.variants or 1
    device = encoder.sam.pixel_mean.device

    def batches() -> Iterator[SamBatch]:
        for epoch in range(passes):
            train.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # a sampler of samft
            yield from train
        yield from val  # type: ignore[misc]  # an empty list without a split

    for batch in track(batches(), "encoding", total=len(train) * passes + len(val)):
        ready = batch.to(device)
        encoder.fill(ready.images, ready.input_sizes)
    encoder.close()


def main(options: list[str]) -> int:
    """Build the cache that `samft fit` with the same options will read.

    Args:
        options: Those of `samft fit`.
    """
    given = {word.partition("=")[0] for word in options}
    extra = [] if _OPTION in given else [_OPTION, "float16"]
    run(["fit", *options, *extra], kind=CacheCLI)
    return 0
