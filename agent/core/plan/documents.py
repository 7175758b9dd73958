"""The documents of a YAML text, told apart without reading it."""

from __future__ import annotations

import re
from typing import Final

_START: Final = re.compile(rb"^---(?=\s|\Z)", re.MULTILINE)


def split(data: bytes) -> list[bytes]:
    """The text between the lines that begin documents. A `---` inside of a block text splits it wrongly."""
    return _START.split(data)
