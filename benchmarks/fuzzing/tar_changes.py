"""Changes to tar files, with checksums that are right again."""

from __future__ import annotations

import random
from typing import Final

from benchmarks.fuzzing.mutation import mutate_json

_BLOCK: Final = 512
_NAMES: Final = (
    *(b"../a.jpg", b"/etc/passwd", b"a/../../b.png", b"C:\\x.jpg", b"..\\a.jpg", b"a\\b.jpg", b""),
    *(b".", b"..", b"./", b"a.jpg/", b"\xff\xfe.jpg", b"A.PNG", b"a.mask.png", b"a.cls", b"a.json"),
    *(
        b"a.txt",
        b"a\nb.jpg",
        b"\x1b[2J.png",
        b"n" * 100,
        "e\u0301.png".encode(),
        b"a.png",
        b"a.tif",
    ),
)
_SIZES: Final = (
    *(b"00000000000\0", b"77777777777\0", b"-0000000001\0", b"99999999999\0", b"            "),
    *(b"\x80" + bytes(10) + b"\x40", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"00000000017\0"),
    *(b"\x80\0\0\0\x7f" + b"\xff" * 7, b"0x000000001\0", b"1_000      \0", b"00000001000\0"),
)
_KINDS: Final = b"0\x00123456789LKxgXSVANDMZ"
_MAGICS: Final = (b"ustar\x0000", b"ustar  \x00", b"\0" * 8, b"nonsense")
_PAX: Final = (
    *(b"path=../a.jpg", b"path=/etc/passwd", b"path=", b"path=a.png", b"size=0", b"size=-1"),
    *(b"size=9" * 30, b"size=99999999999999999999", b"GNU.sparse.major=1", b"linkpath=/etc"),
    *(b"size=" + "\u0665".encode(), b"path=" + b"x" * 3000, b"hdrcharset=BINARY", b"=", b"x"),
)


def mutate_tar(data: bytes, seed: int) -> bytes:
    """Change a header, a content or the order of a tar's members; all checksums fit afterwards.

    Args:
        data: A tar file; what is none is returned as it is.
        seed: Decides what is changed.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    members, rest = _members(data)
    if not members:
        return data
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(members, chance)
    return b"".join(members) + rest


def _members(data: bytes) -> tuple[list[bytes], bytes]:
    """Return each member's header and content, and what follows the last one."""
    found, place = [], 0
    while place + _BLOCK <= len(data) and data[place : place + _BLOCK].strip(b"\0"):
        digits = data[place + 124 : place + 136].strip(b"\0 ")
        size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else 0
        end = place + _BLOCK + -(-size // _BLOCK) * _BLOCK
        found.append(data[place:end])
        place = end
    return found, data[place:]


def _change(members: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(members))
    kind = chance.randrange(8)
    if kind == 0 and len(members) > 1:
        del members[place]
    elif kind == 1:
        members.insert(place, chance.choice(members))
    elif kind == 2:
        members[place] = _with_content(members[place], chance)
    elif kind == 3:
        members.insert(place, _extension(chance))
    else:
        members[place] = _with_field(members[place], chance)


def _with_field(member: bytes, chance: random.Random) -> bytes:
    start, values = chance.choice(
        (
            (0, [name.ljust(100, b"\0")[:100] for name in _NAMES]),
            (345, [name.ljust(155, b"\0")[:155] for name in _NAMES]),
            (124, list(_SIZES)),
            (156, [bytes([kind]) for kind in _KINDS]),
            (257, list(_MAGICS)),
            (157, [b"/etc/passwd".ljust(100, b"\0")]),
        )
    )
    value = chance.choice(values)
    return with_checksum(member[:start] + value + member[start + len(value) :])


def _with_content(member: bytes, chance: random.Random) -> bytes:
    digits = member[124:136].strip(b"\0 ")
    size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else 0
    content = member[_BLOCK : _BLOCK + size]
    if content.startswith((b"{", b"[")):
        content = mutate_json(content, chance.randrange(2**31))
    elif content:
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        content = bytes(changed)[
            : chance.choice((len(changed), chance.randrange(len(changed)) + 1))
        ]
    return packed(member[:_BLOCK], content)


def _extension(chance: random.Random) -> bytes:
    """Return a header of GNU or pax that says something about the next member."""
    kind = chance.choice((b"x", b"x", b"X", b"g", b"L", b"K"))
    text = (
        chance.choice(_NAMES) + b"\0" if kind in b"LK" else _pax_record(chance.choice(_PAX), chance)
    )
    return packed(b"ext".ljust(156, b"\0") + kind + bytes(355), text)


def _pax_record(text: bytes, chance: random.Random) -> bytes:
    length = len(text) + 2
    length += len(str(length + len(str(length))))
    stated = chance.choice((length, length, length, length + 1, 0, 9_999_999, 3))
    return str(stated).encode() + b" " + text + b"\n"


def packed(header: bytes, content: bytes) -> bytes:
    """Return a member with another content: its size and its checksum fit."""
    sized = header[:124] + b"%011o\0" % len(content) + header[136:_BLOCK]
    return with_checksum(sized + content + bytes(-len(content) % _BLOCK))


def with_checksum(member: bytes) -> bytes:
    """Return a member whose header has the right checksum."""
    blank = member[:148] + b" " * 8 + member[156:_BLOCK]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:] + member[_BLOCK:]
