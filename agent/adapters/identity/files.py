"""Tokens that the kubelet keeps fresh in files of the Pod."""

from __future__ import annotations

from pathlib import Path

from agent.adapters.identity.errors import IdentityError


def content(variable: str, file: str) -> str:
    """What a file holds that a variable of the environment names; a few hundred bytes. Raises IdentityError."""
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise IdentityError(f"{variable} cannot be read: {error.strerror}") from None
