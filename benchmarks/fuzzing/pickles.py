"""Changes to pickles, opcode by opcode: what comes out is read far further than random bytes."""

from __future__ import annotations

import pickletools
import random
import struct
from typing import Final

_GLOBALS: Final = (
    *(("os", "system"), ("builtins", "eval"), ("builtins", "bytearray"), ("builtins", "range")),
    *(("torch", "Tensor"), ("torch", "UntypedStorage"), ("torch", "FloatStorage")),
    *(("torch", "BoolStorage"), ("torch", "DoubleStorage"), ("torch", "ByteStorage")),
    *(("torch", "device"), ("torch", "float32"), ("torch", "Size"), ("torch.nn", "Linear")),
    *(("collections", "OrderedDict"), ("collections", "Counter"), ("collections", "defaultdict")),
    *(("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")),
    *(("torch._utils", "_rebuild_parameter_with_state"), ("torch", "Generator")),
    *(("torch._utils", "_rebuild_sparse_tensor"), ("copyreg", "_reconstructor")),
    *(("torch._tensor", "_rebuild_from_type_v2"), ("torch._utils", "_rebuild_qtensor")),
    *(("_codecs", "encode"), ("builtins", "set"), ("__builtin__", "set")),
    *(("builtins", "getattr"), ("numpy", "ndarray"), ("pathlib", "PosixPath"), ("torch", "a b.c")),
)  # fmt: skip
_NUMBERS: Final = (
    *(0, 1, -1, 2, 3, 16, 255, 256, 65_535, 10**6, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62),
    *(2**63 - 1, -(2**63), 2**63, 2**64, 10**30),
)
_TEXTS: Final = (
    *("", "0", "1", "cpu", "cuda:0", "meta", "storage", "module", "../../etc/passwd", "é" * 40),
    *("state_dict", "hyper_parameters", "model", "_metadata", "keys", "items", "__class__"),
    *("image_encoder.", "image_encoder.pos_embed", "module.image_encoder.x", "x" * 5000, "\n\n\n"),
)
_PLAIN: Final = (
    *(b"N", b"\x88", b"\x89", b")", b"]", b"}", b"(", b"0", b"2", b"1", b"t", b"l", b"d", b"a"),
    *(b"e", b"s", b"u", b"R", b"b", b"Q", b"\x81", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90"),
    *(b"\x91", b"\x92", b"\x93", b"\x94", b"o", b".", b"q\x00", b"h\x00", b"h\x01", b"q\xff"),
    *(b"\x82\x01", b"Va\n", b"I1\n", b"I01\n", b"F1.5\n", b"L9L\n", b"S'a'\n", b"p0\n", b"g0\n"),
    *(b"r\xff\xff\xff\x00", b"j\x00\x00\x00\x00", b"G\x7f\xf8\0\0\0\0\0\0", b"C\x01a", b"U\x01a"),
    *(b"T\x00\x00\x00\x40", b"B\x00\x00\x00\x40", b"X\xff\xff\xff\x7f", b"\x80\x05", b"P0\n"),
)


def mutate_pickle(data: bytes, seed: int) -> bytes:
    """Delete, repeat, swap, insert or change opcodes of a pickle; what is none stays as it is.

    Args:
        data: One pickle, and whatever follows it.
        seed: Decides what is changed.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    parts, rest = opcodes(data)
    if not parts:
        return data
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change(parts, chance)
    return b"".join(parts) + rest


def opcodes(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the opcodes of a pickle with their arguments, as far as they can be read.

    Returns:
        The opcodes, and what follows them.
    """
    starts: list[int] = []
    end = len(data)
    try:
        for opcode, _, place in pickletools.genops(data):
            starts.append(place or 0)
            if opcode.name == "STOP":
                end = (place or 0) + 1
    except ValueError:
        pass
    return [data[a:b] for a, b in zip(starts, [*starts[1:], end], strict=False)], data[end:]


def _change(parts: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(parts))
    kind = chance.randrange(6)
    if kind == 0 and len(parts) > 1:
        del parts[place]
    elif kind == 1:
        parts.insert(place, chance.choice(parts))
    elif kind == 2:
        other = chance.randrange(len(parts))
        parts[place], parts[other] = parts[other], parts[place]
    elif kind == 3:
        parts.insert(place, chance.choice(_PLAIN))
    else:
        parts[place] = _another(parts[place], chance)


def _another(part: bytes, chance: random.Random) -> bytes:
    """Return an opcode of the same kind with another argument, now and then of another kind."""
    kind = part[:1]
    if chance.randrange(8) == 0:
        kind = chance.choice((b"c", b"K", b"X", b""))
    if kind == b"c":
        module, name = chance.choice(_GLOBALS)
        return f"c{module}\n{name}\n".encode()
    if kind in b"KMJ\x8a\x8bIL":
        return encoded_number(chance.choice(_NUMBERS))
    if kind in b"XV\x8cU":
        return encoded_text(chance.choice(_TEXTS))
    return chance.choice(_PLAIN)


def encoded_number(value: int) -> bytes:
    """Return the opcode that puts a whole number onto the stack."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    length = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def encoded_text(value: str) -> bytes:
    """Return the opcode that puts a text onto the stack."""
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content
