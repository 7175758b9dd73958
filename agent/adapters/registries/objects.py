"""Object stores: S3 and its look-alikes, Google Cloud Storage, Azure. An object, else all that is below a prefix."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode
from xml.parsers import expat

import msgspec

from agent.adapters.identity.aws import Keys
from agent.adapters.identity.sigv4 import Signer
from agent.adapters.registries.access import Access, Answer, RegistryError, in_hex
from agent.adapters.registries.fetcher import Fetcher, server_time
from agent.adapters.registries.folders import Listing
from agent.core.digits import whole
from agent.core.models.ref import Digest, Size
from agent.core.registries.listing import File, extent, listing_digest
from agent.core.registries.outcome import Found

_PAGES: Final = 100
_ELEMENTS: Final = 200_000
"""Of a page; those of Azure, the longest, have 5,000 blobs of less than 30 elements."""
_DEFAULT_REGION: Final = "us-east-1"
_REGION: Final = re.compile(r"^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$")
_SKEW: Final = 240.0
"""Seconds between the store's clock and ours from which on signatures are dated by the store's: it takes 15 minutes."""
AZURE_VERSION: Final = "2023-11-03"
_S3: Final = re.compile(r"^(?:s3|minio|oss|r2)://([^/?]+)/?([^?]*)(?:\?versionId=(.+))?$")
_GS: Final = re.compile(r"^gs://([^/#]+)/?([^#]*)(?:#(\d+))?$")
_AZURE: Final = re.compile(r"^azure://([A-Za-z0-9-]+)/([^/?]+)/?([^?]*)(?:\?version=(.+))?$")


async def s3(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """An object or a prefix of a bucket. Secret: accessKey, secretKey, sessionToken, region. Raises RegistryError."""
    found = _S3.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no bucket")
    name, key, version = found.groups()
    bucket = _Bucket(fetcher, access, name)
    if key:
        answer = await bucket.ask("HEAD", f"/{quote(key)}", {"versionId": version} if version else {})
        if answer.is_there("the store", "object"):
            return _s3_object(answer)
        if version:
            answer.expected("the store", "bucket, object or version")
    below = Listing()
    prefix, token = f"{key.rstrip('/')}/" if key else "", ""
    for _ in range(_PAGES):
        pairs = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
        answer = (await bucket.ask("GET", "", pairs)).expected("the store", "bucket")
        records, token = leaves(answer.body, {"Contents"}, "NextContinuationToken")
        below.add(_s3_file(record, prefix) for _, record in records)
        if not token:
            return listed(below.files)
    raise RegistryError("refused", f"the listing has more than {_PAGES} pages")


async def s3_content(fetcher: Fetcher, access: Access, canonical: str) -> bytes:
    """A small object. Raises RegistryError."""
    found = _S3.match(canonical)
    if found is None or not found[2]:
        raise RegistryError("unsupported", "the reference names no object")
    answer = await _Bucket(fetcher, access, found[1]).ask("GET", f"/{quote(found[2])}", {})
    return answer.expected("the store", "bucket or object").body


class _Bucket:
    """A bucket of S3. Where it turns out to be in another region, or the store's clock to differ, it is asked anew."""

    def __init__(self, fetcher: Fetcher, access: Access, name: str) -> None:
        self._fetcher = fetcher
        self._access = access
        self._name = name
        self._region = access.secret.get("region", _DEFAULT_REGION)
        self._base = access.base(f"https://s3.{self._region}.amazonaws.com")
        self._ahead = 0.0

    async def ask(self, method: str, path: str, pairs: Mapping[str, str]) -> Answer:
        """The answer about what is at the path below the bucket. Raises RegistryError."""
        answer = await self._asked(method, path, pairs)
        if self._corrected(answer):
            answer = await self._asked(method, path, pairs)
        return answer

    async def _asked(self, method: str, path: str, pairs: Mapping[str, str]) -> Answer:
        query = f"?{urlencode(sorted(pairs.items()), quote_via=quote)}" if pairs else ""
        url = f"{self._base}/{quote(self._name)}{path}{query}"
        at = datetime.fromtimestamp(time.time() + self._ahead, UTC)
        headers = _signed(self._access.secret, self._region, method, url, at)
        endpoint = self._base if self._access.endpoint else ""
        return await self._fetcher.get(url, endpoint=endpoint, headers=headers, method=method, scope=self._access.scope)

    def _corrected(self, answer: Answer) -> bool:
        """Whether the answer tells what was wrong with the question."""
        region = answer.headers.get("x-amz-bucket-region", "")
        if answer.status in {301, 307, 400} and region != self._region and _REGION.match(region):
            self._base = self._base.replace(f"//s3.{self._region}.amazonaws.", f"//s3.{region}.amazonaws.")
            self._region = region
            return True
        theirs = server_time(answer.headers)
        if answer.status == 403 and not self._ahead and theirs is not None and abs(theirs - time.time()) > _SKEW:
            self._ahead = theirs - time.time()
            return True
        return False


def _signed(secret: Mapping[str, str], region: str, method: str, url: str, at: datetime) -> dict[str, str]:
    plain = {"x-amz-checksum-mode": "ENABLED"}
    if not (secret.get("accessKey") and secret.get("secretKey")):
        return plain
    keys = Keys(secret["accessKey"], secret["secretKey"], secret.get("sessionToken", ""), 0.0)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    headers = {**plain, "x-amz-content-sha256": empty}
    return Signer(keys, "s3", region, at).headers(method, url, headers)


def _s3_object(answer: Answer) -> Found:
    headers = answer.headers
    size = Size(bytes=whole(headers.get("content-length", "")), files=1)
    version = headers.get("x-amz-version-id")
    if (checksum := in_hex(headers.get("x-amz-checksum-sha256", ""))) and len(checksum) == 64:
        return Found(version=version, digest=Digest("sha256", checksum, "object", "sha256"), size=size)
    etag = headers.get("etag", "").strip('"')
    # only of an object that was sent in one part, and without keys of the store, is the tag a hash of the content
    if not etag:
        raise RegistryError("unsupported", "the store gives neither a checksum nor a tag of the object")
    return Found(version=version, digest=Digest("etag", etag, "object", "etag"), size=size)


def _s3_file(record: Mapping[str, str], prefix: str) -> File:
    etag = record.get("ETag", "").strip('"')
    return File(record.get("Key", "").removeprefix(prefix), whole(record.get("Size", "")) or 0, etag, "etag")


class _Object(msgspec.Struct, rename="camel"):
    name: str = ""
    generation: str = ""
    md5_hash: str = ""
    crc32c: str = ""
    size: str = "0"


class _Objects(msgspec.Struct, rename="camel"):
    items: list[_Object] = []
    next_page_token: str = ""


async def gs(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """An object or a prefix of a bucket. Secret: token. Raises RegistryError."""
    found = _GS.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no bucket")
    bucket, key, generation = found.groups()
    where = f"{access.base('https://storage.googleapis.com')}/storage/v1/b/{quote(bucket)}/o"

    async def ask(url: str) -> Answer:
        return await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)

    if key:
        query = f"?generation={generation}" if generation else ""
        answer = await ask(f"{where}/{quote(key, safe='')}{query}")
        if answer.is_there("the store", "object"):
            return _gs_object(answer.json(_Object, "the store"))
        if generation:
            answer.expected("the store", "bucket, object or generation")
    below = Listing()
    prefix, token = f"{key.rstrip('/')}/" if key else "", ""
    for _ in range(_PAGES):
        pairs = {"prefix": prefix, **({"pageToken": token} if token else {})}
        answer = (await ask(f"{where}?{urlencode(pairs)}")).expected("the store", "bucket")
        page = answer.json(_Objects, "the store")
        below.add(_gs_file(item, prefix) for item in page.items)
        token = page.next_page_token
        if not token:
            return listed(below.files)
    raise RegistryError("refused", f"the listing has more than {_PAGES} pages")


async def gs_content(fetcher: Fetcher, access: Access, canonical: str) -> bytes:
    """A small object. Raises RegistryError."""
    found = _GS.match(canonical)
    if found is None or not found[2]:
        raise RegistryError("unsupported", "the reference names no object")
    where = f"{access.base('https://storage.googleapis.com')}/storage/v1/b/{quote(found[1])}/o"
    url = f"{where}/{quote(found[2], safe='')}?alt=media"
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
    return answer.expected("the store", "bucket or object").body


def _gs_object(item: _Object) -> Found:
    size, generation = Size(bytes=whole(item.size), files=1), item.generation or None
    if md5 := in_hex(item.md5_hash):
        return Found(generation=generation, digest=Digest("md5", md5, "object", "md5"), size=size)
    if not item.crc32c:
        raise RegistryError("unreadable", "the store gives no checksum of the object")
    value = f"{item.crc32c}#{item.generation}"  # composite objects have no MD5
    return Found(generation=generation, digest=Digest("crc32c", value, "object", "crc32c"), size=size)


def _gs_file(item: _Object, prefix: str) -> File:
    md5 = in_hex(item.md5_hash)
    validator, strength = (md5, "md5") if md5 else (item.generation, "generation")
    return File(item.name.removeprefix(prefix), whole(item.size) or 0, validator, strength)


async def azure(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """A blob or a prefix of a container. Secret: token, or sas. Raises RegistryError."""
    found = _AZURE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no container")
    account, container, key, version = found.groups()
    where = f"{access.base(f'https://{account}.blob.core.windows.net')}/{quote(container)}"
    sas = access.secret.get("sas", "").strip().lstrip("?")
    headers = {"x-ms-version": AZURE_VERSION, **access.authorization()}

    async def ask(method: str, url: str, pairs: Mapping[str, str]) -> Answer:
        query = "&".join(part for part in (urlencode(pairs), sas) if part)
        address = f"{url}?{query}" if query else url
        return await fetcher.get(address, endpoint=access.endpoint, headers=headers, method=method, scope=access.scope)

    if key:
        pinned = {"snapshot" if "T" in version else "versionid": version} if version else {}
        answer = await ask("HEAD", f"{where}/{quote(key)}", pinned)
        if answer.is_there("the store", "blob"):
            return azure_blob(answer)
        if version:
            answer.expected("the store", "container, blob or version")
    below = Listing()
    prefix, marker = f"{key.rstrip('/')}/" if key else "", ""
    for _ in range(_PAGES):
        pairs = {"restype": "container", "comp": "list", "prefix": prefix, **({"marker": marker} if marker else {})}
        answer = (await ask("GET", where, pairs)).expected("the store", "container")
        records, marker = leaves(answer.body, {"Blob"}, "NextMarker")
        below.add(_azure_file(record, prefix) for _, record in records)
        if not marker:
            return listed(below.files)
    raise RegistryError("refused", f"the listing has more than {_PAGES} pages")


async def azure_content(fetcher: Fetcher, access: Access, canonical: str) -> bytes:
    """A small blob. Raises RegistryError."""
    found = _AZURE.match(canonical)
    if found is None or not found[3]:
        raise RegistryError("unsupported", "the reference names no blob")
    base = access.base(f"https://{found[1]}.blob.core.windows.net")
    sas = access.secret.get("sas", "").strip().lstrip("?")
    url = f"{base}/{quote(found[2])}/{quote(found[3])}{f'?{sas}' if sas else ''}"
    headers = {"x-ms-version": AZURE_VERSION, **access.authorization()}
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=headers, scope=access.scope)
    return answer.expected("the store", "container or blob").body


def azure_blob(answer: Answer) -> Found:
    """What the headers of an object, or a file of a share, say. Raises RegistryError."""
    headers = answer.headers
    size, version = Size(bytes=whole(headers.get("content-length", "")), files=1), headers.get("x-ms-version-id")
    if md5 := in_hex(headers.get("content-md5", "")):
        return Found(version=version, digest=Digest("md5", md5, "object", "md5"), size=size)
    etag = headers.get("etag", "").strip('"')
    if not etag:
        raise RegistryError("unreadable", "the store gives neither a checksum nor a tag of the blob")
    return Found(version=version, digest=Digest("etag", etag, "object", "etag"), size=size)


def _azure_file(record: Mapping[str, str], prefix: str) -> File:
    name, size = record.get("Name", "").removeprefix(prefix), whole(record.get("Content-Length", "")) or 0
    if md5 := in_hex(record.get("Content-MD5", "")):
        return File(name, size, md5, "md5")
    return File(name, size, record.get("Etag", "").strip('"'), "etag")


def listed(files: list[File]) -> Found:
    """What a listing of all objects says. Raises RegistryError."""
    if not files:
        raise RegistryError("not-found", "there is no such object, and nothing below a folder of that name")
    if not all(file.validator for file in files):
        raise RegistryError("unsupported", "the store tells neither checksums nor tags of the objects")
    return Found(digest=listing_digest(files), size=extent(files))


def leaves(body: bytes, wanted: Collection[str], following: str) -> tuple[list[tuple[str, dict[str, str]]], str]:
    """Each element of a wanted name, with its own leaf elements by name, and the text of `following`.

    Raises RegistryError.
    """
    found = _Leaves(wanted, following)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.CharacterDataHandler = found.told
    parser.EntityDeclHandler = _refuse_entities
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        raise RegistryError("unreadable", "the store's listing is not XML") from None
    return found.records, found.more


class _Leaves:
    """What the parser tells of a listing. It is read while nothing else runs, so it must not be long."""

    def __init__(self, wanted: Collection[str], following: str) -> None:
        self.records: list[tuple[str, dict[str, str]]] = []
        self.more = ""
        self._wanted = wanted
        self._following = following
        self._inside = False
        self._text: list[str] = []
        self._elements = 0

    def start(self, name: str, _attributes: object) -> None:
        self._elements += 1
        if self._elements > _ELEMENTS:
            raise RegistryError("refused", f"a page of the store's listing has more than {_ELEMENTS} elements")
        self._text.clear()
        if name in self._wanted:
            self._inside = True
            self.records.append((name, {}))

    def end(self, name: str) -> None:
        text = "".join(self._text)
        self._text.clear()  # once: elements within elements would each have it again
        if name in self._wanted:
            self._inside = False
        elif self._inside:
            self.records[-1][1][name] = text
        elif name == self._following:
            self.more = text

    def told(self, text: str) -> None:
        self._text.append(text)


def _refuse_entities(*_declared: object) -> None:
    raise RegistryError("refused", "the store's listing declares entities")
