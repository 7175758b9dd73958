"""Clusters of AWS. The token is the address of a signed question to AWS who is asking, which the cluster puts."""

from __future__ import annotations

import base64
import datetime as dt
import re
from urllib.parse import quote

import msgspec

from agent.adapters.identity.aws import AWS
from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.identity.sigv4 import Signer
from agent.adapters.identity.web import request
from agent.adapters.kube.clouds.place import Place, Token

_ARN = re.compile(r"arn:aws[\w-]*:eks:([a-z0-9-]{1,100}):[0-9]{1,30}:cluster/([\w.-]{1,200})")
_TOKEN_SECONDS = 900.0  # for so long clusters take one
_ADDRESS_SECONDS = 60
_CLUSTER_HEADER = "x-k8s-aws-id"


class _Authority(msgspec.Struct):
    data: str


class _Cluster(msgspec.Struct, rename="camel"):
    endpoint: str
    certificate_authority: _Authority


class _Description(msgspec.Struct):
    cluster: _Cluster


class EKS:
    """By ARN: `arn:<partition>:eks:<region>:<account>:cluster/<name>`."""

    def __init__(self, aws: AWS) -> None:
        self._aws = aws

    def check(self, cluster: str) -> None:
        """Raises IdentityError for what is no ARN of a cluster."""
        _parsed(cluster)

    async def place(self, cluster: str, account: ServiceAccount | None, address: str) -> Place:
        """As AWS describes the cluster. Raises IdentityError."""
        region, name = _parsed(cluster)
        url = f"{self._aws.endpoint('eks', region)}/clusters/{quote(name, safe='')}"
        keys = await self._aws.keys(account, region, proxy="")
        signer = Signer(keys, "eks", region, dt.datetime.now(dt.UTC))
        answer = await request("GET", url, headers=signer.headers("GET", url))
        if answer.status != 200:
            raise IdentityError(f"failed to describe EKS cluster '{cluster}': {answer.status} {answer.complaint}")
        found = answer.decoded(_Description, "EKS").cluster
        try:
            authority = base64.b64decode(found.certificate_authority.data, validate=True).decode()
        except ValueError:
            raise IdentityError(f"failed to describe EKS cluster '{cluster}': its authority is no PEM") from None
        return Place(address or found.endpoint, authority)

    async def token(self, cluster: str, account: ServiceAccount | None) -> Token:
        """For this cluster alone. Raises IdentityError."""
        region, name = _parsed(cluster)
        keys = await self._aws.keys(account, region, proxy="")
        now = dt.datetime.now(dt.UTC)
        url = f"{self._aws.endpoint('sts', region)}/?Action=GetCallerIdentity&Version=2011-06-15"
        signer = Signer(keys, "sts", region, now)
        address = signer.presigned(url, headers={_CLUSTER_HEADER: name}, seconds=_ADDRESS_SECONDS)
        encoded = base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")
        return Token(f"k8s-aws-v1.{encoded}", min(now.timestamp() + _TOKEN_SECONDS, keys.expires))


def _parsed(cluster: str) -> tuple[str, str]:
    match = _ARN.fullmatch(cluster)
    if match is None:
        raise IdentityError(f"invalid EKS cluster ARN: '{cluster}'. must match ^{_ARN.pattern}$")
    return match[1], match[2]
