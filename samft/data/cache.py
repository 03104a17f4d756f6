"""Keeps the last used decoded volumes in memory, within a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Anything that knows its size in memory."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...


Item = TypeVar("Item", bound=Sized)


class ByteLimitedCache(Generic[Item]):
    """Least recently used items go first once their sizes exceed the limit.

    An item larger than the limit is kept until the next one comes. A copy that travels to another
    process starts empty.

    Args:
        max_bytes: Limit of this process.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._items: OrderedDict[Hashable, Item] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Return the item of `key`, made now if it is not there."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        item = make()
        self._items[key] = item
        while len(self._items) > 1 and sum(i.nbytes for i in self._items.values()) > self.max_bytes:
            self._items.popitem(last=False)
        return item

    def __len__(self) -> int:
        return len(self._items)

    def __getstate__(self) -> int:
        return self.max_bytes

    def __setstate__(self, state: int) -> None:
        self.__init__(state)  # type: ignore[misc]  # a fresh, empty cache
