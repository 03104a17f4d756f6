"""A text encoder that knows a handful of words."""

import torch
from torch import Tensor

WIDTH = 6


class FakeEncoder:
    """Puts a text at a random but fixed place; a crop at its mean colours."""

    side = 28
    patch = 14

    def __init__(self, tokens: int = 32) -> None:
        self.tokens = tokens
        self.seen: list[str] = []
        self.crops: list[tuple[Tensor, Tensor]] = []

    def embed_texts(self, texts: list[str]) -> Tensor:
        self.seen += texts
        return torch.stack(
            [
                torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(text.encode())))
                for text in texts
            ]
        )

    def embed_crops(self, crops: Tensor, inside: Tensor) -> Tensor:
        self.crops.append((crops, inside))
        return crops.mean(dim=(2, 3)).repeat(1, 2) + 1

    def project(self, embeddings: Tensor) -> Tensor:
        assert torch.allclose(embeddings.norm(dim=1), torch.ones(len(embeddings)))
        weight = torch.randn(WIDTH, self.tokens, generator=torch.Generator().manual_seed(1))
        return embeddings @ weight


class NanoEncoder(FakeEncoder):
    """One for the width of `vit_nano`'s tokens."""

    def __init__(self) -> None:
        super().__init__(128)


class Demanding(FakeEncoder):
    """Cannot be made without arguments."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path


class Failing(FakeEncoder):
    """Has lost its weights."""

    def embed_texts(self, texts: list[str]) -> Tensor:
        raise RuntimeError("no weights\nhere")
