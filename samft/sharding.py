"""The image encoder in shards (FSDP2): every device holds a part of its weights, all run it.

Only the encoder is sharded: it has nine tenths of the weights or more (ViT-B 90 of 94 million).
Prompt encoder and mask decoder stay whole on every device, as in DDP, because the objective
differentiates them piece by piece inside the forward pass; their gradients are averaged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from samft.models.adaptation.parts import encoder_blocks
from samft.models.sam import Sam


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all devices, for encoders that do not fit on one beside their optimiser state.

    Checkpoints are gathered into one ordinary file with the official keys, which every other
    command reads.
    """

    strategy_name = "samft_sharded"

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Take all devices of all machines for data."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()


def shard(sam: Sam, mesh: DeviceMesh) -> None:
    """Shard the image encoder block by block; nothing happens to one that is sharded already.

    Args:
        sam: The model; the whole parts are made equal on all devices.
        mesh: The devices, one dimension.
    """
    encoder = sam.image_encoder
    if is_sharded(sam):
        return
    for tensor in (*sam.parameters(), *sam.buffers()):
        dist.broadcast(tensor.detach(), src=0, group=mesh.get_group())
    for block in encoder_blocks(sam):
        for module in (block.module, block.after):
            if module is not None:
                fully_shard(module, mesh=mesh)
    fully_shard(encoder, mesh=mesh)


def is_sharded(sam: Sam) -> bool:
    """Whether `shard` has been here."""
    return isinstance(sam.image_encoder, FSDPModule)


def gather(sam: Sam) -> None:
    """Hold the whole encoder on every device until `release`.

    For evaluation, where some devices have more images than others: without shards to exchange
    nobody waits for anybody.
    """
    for module in _shards(sam):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()


def release(sam: Sam) -> None:
    """Go back to shards."""
    for module in _shards(sam):
        # The outermost keeps its few weights from forward to backward, as FSDP2 does by itself.
        module.set_reshard_after_forward(module is not sam.image_encoder, recurse=False)
        module.reshard()


def _shards(sam: Sam) -> Iterator[FSDPModule]:
    for module in sam.image_encoder.modules():
        if isinstance(module, FSDPModule):
            yield module


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of whole parameters over all processes; sharded ones already are."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale the gradients of sharded and whole parameters down together.

    Args:
        parameters: What is trained.
        most: Largest norm of all gradients together.

    Returns:
        Scalar, the norm before.
    """
    gradients = [each.grad for each in parameters if each.grad is not None]
    norms = [torch.linalg.vector_norm(each) for each in gradients]
    whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    total = torch.linalg.vector_norm(torch.stack(whole))
    factor = (most / (total + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor)
    return total
