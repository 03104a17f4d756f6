"""Follows the memory that tensors hold while code runs, be the tensors real or fake."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_ONEDNN_PRODUCT = getattr(torch.ops.mkldnn, "_linear_pointwise", None) and (
    torch.ops.mkldnn._linear_pointwise.default
)


@dataclass(slots=True)
class History:
    """What was allocated and freed, in order.

    Args:
        sizes: Bytes of each storage, by its number.
        labels: What each storage is for.
        events: The numbers of storages: `n` where storage n appears, `~n` where it goes.
    """

    sizes: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    def copy(self) -> History:
        """Return a copy that stays as it is when the original goes on."""
        return History(list(self.sizes), list(self.labels), list(self.events))

    def with_before(self, part: range, *, at: int) -> History:
        """Return a copy in which a part of the events takes place once before, too.

        What it leaves the first time stands for what comes after it with the same size and label,
        up to where the part begins; what stands for nothing goes.

        Args:
            part: Which events.
            at: The event that the first time comes before.
        """
        result, twins = self.copy(), dict[int, int]()
        before: list[int] = []
        for event in self.events[part.start : part.stop]:
            if event >= 0:
                twins[event] = len(result.sizes)
                result.sizes.append(self.sizes[event])
                result.labels.append(self.labels[event])
                before.append(twins[event])
            elif ~event in twins:
                before.append(~twins.pop(~event))
        left = defaultdict[tuple[int, str], list[int]](list)
        for number in reversed(twins.values()):
            left[result.sizes[number], result.labels[number]].append(number)
        stands_for: dict[int, int] = {}
        between = []
        for event in self.events[at : part.start]:
            same = left[self.sizes[event], self.labels[event]] if event >= 0 else []
            if same:
                stands_for[same.pop()] = event
            else:
                between.append(event)
        before = [stands_for.get(event, event) for event in before]
        goes = [~number for numbers in left.values() for number in numbers]
        result.events[at : part.start] = before + goes + between
        return result


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Notes when storages appear and go; those of fake tensors count as if they were real.

    Memory that operators take and give back inside themselves is not seen, except the packed weight
    of oneDNN's matrix product, which is as large as its second factor.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.history = History()
        self._label = ""
        self._numbers: dict[int, int] = {}  # of live storages, by their address

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Say what storages that appear within are for."""
        before, self._label = self._label, label
        try:
            yield
        finally:
            self._label = before

    def follow(self, tensors: Iterable[Tensor], label: str) -> None:
        """Count tensors that were there before, and say what they are for; also afterwards."""
        with self.labelled(label):
            for tensor in tensors:
                self._note(tensor)
                number = self._numbers.get(tensor.untyped_storage()._cdata)
                if number is not None:
                    self.history.labels[number] = label

    def held_by(self, *labels: str) -> int:
        """Return the bytes of the live storages that are for one of `labels`."""
        history = self.history
        return sum(
            history.sizes[number]
            for number in self._numbers.values()
            if history.labels[number] in labels
        )

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # Any: whatever the operator takes and gives
        """Run an operator and note what it made."""
        result = func(*args, **(kwargs or {}))
        if func is _ONEDNN_PRODUCT:
            self._pass(args[1])
        for item in tree_iter(result):
            if isinstance(item, Tensor):
                self._note(item)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not size or key in self._numbers:
            return
        number = len(self.history.sizes)
        self.history.sizes.append(size)
        self.history.labels.append(self._label)
        self.history.events.append(number)
        self._numbers[key] = number
        weakref.finalize(storage, self._forget, key, number)

    def _pass(self, tensor: Tensor) -> None:
        """Note memory of the size of `tensor` that an operator took and gave back."""
        number = len(self.history.sizes)
        self.history.sizes.append(tensor.numel() * tensor.element_size())
        self.history.labels.append(self._label)
        self.history.events += (number, ~number)

    def _forget(self, key: int, number: int) -> None:
        if self._numbers.get(key) == number:
            del self._numbers[key]
        self.history.events.append(~number)
