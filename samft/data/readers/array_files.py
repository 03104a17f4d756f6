"""What goes wrong with files of numpy, whose header is read as an expression of Python."""

from __future__ import annotations

import struct
import zipfile
import zlib
from tokenize import TokenError
from typing import Final

ARRAY_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises on damaged `.npy` and `.npz` files."""
