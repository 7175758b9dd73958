"""Why a server gave no answer, in words that may be shown."""

from __future__ import annotations

import os
import ssl

import aiohttp


def reason(error: Exception) -> str:
    """What went wrong. aiohttp's own texts quote the address, or that of a redirect, with the secrets in its query."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error)  # of the address it has host and port only
    if isinstance(error, aiohttp.ClientResponseError) and error.status:
        return " ".join(f"{error.status} {error.message}".split())
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return f"{type(error).__name__}: {os.strerror(error.errno)}"
    return type(error).__name__
