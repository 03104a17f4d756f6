"""Objects that stand in a pickle for the functions and classes it names, and do nothing."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import torch

_DTYPES: Final = {
    "BFloat16": torch.bfloat16,
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Short": torch.int16,
    "Untyped": torch.uint8,
}
_MODULES = ("torch", "torch.cuda", "torch.storage")
_COPIES_PER_BYTE = 8


class Budget:
    """How many objects may still be copied.

    A pickle of a few bytes can ask for the same large list to be copied again and again.

    Args:
        num_bytes: Size of the pickle; an honest one copies each object once.
    """

    def __init__(self, num_bytes: int) -> None:
        self._left = _COPIES_PER_BYTE * num_bytes

    def spend(self, count: int) -> None:
        """Count objects that are copied.

        Raises:
            ValueError: if there are too many.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("the same objects are copied again and again")


class _Fixed:
    """Base of what cannot be given a state by the file."""

    def __setstate__(self, state: object) -> None:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError("a state for something that has none")


@dataclass(frozen=True, kw_only=True, eq=False)
class StorageReference(_Fixed):
    """The bytes of one or several tensors.

    Args:
        key: Name inside the file.
        dtype: Type of the values.
        count: How many values there are.
    """

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorReference(_Fixed):
    """A tensor as the file describes it; nothing but `storage` has been checked.

    Args:
        storage: Where its values are.
        offset: Place of the first one among those of the storage.
        size: Shape.
        stride: Steps between values along each axis, in values.
    """

    storage: StorageReference
    offset: Any
    size: Any
    stride: Any


class InertObject:
    """Remembers what it was made of, and what state it was given.

    Attributes:
        parts: Everything it was given, in order.
        state: The last state, usually the attributes of the real object.
    """

    name: ClassVar[str] = ""
    budget: ClassVar[Budget | None] = None

    parts: list[Any]
    state: Any

    def __new__(cls, *arguments: object, **settings: object) -> Self:
        """Keep the arguments, also where the file makes objects without initialising them."""
        made = super().__new__(cls)
        if cls.budget is not None:
            cls.budget.spend(len(arguments) + len(settings))
        made.parts = [*arguments, *settings.values()]
        made.state = None
        return made

    def __init__(self, *arguments: object, **settings: object) -> None:
        """Do nothing; `__new__` has kept the arguments."""

    def __call__(self, *arguments: object) -> InertObject:
        """Stand for a method or function that the file would have called."""
        made = InertObject(*arguments)
        if self.budget is not None:
            self.budget.spend(len(arguments))
        return made

    def __setstate__(self, state: object) -> None:
        """Keep the state; it is not taken apart."""
        self.state = state
        self.parts.append(state)

    def append(self, item: object) -> None:
        """Keep an entry of what would be a list."""
        self.parts.append(item)

    def extend(self, items: list[object]) -> None:
        """Keep entries of what would be a list."""
        self.parts.extend(items)

    def add(self, item: object) -> None:
        """Keep an entry of what would be a set."""
        self.parts.append(item)

    def __setitem__(self, key: object, value: object) -> None:
        """Keep an entry of what would be a dictionary."""
        self.parts.append((key, value))


class InertCopy(InertObject):
    """Stands for what copies its argument, such as `set`."""

    def __new__(cls, *arguments: object, **settings: object) -> Self:
        """Count what would be copied, and keep the arguments."""
        if cls.budget is not None:
            cls.budget.spend(sum(len(item) for item in arguments if isinstance(item, Sized)))
        return super().__new__(cls, *arguments, **settings)


class StorageType(InertObject):
    """Stands for a class such as `torch.FloatStorage`; subclasses know its type."""

    dtype: ClassVar[torch.dtype]


class InertDict(dict[Any, Any]):
    """Stands for ordered and default dictionaries."""

    budget: ClassVar[Budget]

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        for argument in arguments:
            if isinstance(argument, dict | list):
                self.budget.spend(len(argument))
                self.update(argument)

    def __setstate__(self, state: object) -> None:
        """Drop what else was attached to the dictionary, such as its version."""
        if isinstance(state, Sized):
            self.budget.spend(len(state))


class _Rebuilt(_Fixed):
    """Base of the stand-ins for functions that return a tensor; never an object itself."""


class _Tensor(_Rebuilt):
    def __new__(
        cls, storage: object, offset: object, size: object, stride: object, *_: object
    ) -> Any:
        if not isinstance(storage, StorageReference):
            raise TypeError("a tensor without values")
        return TensorReference(storage=storage, offset=offset, size=size, stride=stride)


class _Parameter(_Rebuilt):
    def __new__(cls, data: object, *_: object) -> Any:
        return data


class _FromType(_Rebuilt):
    def __new__(cls, function: object, _: object, arguments: object, *__: object) -> Any:
        if not isinstance(function, type) or not isinstance(arguments, tuple):
            raise TypeError("a tensor that is rebuilt in an unknown way")
        return function(*arguments)


_REBUILDERS: Final[dict[str, type[_Rebuilt]]] = {
    "torch._utils._rebuild_tensor": _Tensor,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _Parameter,
    "torch._utils._rebuild_parameter_with_state": _Parameter,
    "torch._tensor._rebuild_from_type_v2": _FromType,
}
_COPYING = frozenset(
    {
        *(
            f"{module}.{name}"
            for module in ("builtins", "__builtin__")
            for name in ("set", "frozenset")
        ),
        *("_codecs.encode", "collections.Counter", "torch.Size"),
    }
)
_DICTIONARIES = frozenset({"collections.OrderedDict", "collections.defaultdict", "builtins.dict"})


def stand_in(name: str, budget: Budget) -> type:
    """Return a new class for a name; it is made for one file and thrown away with it.

    Args:
        name: Module and name, as the pickle has them.
        budget: What the file may still copy.
    """
    if name in _REBUILDERS:
        return type("Rebuilt", (_REBUILDERS[name],), {"__slots__": ()})
    if name in _DICTIONARIES:
        return type("InertDict", (InertDict,), {"budget": budget})
    if name in _COPYING:
        return type("InertCopy", (InertCopy,), {"name": name, "budget": budget})
    module, _, last = name.rpartition(".")
    kind = last.removesuffix("Storage")
    if module in _MODULES and last.endswith("Storage") and kind in _DTYPES:
        return type(
            "StorageType", (StorageType,), {"name": name, "dtype": _DTYPES[kind], "budget": budget}
        )
    return type("InertObject", (InertObject,), {"name": name, "budget": budget})
