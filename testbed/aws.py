"""AWS on loopback (moto): S3 with real signatures, STS and ECR."""

import base64
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
from yarl import URL

from testbed.ports import free_port
from testbed.webserver import web_server

REGION = "eu-central-1"
_POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'


class Aws:
    """A running server for all services; `url` is its address without a path."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def bucket(self, name: str, *, versioned: bool = False) -> None:
        """Create a bucket."""
        place = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        )
        await self._put(f"/{name}", place.encode())
        if versioned:
            status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            await self._put(f"/{name}?versioning", status)

    async def put(self, bucket: str, key: str, data: bytes, *, checksum: bool = False) -> str:
        """Store an object, on request with its SHA-256; its version, empty where the bucket keeps none."""
        sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
        sent = {"x-amz-checksum-sha256": sha256, "x-amz-sdk-checksum-algorithm": "SHA256"} if checksum else {}
        return (await self._put(f"/{bucket}/{quote(key)}", data, sent)).get("x-amz-version-id", "")

    async def user(self, name: str) -> tuple[str, str]:
        """Make somebody who may do everything in S3; their access key and its secret."""
        await self._iam(Action="CreateUser", UserName=name)
        await self._iam(Action="PutUserPolicy", UserName=name, PolicyName="s3", PolicyDocument=_POLICY)
        made = await self._iam(Action="CreateAccessKey", UserName=name)
        return made["AccessKeyId"], made["SecretAccessKey"]

    async def role(self, name: str) -> str:
        """Make a role that may do everything in S3; its ARN."""
        trust = '{"Version":"2012-10-17","Statement":[]}'
        made = await self._iam(Action="CreateRole", RoleName=name, AssumeRolePolicyDocument=trust)
        await self._iam(Action="PutRolePolicy", RoleName=name, PolicyName="s3", PolicyDocument=_POLICY)
        return made["Arn"]

    @asynccontextmanager
    async def guarded(self) -> AsyncIterator[None]:
        """Check signatures and rights within the block; outside of it everybody may do everything."""
        await self._allow_without_login(0)
        try:
            yield
        finally:
            await self._allow_without_login(sys.maxsize)

    async def _allow_without_login(self, actions: int) -> None:
        async with self._http.post(f"{self.url}/moto-api/reset-auth", data=str(actions)) as response:
            response.raise_for_status()

    async def _put(self, path: str, data: bytes, headers: Mapping[str, str] | None = None) -> Mapping[str, str]:
        url = URL(f"{self.url}{path}", encoded=True)
        async with self._http.put(url, data=data, headers={**_signed_for("s3"), **(headers or {})}) as response:
            response.raise_for_status()
            return response.headers

    async def _iam(self, **form: str) -> dict[str, str]:
        sent = {**form, "Version": "2010-05-08"}
        async with self._http.post(f"{self.url}/", data=sent, headers=_signed_for("iam")) as response:
            response.raise_for_status()
            body = await response.text()
        return {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(body).iter()}


def _signed_for(service: str) -> dict[str, str]:
    """A header that nobody checks but that tells which service is meant, and that somebody logged in asks."""
    scope = f"Credential=none/20260101/{REGION}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none"}


@asynccontextmanager
async def aws(folder: Path) -> AsyncIterator[Aws]:
    """The services, which log into `folder`. Raises ProcessError."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "100"}
    url = f"http://127.0.0.1:{port}"
    probe = f"{url}/moto-api/data.json"
    async with web_server(
        argv, name="moto", log=folder / "moto.log", probe=probe, timeout=120, env=environment
    ) as http:
        yield Aws(url, http)
