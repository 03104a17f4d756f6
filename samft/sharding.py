"""The image encoder in shards (FSDP2): every device holds a part of its weights, all run it.

Only the encoder is sharded: it has nine tenths of the weights or more (ViT-B 90 of 94 million).
Prompt encoder and mask decoder stay whole on every device, as in DDP, because the objective
differentiates them piece by piece inside the forward pass; their gradients are averaged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from samft.models.adaptation.parts import encoder_blocks
from samft.models.sam import Sam


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all devices, for encoders that do not fit on one beside their optimiser state.

    Checkpoints are gathered into one ordinary file, weights with the official keys and the
    optimiser's state as one process would write it: every other command reads it, and training goes
    on from it with any strategy, as this one does from the files of the others.
    """

    strategy_name = "samft_sharded"

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Take all devices of all machines for data."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Let the optimisers be restored by `load_optimizer_state_dict`."""
        return True

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:  # Any: torch's layout
        """Return the whole state of an optimiser, in torch's own order; empty but in one process.

        Lightning would number the parameters as the model does, not as the optimiser does, whose
        groups are in another order.
        """
        keep = self.is_global_zero
        whole = pytree.tree_map_only(
            Tensor, lambda each: _whole(each, keep), optimizer.state_dict()
        )
        return whole if keep else {}

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:  # Any: Lightning's layout is untyped
        """Read a checkpoint as every other strategy does, whoever wrote it."""
        path = Path(self.broadcast(checkpoint_path))
        return Strategy.load_checkpoint(self, path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Give every process its shards of whole weights."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        loaded = {
            name: _like(tensor, own.get(name)) for name, tensor in checkpoint["state_dict"].items()
        }
        self.lightning_module.load_state_dict(loaded, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give every process its shards of the optimisers' whole state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_sharded_state(optimizer, saved))


# By which it can be named on a command line: --trainer.strategy samft_sharded
StrategyRegistry.register(ShardedStrategy.strategy_name, ShardedStrategy)


def _whole(tensor: Tensor, keep: bool) -> Tensor:
    # All processes take part in gathering a tensor, one of them keeps it.
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu() if keep else full.new_empty(0)


def _like(tensor: Tensor, own: Tensor | None) -> Tensor:
    """Return the shard of a whole tensor that `own` is of its kind, or the tensor as it is."""
    if not isinstance(own, DTensor) or tensor.shape != own.shape:
        return tensor
    placed = tensor.to(own.to_local().device)
    # Everybody has read the file: nothing need be sent.
    return distribute_tensor(placed, own.device_mesh, own.placements, src_data_rank=None)


def _sharded_state(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    numbers = chain.from_iterable(group["params"] for group in saved["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    # Other numbers of parameters are refused by the optimiser itself.
    by_number = dict(zip(numbers, parameters, strict=False))
    state = {
        number: {
            name: _like(value, by_number.get(number)) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in saved["state"].items()
    }
    return {**saved, "state": state}


def shard(sam: Sam, mesh: DeviceMesh) -> None:
    """Shard the image encoder block by block; nothing happens to one that is sharded already.

    Args:
        sam: The model; the whole parts are made equal on all devices.
        mesh: The devices, one dimension.
    """
    encoder = sam.image_encoder
    if is_sharded(sam):
        return
    if mesh.device_type == "cuda":
        sam.to(torch.device("cuda", torch.cuda.current_device()))  # what its processes exchange by
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
        outermost = cast(object, module) is sam.image_encoder
        module.set_reshard_after_forward(not outermost, recurse=False)
        module.reshard()


def _shards(sam: Sam) -> Iterator[FSDPModule]:
    for module in sam.image_encoder.modules():
        if isinstance(module, FSDPModule):
            yield module


def share_statistics(sam: Sam) -> None:
    """Make the statistics of batch norms, on every device, those of the first process.

    They are the ones that are saved. DDP makes them equal before every training step; after the
    last one every process has its own again, and averaged weights have averaged them.

    Args:
        sam: The model; nothing happens in a process that is alone.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in sam.buffers():
            dist.broadcast(buffer, src=0)


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
    total: Tensor = torch.linalg.vector_norm(torch.stack(whole))
    factor = (most / (total + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor)
    return total
