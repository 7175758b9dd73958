"""Why a signature does not count."""

from __future__ import annotations


class SignatureError(Exception):
    """The signature is broken, of a kind that is not supported, or of none of the given keys."""
