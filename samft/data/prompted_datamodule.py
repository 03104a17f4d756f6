"""Images and recorded prompts for `samft predict`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch.utils.data import DataLoader

from samft.data.base import BaseDataModule
from samft.data.files import relative_name
from samft.data.loader import ResumableSampler
from samft.data.pictures import num_delivered
from samft.data.prompt_files import read_prompts
from samft.data.prompted import PromptedImage, PromptedImages, collate_prompted, find_source
from samft.data.readers.image import probe_image
from samft.errors import PromptError

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class PromptedImagesDataModule(BaseDataModule):
    """Images from anywhere, with boxes and points from a file; for prediction only.

    Args:
        source: An image, a folder or a glob pattern.
        prompts: JSON or CSV file with boxes and points in pixels of the original images. Without
            one all images come without prompts; with one only those that it names.
        channels: Channels of the files to use, by number from 0; as in training.
        keep_depth: Keep the grey levels of images of more than 8 bits; as in training.
        batch_size: Images per step and device.
        num_workers: Processes that load images; 0 loads in the main process.
    """

    source: str
    prompts: str | None = None
    channels: list[int] | None = None
    keep_depth: bool = False
    batch_size: int = 1
    num_workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least("batch_size", 1)
        self._check_at_least("num_workers", 0)
        self._dataset: PromptedImages | None = None

    @property
    def num_channels(self) -> int:
        """C, channels of the images: 3, or as many as are chosen beyond that."""
        return num_delivered(self.channels)

    def prepare_index(self) -> None:
        """Find the images, read the prompts and check both; once.

        Raises:
            SamftError: for everything that is wrong with them.
        """
        if self._dataset is not None:
            return
        root, paths = find_source(self.source)
        probe = cache(partial(probe_image, every_channel=self.channels is not None))
        images = partial(PromptedImages, root, channels=self.channels, keep_depth=self.keep_depth)
        if self.prompts is None:
            for path in paths:
                probe(path)
            self._dataset = images(paths, {})
            return
        file = Path(self.prompts).expanduser()
        prompts = read_prompts(file, _by_name(root, paths), probe)
        named = [path for path in paths if prompts.get(path)]
        if not named:
            raise PromptError(
                "the prompt file holds no prompts",
                where=file,
                expected="a box or a point for at least one image",
            )
        if len(named) < len(paths):
            _log.info("%d of %d images have prompts in %s", len(named), len(paths), file)
        self._dataset = images(named, prompts)

    def predict_dataloader(self) -> DataLoader[PromptedImage]:
        """Every image once, on one process."""
        self.prepare_index()
        assert self._dataset is not None  # just made
        rank, world_size = self._share()
        sampler = ResumableSampler(
            len(self._dataset),
            seed=0,
            shuffle=False,
            rank=rank,
            world_size=world_size,
            pad=False,
        )
        return DataLoader(
            self._dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=partial(collate_prompted, image_size=self.resolved_image_size()),
        )


def _by_name(root: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Return the images by relative path, and by file name where only one has it."""
    counts = Counter(path.name for path in paths)
    names = {path.name: path for path in paths if counts[path.name] == 1}
    return names | {relative_name(root, path): path for path in paths}
