"""What can go wrong between Weir and who issues tokens."""

from __future__ import annotations


class IdentityError(Exception):
    """No token could be had. The text is fit for a status: it names the setting at fault, and holds no secret."""
