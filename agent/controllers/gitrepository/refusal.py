"""Addresses that no pass can do anything with."""

from __future__ import annotations

import urllib.parse

from agent.errors import ConfigurationError


def refuse_invalid(url: str) -> None:
    """Raises ConfigurationError, as Flux stalls; without the URL, for where its password ends cannot be told."""
    try:
        _ = urllib.parse.urlsplit(url).port
    except ValueError:
        message = "failed to parse url: spec.url is not a valid URL; a password in it has to be percent-encoded"
        raise ConfigurationError(message, reason="URLInvalid") from None
