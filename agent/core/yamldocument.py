"""YAML that anybody may have written."""

from __future__ import annotations

from typing import Any

import yaml


def parsed(document: bytes | str) -> Any:
    """What a document says, with the values of YAML 1.1. Raises ValueError with the name of the fault.

    The text of the fault would quote the document. The library itself has other errors for tags that do not fit their
    values (`!!bool x`), and for nesting without end.
    """
    try:
        return yaml.load(document, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None
