"""What goes wrong with files of numpy, whose header is read as an expression of Python."""

from __future__ import annotations

from tokenize import TokenError
from typing import Final
from zipfile import BadZipFile

from samft.data.readers.limits import PARSE_ERRORS

ARRAY_ERRORS: Final = (*PARSE_ERRORS, BadZipFile, TokenError)
"""What numpy raises on damaged `.npy` and `.npz` files."""
