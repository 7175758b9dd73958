"""Logging in to AWS: temporary credentials of an IAM role; for CodeCommit, a password signed with them.

The environment is that of AWS's own libraries: keys, a web identity (IRSA), the credentials endpoint of EKS Pod
Identity, or the metadata service of the machine, in this order.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.files import content
from agent.adapters.identity.login import Login, ServiceAccount, ServiceAccounts
from agent.adapters.identity.web import Answer, request

AUDIENCE = "sts.amazonaws.com"
_HOST = re.compile(r"git-codecommit(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ROLE = re.compile(r"arn:aws[\w-]*:iam::[0-9]{1,30}:role/.{1,200}")
_ROLE_KEY = "eks.amazonaws.com/role-arn"
_METADATA = "http://169.254.169.254"
_SIGNATURE_SECONDS = 900.0  # for so long CodeCommit takes a password
_FOREVER = 3600.0  # keys without an end are looked at again after so long


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Credentials of AWS; `expires` is in seconds since the epoch."""

    key_id: str
    secret: str
    session: str
    expires: float

    def __repr__(self) -> str:
        return f"Keys({self.key_id!r})"


class AWS:
    """Credentials for its services."""

    def __init__(self, accounts: ServiceAccounts, environment: Mapping[str, str]) -> None:
        self._accounts = accounts
        self._environment = environment

    async def keys(self, account: ServiceAccount | None, region: str, *, proxy: str) -> Keys:
        """Credentials of the agent's own identity, or of a ServiceAccount's role. Raises IdentityError."""
        if account is None:
            return await self._own(region, proxy)
        role = (await self._accounts.annotations(account)).get(_ROLE_KEY, "")
        if not _ROLE.fullmatch(role):
            raise IdentityError(
                f"invalid {_ROLE_KEY} annotation of service account '{account}': '{role}'. must match ^{_ROLE.pattern}$"
            )
        session = f"{account.name}.{account.namespace}.{region}.fluxcd.io"
        return await self._assumed(role, session, await self._accounts.token(account, AUDIENCE), region, proxy)

    async def _own(self, region: str, proxy: str) -> Keys:
        known = self._environment
        if known.get("AWS_ACCESS_KEY_ID") and known.get("AWS_SECRET_ACCESS_KEY"):
            session = known.get("AWS_SESSION_TOKEN", "")
            return Keys(known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"], session, time.time() + _FOREVER)
        file, role = known.get("AWS_WEB_IDENTITY_TOKEN_FILE", ""), known.get("AWS_ROLE_ARN", "")
        if file and role:
            name = known.get("AWS_ROLE_SESSION_NAME") or f"weir-{int(time.time())}"
            return await self._assumed(role, name, content("AWS_WEB_IDENTITY_TOKEN_FILE", file), region, proxy)
        if known.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return await self._of_container(known["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        return await self._of_machine()

    def endpoint(self, service: str, region: str, host: str = "") -> str:
        """The address of a service (of its `host`, where that is called otherwise), or what the environment says."""
        known = self._environment
        china = ".cn" if region.startswith("cn-") else ""
        found = known.get(f"AWS_ENDPOINT_URL_{service.upper()}") or known.get("AWS_ENDPOINT_URL")
        return (found or f"https://{host or service}.{region}.amazonaws.com{china}").rstrip("/")

    async def _assumed(self, role: str, session: str, token: str, region: str, proxy: str) -> Keys:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role,
            "RoleSessionName": session,
            "WebIdentityToken": token,
        }
        answer = await request("POST", f"{self.endpoint('sts', region)}/", form=form, proxy=proxy)
        return _assumed(answer)

    async def _of_container(self, url: str) -> Keys:
        known = self._environment
        file = known.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        token = content("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file) if file else ""
        token = token or known.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        answer = await request("GET", url, headers={"Authorization": token} if token else {})
        return _of_endpoint(answer, "the credentials endpoint of the container")

    async def _of_machine(self) -> Keys:
        root = (self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA).rstrip("/")
        what = "the metadata service of the machine"
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        try:
            session = await request("PUT", f"{root}/latest/api/token", headers=lifetime)
        except IdentityError as error:
            raise IdentityError(
                "this agent has no identity: neither IAM Roles for Service Accounts (AWS_ROLE_ARN and "
                "AWS_WEB_IDENTITY_TOKEN_FILE) nor EKS Pod Identity (AWS_CONTAINER_CREDENTIALS_FULL_URI) is set up, "
                f"and the machine has none ({error})"
            ) from None
        headers = {"X-aws-ec2-metadata-token": session.body.decode(errors="replace").strip()}
        roles = f"{root}/latest/meta-data/iam/security-credentials/"
        role = await request("GET", roles, headers=headers)
        name = role.body.decode(errors="replace").strip().partition("\n")[0]
        if session.status != 200 or role.status != 200 or not name:
            raise IdentityError(f"{what} knows no role for it: {session.status} {role.status}")
        return _of_endpoint(await request("GET", roles + quote(name, safe=""), headers=headers), what)


def region_of(url: str) -> str:
    """The region of a CodeCommit address. Raises IdentityError for any other address."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise IdentityError("AWS CodeCommit authentication requires an HTTPS Git URL")
    match = _HOST.fullmatch(parts.hostname or "")
    if match is None:
        raise IdentityError(f"invalid AWS CodeCommit Git URL: {parts.hostname}")
    return match[1]


def codecommit_login(url: str, keys: Keys, identity: str, now: dt.datetime) -> Login:
    """User and password for one repository: AWS's signature (version 4) over the host and path of its address."""
    parts, region = urlsplit(url), region_of(url)
    stamp = now.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S")
    scope = f"{stamp[:8]}/{region}/codecommit/aws4_request"
    canonical = f"GIT\n{parts.path}\n\nhost:{parts.hostname}\n\nhost\n"
    signed = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, signed.encode(), "sha256").hex()
    return Login(
        identity,
        min(now.timestamp() + _SIGNATURE_SECONDS, keys.expires),
        username=f"{keys.key_id}%{keys.session}" if keys.session else keys.key_id,
        password=f"{stamp}Z{signature}",
    )


class _Credentials(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str = ""
    expiration: dt.datetime | None = None


def _of_endpoint(answer: Answer, what: str) -> Keys:
    if answer.status != 200:
        raise IdentityError(f"{what} refused credentials: {answer.status} {answer.complaint}")
    found = answer.decoded(_Credentials, what)
    expires = found.expiration.timestamp() if found.expiration else time.time() + _FOREVER
    return Keys(found.access_key_id, found.secret_access_key, found.token, expires)


def _assumed(answer: Answer) -> Keys:
    """Read what AWS's token service answers: XML, which is only taken without a document type."""
    if b"<!" in answer.body:
        raise IdentityError(f"the answer of AWS STS ({answer.status}) cannot be read: it has a document type")
    try:
        found = {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(answer.body).iter()}  # noqa: S314 - no entities without a document type
    except ET.ParseError as error:
        raise IdentityError(f"the answer of AWS STS ({answer.status}) cannot be read: {error}") from None
    if answer.status != 200:
        raise IdentityError(
            f"AWS STS refused the role: {answer.status} {found.get('Code', '')} {found.get('Message', '')}"
        )
    try:
        expires = dt.datetime.fromisoformat(found["Expiration"]).timestamp()
        return Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], expires)
    except (KeyError, ValueError) as error:
        raise IdentityError(f"the answer of AWS STS lacks {error}") from None
