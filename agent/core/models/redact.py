"""Take credentials out of reference text before it becomes part of any record."""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 2048
"""Longest spelling and canonical form kept, in characters. Longer ones keep their start and a hash of the whole."""

HIDDEN = "***"
SECRET_WORDS = re.compile(
    r"^(?!(?:max|min|num|return|enable|disable|skip)[-_]).*(?:key|token(?!iz)|secret|passw|auth|cred|cert)",
    re.IGNORECASE | re.DOTALL,
)
"""What names of fields, flags and variables have in them whose values may be credentials.

Numbers of tokens are none.
"""

_SIGNATURE = re.compile(
    r"([?&](?:sig|se|sp|sv|sr|skoid|sktid|st|spr|token|access_token|auth|apikey|api_key|api-key|password|secret|key"
    r"|x-amz-(?:signature|credential|security-token|date|expires|algorithm|signedheaders)"
    r"|x-goog-(?:signature|credential|date|expires|algorithm|signedheaders)"
    r"|awsaccesskeyid|googleaccessid|signature|expires)=)[^&#]*",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"://[^/\s@'\"]+@")
_SLASHED = re.compile(
    r"://(?!arn:)[^/\s@'\":?#\[]+:(?!\d{1,5}/|\$[({])[^/\s@'\"?#]*/[^\s@'\"?#]*@"
    r"|://(?:AKIA|ASIA)[A-Z0-9]{16}:[^\s@'\"?#]*@"
)
"""User information whose password has slashes, as keys of AWS do. What follows the colon of a host is a port, and no
password; one that begins like a port is known by the form of its user alone."""
_RUN = re.compile(r"(?<![^\s@'\"?#])[^\s@'\"?#]++@")
"""What `_SLASHED` may be part of. Without one, each of many addresses would be read to the end of the text."""
_TABLES = frozenset({"delta", "iceberg"})
_NETWORK = _TABLES | {"http", "https", "git", "ssh", "ftp", "s3", "oci", "docker", "gs", "hdfs",
                      "webhdfs", "minio", "oss", "r2", "as", "lakefs"}  # fmt: skip
_CONTAINERS = frozenset({"abfs", "abfss", "wasb", "wasbs"})
"""Schemes that write a container where others write the user; a table may be there (``delta+abfss``)."""
_TABLE_PIN = re.compile(r"[^:@]+@v?[0-9]+")


def redact(text: str) -> str:
    """*text* with user information and signed-URL parameters replaced by ``***``."""
    if "://" not in text:
        return text
    if "?" in text:
        text = _SIGNATURE.sub(rf"\1{HIDDEN}", text)
    head, sep, tail = text.partition("://")
    schemes = frozenset(head.lower().split("+"))
    if "@" in tail and not schemes & _CONTAINERS:
        if schemes & _NETWORK and (slashed := _SLASHED.match(text, len(head))):
            return f"{head}{sep}{HIDDEN}@{text[slashed.end() :]}"
        authority, slash, rest = tail.partition("/")
        # "name@sha256:..." without a path is a digest, and "table@v7" a version: neither is a password.
        user, at, host = authority.rpartition("@")
        pin = host.startswith(("sha256:", "sha512:")) or (
            not slash and schemes & _TABLES and _TABLE_PIN.fullmatch(authority)
        )
        # A user alone may be a name, and what follows its version, in schemes that nobody knows.
        if at and user and not pin and (schemes & _NETWORK or ":" in user):
            return f"{head}{sep}{HIDDEN}@{host}{slash}{rest}"
    return text


def redact_within(text: str) -> str:
    """*text* with the credentials of addresses anywhere in it replaced by ``***``."""
    if "://" not in text:
        return text
    text = _RUN.sub(lambda run: _SLASHED.sub(rf"://{HIDDEN}@", run[0]), text)
    text = _CREDENTIALS.sub(rf"://{HIDDEN}@", text)
    return _SIGNATURE.sub(rf"\1{HIDDEN}", text)


def bounded(text: str) -> str:
    """*text*, or its start and the SHA-256 of the whole when it is longer than :data:`MAX_LENGTH`."""
    if len(text) <= MAX_LENGTH:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: MAX_LENGTH - 80]}…sha256:{digest}"
