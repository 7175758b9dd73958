"""Managed clusters of the clouds: what is asked of a cloud, and what comes of its answers. The cloud is on loopback."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from agent.adapters.identity.aws import Keys
from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.identity.sigv4 import Signer
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.clouds import ManagedClusters, Token, managed_clusters
from agent.adapters.kube.workload import RenewedToken, WorkloadClusters
from agent.errors import AuthenticationError, ConfigurationError
from testbed.controlplane import ControlPlane

ACCOUNT = ServiceAccount("team", "traveller")
EKS = "arn:aws:eks:eu-central-1:123456789012:cluster/far"
GKE = "projects/p/locations/europe-west1/clusters/far"
AKS = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g"
    "/providers/Microsoft.ContainerService/managedClusters/far"
)
PEM = "-----BEGIN CERTIFICATE-----\n"
LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)


class Cloud:
    """Answers by path as told, 404 otherwise, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Mapping[str, str], str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((f"{request.method} {request.path}", request.headers, await request.text()))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.json_response({"message": "not of here"}, status=404)
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def form(self, path: str) -> dict[str, str]:
        """The form that was sent there."""
        return {name: values[0] for name, values in parse_qs(self.body(path)).items()}

    def body(self, path: str) -> str:
        return next(body for asked, _, body in self.asked if asked.endswith(path))

    def header(self, path: str, name: str) -> str:
        return next(headers[name] for asked, headers, _ in self.asked if asked.endswith(path))


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    told = Cloud()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield told
    finally:
        await runner.cleanup()


class Accounts:
    """The cluster's ServiceAccounts."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.found = annotations

    async def annotations(self, account: ServiceAccount) -> Mapping[str, str]:
        assert account == ACCOUNT
        return self.found

    async def token(self, account: ServiceAccount, audience: str) -> str:
        return f"token of {account} for {audience}"


Make = Callable[..., Mapping[str, ManagedClusters]]


@pytest.fixture
def clouds(cloud: Cloud, tmp_path: Path) -> Make:
    """The clouds as an environment describes them, for a ServiceAccount with some annotations."""
    azure = tmp_path / "azure.json"
    azure.write_text(json.dumps({"resourceManagerEndpoint": f"{cloud.url}/arm/", "tokenAudience": "https://arm"}))

    def make(annotations: dict[str, str] | None = None, **environment: str) -> Mapping[str, ManagedClusters]:
        known = {
            "AWS_ENDPOINT_URL": f"{cloud.url}/aws",
            "AZURE_AUTHORITY_HOST": f"{cloud.url}/entra",
            "AZURE_ENVIRONMENT_FILEPATH": str(azure),
            "GCE_METADATA_HOST": urlsplit(cloud.url).netloc,
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": cloud.url for name in ("STS", "IAMCREDENTIALS", "CONTAINER")},
            **environment,
        }
        return managed_clusters(Accounts(annotations or {}), known)

    return make


# AWS

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


@pytest.mark.parametrize(
    ("session", "presigned", "header"),
    [
        (
            "",
            "23e8e6c710945a64d4b185c6fcd2cb1060ed7fe1580bb00d697b3e1fd10e200c",
            "4d1a5fafc49ea0851764fc4e32055a38d6469d13b5e9b3a0bd1394b377893e30",
        ),
        (
            "sess/ion+token==",
            "9f2dc3c309121222a1c02bc21f23b7b5a285182b00ae9f5f5632f458a17c9dab",
            "6439e9e4d9d736aa37ddcdc2c3df5ab44a73e9ee11b0e7b77107edc620f22e9c",
        ),
    ],
)
def test_signatures_are_those_of_awss_own_library(session: str, presigned: str, header: str) -> None:
    """The expected values were computed with botocore, for the same keys and time."""
    keys = Keys(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], session, 0.0)
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    who = "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"
    url = Signer(keys, "sts", "eu-central-1", at).presigned(who, headers={"x-k8s-aws-id": "my-cluster"}, seconds=60)
    assert parse_qs(urlsplit(url).query)["X-Amz-Signature"] == [presigned]
    what = "https://eks.eu-central-1.amazonaws.com/clusters/my-cluster"
    assert Signer(keys, "eks", "eu-central-1", at).headers("GET", what)["Authorization"].endswith(header)


async def test_the_token_for_eks_is_the_address_of_a_signed_question(clouds: Make, cloud: Cloud) -> None:
    token = await clouds(**KEYS)["aws"].token(EKS, None)
    kind, _, encoded = token.value.partition(".")
    assert kind == "k8s-aws-v1"
    assert "=" not in encoded
    url = base64.urlsafe_b64decode(encoded + "==").decode()
    assert url.startswith(f"{cloud.url}/aws/?Action=GetCallerIdentity&Version=2011-06-15&")
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert 800 < token.expires - time.time() <= 900
    assert token.value not in repr(token)
    assert cloud.asked == []


async def test_an_eks_cluster_is_described_and_asked_as_the_role_of_an_account(clouds: Make, cloud: Cloud) -> None:
    role = "arn:aws:iam::123456789012:role/far"
    cloud.answers["/aws/"] = (
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
        "<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        f"<Expiration>{LATER.isoformat()}</Expiration>"
        "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    authority = {"data": base64.b64encode(PEM.encode()).decode()}
    cloud.answers["/aws/clusters/far"] = {"cluster": {"endpoint": "https://far", "certificateAuthority": authority}}
    aws = clouds({"eks.amazonaws.com/role-arn": role})["aws"]
    assert await aws.place(EKS, ACCOUNT, "") == ("https://far", PEM)
    assert cloud.form("/aws/")["RoleArn"] == role
    assert cloud.form("/aws/")["WebIdentityToken"] == "token of team/traveller for sts.amazonaws.com"
    signed = cloud.header("/clusters/far", "Authorization")
    assert "Credential=ASIA/" in signed
    assert "/eu-central-1/eks/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, " in signed


# Google


def google(cloud: Cloud) -> None:
    token = {"access_token": "of the machine", "expires_in": 3600}
    cloud.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = token
    for path, value in (
        ("project/project-id", "here"),
        ("instance/attributes/cluster-location", "west"),
        ("instance/attributes/cluster-name", "hub"),
    ):
        cloud.answers[f"/computeMetadata/v1/{path}"] = value
    cloud.answers["/v1/token"] = {"access_token": "exchanged", "expires_in": 3600}
    described = {"clusterCaCertificate": base64.b64encode(PEM.encode()).decode()}
    cloud.answers[f"/v1/{GKE}"] = {"endpoint": "192.0.2.7", "masterAuth": described}


async def test_a_gke_cluster_as_the_agent_itself(clouds: Make, cloud: Cloud) -> None:
    google(cloud)
    gcp = clouds()["gcp"]
    assert await gcp.place(GKE, None, "") == ("192.0.2.7", PEM)
    assert (await gcp.token(GKE, None)).value == "of the machine"
    assert cloud.header("/default/token", "Metadata-Flavor") == "Google"
    assert cloud.header(GKE, "Authorization") == "Bearer of the machine"


async def test_a_gke_cluster_as_an_account_of_a_cluster_of_google(clouds: Make, cloud: Cloud) -> None:
    google(cloud)
    assert (await clouds()["gcp"].token(GKE, ACCOUNT)).value == "exchanged"
    form = cloud.form("/v1/token")
    assert form["subject_token"] == "token of team/traveller for here.svc.id.goog"
    assert form["audience"] == (
        "identitynamespace:here.svc.id.goog:"
        "https://container.googleapis.com/v1/projects/here/locations/west/clusters/hub"
    )


async def test_a_gke_cluster_as_a_google_service_account_from_elsewhere(clouds: Make, cloud: Cloud) -> None:
    google(cloud)
    email = "far@p.iam.gserviceaccount.com"
    path = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    cloud.answers[path] = {"accessToken": "impersonated", "expireTime": LATER.isoformat()}
    provider = "projects/1/locations/global/workloadIdentityPools/pool/providers/hub"
    annotations = {"gcp.auth.fluxcd.io/workload-identity-provider": provider, "iam.gke.io/gcp-service-account": email}
    token = await clouds(annotations)["gcp"].token(GKE, ACCOUNT)
    assert (token.value, token.expires) == ("impersonated", LATER.timestamp())
    assert cloud.form("/v1/token")["subject_token"] == f"token of team/traveller for //iam.googleapis.com/{provider}"
    assert cloud.header(path, "Authorization") == "Bearer exchanged"
    assert "cloud-platform" in cloud.body(path)
    assert not any("computeMetadata" in asked for asked in cloud.paths)


# Azure


def azure(cloud: Cloud, *servers: str, entra: bool = True, authority: str = PEM) -> None:
    cloud.answers["/entra/tenant/oauth2/v2.0/token"] = {"access_token": "of entra", "expires_in": 3600}
    cloud.answers[f"/arm{AKS}"] = {"properties": {"aadProfile": {"managed": True}} if entra else {}}
    cloud.answers[f"/arm{AKS}/listClusterUserCredential"] = {
        "kubeconfigs": [
            {"name": "x", "value": base64.b64encode(kubeconfig(server, authority)).decode()} for server in servers
        ]
    }


def kubeconfig(server: str, pem: str) -> bytes:
    authority = base64.b64encode(pem.encode()).decode()
    return json.dumps(
        {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": authority}}],
        }
    ).encode()


ENTRA = {"azure.workload.identity/tenant-id": "tenant", "azure.workload.identity/client-id": "client"}


async def test_an_aks_cluster_as_an_account(clouds: Make, cloud: Cloud) -> None:
    azure(cloud, "https://far:443", "https://private:443")
    az = clouds(ENTRA)["azure"]
    assert await az.place(AKS, ACCOUNT, "") == ("https://far:443", PEM)
    assert await az.place(AKS, ACCOUNT, "https://private:443") == ("https://private:443", PEM)
    assert cloud.form("/token")["scope"] == "https://arm/.default"
    assert cloud.form("/token")["client_assertion"] == "token of team/traveller for api://AzureADTokenExchange"
    with pytest.raises(IdentityError, match=r"no address 'https://other:443'.*'https://far:443', 'https://private"):
        await az.place(AKS, ACCOUNT, "https://other:443")
    cloud.asked.clear()
    assert (await az.token(AKS, ACCOUNT)).value == "of entra"
    assert cloud.form("/token")["scope"] == "6dae42f8-4368-4678-94ff-3960e28e3630/.default"


async def test_an_aks_cluster_without_entra(clouds: Make, cloud: Cloud) -> None:
    azure(cloud, "https://far", entra=False)
    with pytest.raises(IdentityError, match="does not have Microsoft Entra ID integration enabled"):
        await clouds(ENTRA)["azure"].place(AKS, ACCOUNT, "")


# All of them


@pytest.mark.parametrize(
    ("provider", "cluster"), [("aws", "far"), ("azure", "/subscriptions/x"), ("gcp", "projects/p/../x"), ("aws", "")]
)
async def test_names_that_no_cluster_has(clouds: Make, cloud: Cloud, provider: str, cluster: str) -> None:
    with pytest.raises(IdentityError, match=r"invalid (EKS|AKS|GKE) cluster"):
        await clouds(**KEYS)[provider].place(cluster, None, "")
    assert cloud.asked == []


@pytest.mark.parametrize(("provider", "cluster"), [("aws", EKS), ("azure", AKS), ("gcp", GKE)])
async def test_what_a_cloud_refuses_is_told(clouds: Make, cloud: Cloud, provider: str, cluster: str) -> None:
    google(cloud)
    azure(cloud, "https://far")
    for path in (f"/v1/{GKE}", f"/arm{AKS}"):
        del cloud.answers[path]
    known = clouds(ENTRA, **KEYS)[provider]
    account = ACCOUNT if provider == "azure" else None
    with pytest.raises(IdentityError, match=r"failed to describe .* 404 .*not of here"):
        await known.place(cluster, account, "")


@pytest.mark.parametrize(("provider", "named"), [("aws", EKS), ("azure", AKS), ("gcp", GKE)])
async def test_a_connection_of_what_the_cloud_knows(
    client: KubeClient, clouds: Make, cloud: Cloud, control_plane: ControlPlane, provider: str, named: str
) -> None:
    google(cloud)
    azure(cloud, control_plane.url, authority=control_plane.ca_file.read_text())
    pem = base64.b64encode(control_plane.ca_file.read_bytes()).decode()
    cloud.answers[f"/v1/{GKE}"] = {
        "endpoint": control_plane.url.removeprefix("https://"),
        "masterAuth": {"clusterCaCertificate": pem},
    }
    described = {"endpoint": control_plane.url, "certificateAuthority": {"data": pem}}
    cloud.answers["/aws/clusters/far"] = {"cluster": described}
    own = {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_SECRET": "s"}
    known = clouds(**KEYS, **own)
    workload = WorkloadClusters(client, known, enabled=False)
    identity = workload.identity({"provider": provider, "cluster": named}, "team")
    found = await workload.cluster(identity)
    assert found.server == control_plane.url
    assert (await found.credentials.authorization() or "").startswith("Bearer ")

    # where a default account stands for everybody, nobody acts as the agent
    shared = WorkloadClusters(client, known, enabled=True, own_identity=False)
    with pytest.raises(ConfigurationError, match="serviceAccountName is required"):
        shared.identity({"provider": provider, "cluster": named}, "team")


async def test_a_token_is_renewed_before_it_ends_and_after_it_was_refused() -> None:
    lives, issued = [3600.0, 0.0, 3600.0], 0

    async def issue() -> Token:
        nonlocal issued
        issued += 1
        return Token(f"t{issued}", time.time() + lives[issued - 1])

    credentials = RenewedToken(issue)
    assert [await credentials.authorization() for _ in range(2)] == ["Bearer t1", "Bearer t1"]
    assert credentials.reject()
    assert await credentials.authorization() == "Bearer t2"
    assert await credentials.authorization() == "Bearer t3"


async def test_without_a_token_there_is_no_connection(client: KubeClient, clouds: Make) -> None:
    workload = WorkloadClusters(client, clouds(), enabled=False)
    with pytest.raises(AuthenticationError, match=r"failed to get access token for cluster: .*404"):
        await workload.cluster(workload.identity({"provider": "gcp", "cluster": GKE}, "team"))


def test_a_default_account_is_used_where_none_is_named(client: KubeClient, clouds: Make) -> None:
    workload = WorkloadClusters(client, clouds(), enabled=True, default_account="common")
    address = {"provider": "generic", "address": "far.example.org"}
    assert workload.identity(address, "team").account == "common"
    named = workload.identity({**address, "serviceAccountName": "own"}, "team")
    assert (named.account, named.server, named.audiences) == (
        "own",
        "https://far.example.org:443",
        ("far.example.org",),
    )
    assert named.digest != workload.identity(address, "team").digest


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ({"provider": "generic"}, "address is required"),
        ({"provider": "generic", "address": "http://far"}, "must use https scheme"),
        ({"provider": "generic", "address": "https://u:p@far"}, "must use https scheme"),
        ({"provider": "generic", "address": "far:port"}, "is no address of an API server"),
        ({"provider": "generic", "address": "far"}, "serviceAccountName is required"),
        ({}, "provider '' not implemented"),
    ],
)
def test_settings_that_cannot_work_are_named(
    client: KubeClient, clouds: Make, data: dict[str, str], wrong: str
) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        WorkloadClusters(client, clouds(), enabled=True).identity(data, "team")
