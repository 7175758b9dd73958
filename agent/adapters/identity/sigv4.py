"""AWS's signature, version 4: of requests, in a header or in the query of an address that is given away."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from agent.adapters.identity.aws import Keys

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests to one service of one region, as of `at`."""

    keys: Keys
    service: str
    region: str
    at: dt.datetime

    def headers(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> dict[str, str]:
        """These headers, which are signed, and those to send with them."""
        sent = {**(headers or {}), "X-Amz-Date": self._stamp}
        if self.keys.session:
            sent["X-Amz-Security-Token"] = self.keys.session
        names = _names(sent)
        credential = f"Credential={self.keys.key_id}/{self._scope}"
        signature = self._signature(method, url, sent, {}, body)
        return {**sent, "Authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"}

    def presigned(self, url: str, *, headers: Mapping[str, str], seconds: int) -> str:
        """The address of a GET that whoever has it may make with these headers, for so long."""
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.keys.key_id}/{self._scope}",
            "X-Amz-Date": self._stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": _names(headers),
            **({"X-Amz-Security-Token": self.keys.session} if self.keys.session else {}),
        }
        base, _, given = url.partition("?")
        return f"{base}?{_query(given, query)}&X-Amz-Signature={self._signature('GET', url, headers, query)}"

    @property
    def _stamp(self) -> str:
        return self.at.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")

    @property
    def _scope(self) -> str:
        return f"{self._stamp[:8]}/{self.region}/{self.service}/aws4_request"

    def _signature(
        self, method: str, url: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes = b""
    ) -> str:
        parts = urlsplit(url)
        signed = {"host": parts.netloc, **{name.lower(): " ".join(value.split()) for name, value in headers.items()}}
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        # every service but S3 signs the path with its encoding encoded once more
        path = (parts.path or "/") if self.service == "s3" else quote(parts.path or "/", safe="/-_.~")
        content = hashlib.sha256(body).hexdigest()
        canonical = f"{method}\n{path}\n{_query(parts.query, query)}\n{lines}\n{_names(headers)}\n{content}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{self._stamp}\n{self._scope}\n{digest}"
        key = f"AWS4{self.keys.secret}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def _names(headers: Mapping[str, str]) -> str:
    return ";".join(sorted(["host", *(name.lower() for name in headers)]))


def _query(given: str, more: Mapping[str, str]) -> str:
    """Names and values in order, as AWS encodes them. `given` is that of an address, encoded in whatever way."""
    pairs = [[unquote(text) for text in part.partition("=")[::2]] for part in given.split("&") if part]
    pairs += [[name, value] for name, value in more.items()]
    return "&".join(sorted("=".join(quote(text, safe="-_.~") for text in pair) for pair in pairs))
