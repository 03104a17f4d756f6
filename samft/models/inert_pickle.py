"""Read a pickle with an inert object in place of everything it names: nothing is run.

Besides reading old files it shows what an ordinary reader would have to make room for.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from typing import Final

from samft.models.inert_objects import Budget, StorageReference, StorageType, stand_in

PICKLE_ERRORS: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading a pickle raises that is damaged, or made to do harm."""

_MEMO_OPCODES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_NAMING = frozenset({"GLOBAL", "INST"})
_TEXT = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})


def named_objects(pickle_bytes: bytes) -> list[str]:
    """List the names an ordinary reader would look up, and check what its opcodes ask for.

    Args:
        pickle_bytes: One pickle.

    Raises:
        ValueError: if it is damaged, counts its objects far beyond how many there are, or asks for
            objects that other parts of this process may have registered.
    """
    names: set[str] = set()
    texts: list[str] = []
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle_bytes), start=1):
        if opcode.name in _NAMING:
            names.add(str(argument).replace(" ", "."))
        elif opcode.name in _TEXT:
            texts.append(str(argument))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(texts[-2:]) or "a name that is put together")
        elif opcode.name.startswith("EXT"):
            raise ValueError("a name that is kept in the reading program")
        elif opcode.name in _MEMO_OPCODES and int(str(argument)) > count:
            # The reader makes room for as many objects as the number says.
            raise ValueError(f"object number {argument} of {count}")
    return sorted(names)


class InertUnpickler(pickle.Unpickler):
    """Builds a pickle's content with an inert object in place of everything it names.

    Args:
        pickle_bytes: One pickle, checked by `named_objects`.
        names: Gets every name that is asked for.
    """

    def __init__(self, pickle_bytes: bytes, names: set[str]) -> None:
        super().__init__(io.BytesIO(pickle_bytes), encoding="latin1")
        self._names = names
        self._budget = Budget(len(pickle_bytes))
        self._made: dict[str, type] = {}
        self.references: dict[str, StorageReference] = {}

    def find_class(self, module: str, name: str) -> type:
        """Return a class that remembers its arguments; nothing is imported."""
        full = f"{module}.{name}"
        self._names.add(full)
        if full not in self._made:
            self._made[full] = stand_in(full, self._budget)
        return self._made[full]

    def persistent_load(self, pid: object) -> StorageReference | type:
        """Return a description of the bytes of a tensor; they are read later.

        Before torch 1.6 the classes of modules came the same way, with their source beside them.

        Raises:
            TypeError: if it is of an unknown type.
            ValueError: if it is none.
        """
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            if not isinstance(pid[1], type):
                raise TypeError("a module of no class")
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise ValueError("a reference to something that is no tensor")
        kind, key, _, count = pid[1:5]
        if not isinstance(kind, type) or not issubclass(kind, StorageType):
            raise TypeError("a tensor of unknown type")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError("a tensor without name or size")
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("a view of torch before 0.4")
        return self.references.setdefault(
            key, StorageReference(key=key, dtype=kind.dtype, count=count)
        )
