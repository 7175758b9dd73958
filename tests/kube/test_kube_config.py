"""Kubeconfigs and Pods: every way to say where the API server is and who we are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.web import TLS
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import OWN, Cluster, Trust, from_kubeconfig, in_cluster, load
from agent.adapters.kube.errors import NotFound, Unauthorized, Unavailable
from agent.adapters.kube.resource import Resource
from agent.errors import AuthenticationError, ConfigurationError
from testbed.certificates import Authority
from testbed.controlplane import ControlPlane

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any], **context: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def who(cluster: Cluster) -> str:
    """The name that the API server knows us by."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    reviews = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
    async with KubeClient(cluster) as client:
        answer = await client.create(reviews, None, review)
    return str(answer["status"]["userInfo"]["username"])


@pytest.fixture
def place(control_plane: ControlPlane) -> dict[str, Any]:
    data = encoded(control_plane.ca_file.read_bytes())
    return {"server": control_plane.url, "certificate-authority-data": data}


@pytest.fixture
async def admin_name(control_plane: ControlPlane) -> str:
    return await who(await load(str(control_plane.kubeconfig)))


async def test_token_and_authority_as_data(place: dict[str, Any], control_plane: ControlPlane, admin_name: str) -> None:
    document = json.dumps(kubeconfig(place, {"token": control_plane.admin_token}, namespace="models")).encode()
    cluster = await from_kubeconfig(document)
    assert cluster.namespace == "models"
    assert control_plane.admin_token not in repr(cluster)
    assert await who(cluster) == admin_name


async def test_files_are_relative_to_the_kubeconfig(
    tmp_path: Path, control_plane: ControlPlane, admin_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(control_plane.admin_token + "\n")
    (tmp_path / "ca.crt").write_bytes(control_plane.ca_file.read_bytes())
    document = kubeconfig({"server": control_plane.url, "certificate-authority": "ca.crt"}, {"tokenFile": "token"})
    (tmp_path / "config").write_text(json.dumps(document))
    assert await who(await load(str(tmp_path / "config"))) == admin_name
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{tmp_path / 'config'}")
    assert await who(await load()) == admin_name


async def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(json.dumps({**kubeconfig({"server": "http://one"}, {}), "current-context": ""}))
    two.write_text(json.dumps(kubeconfig({"server": "http://two"}, {})))
    assert (await load(f"{one}:{two}")).server == "http://one"
    assert (await load(f"{two}:{one}")).server == "http://two"


async def test_another_address_of_the_server(
    tmp_path: Path, place: dict[str, Any], control_plane: ControlPlane, admin_name: str
) -> None:
    elsewhere = {**place, "server": "https://127.0.0.1:9"}
    (tmp_path / "config").write_text(json.dumps(kubeconfig(elsewhere, {"token": control_plane.admin_token})))
    assert await who(await load(str(tmp_path / "config"), master=f"{control_plane.url}/")) == admin_name
    with pytest.raises(ConfigurationError, match="--master is not of the form https://host:port"):
        await load(str(tmp_path / "config"), master="api:6443")


async def test_a_pod_uses_its_service_account(
    client: KubeClient, namespace: str, control_plane: ControlPlane, tmp_path: Path
) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    headers = (("Content-Type", "application/json"),)
    answer = json.loads(await client.raw("POST", path, body=json.dumps(request).encode(), headers=headers))
    (tmp_path / "token").write_text(answer["status"]["token"])
    (tmp_path / "ca.crt").write_bytes(control_plane.ca_file.read_bytes())
    (tmp_path / "namespace").write_text(namespace)
    host, _, port = control_plane.url.removeprefix("https://").rpartition(":")
    cluster = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
    assert cluster.namespace == namespace
    assert await who(cluster) == f"system:serviceaccount:{namespace}:default"


async def test_a_pod_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="service account files"):
        in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "127.0.0.1"})
    with pytest.raises(ConfigurationError, match="not running in a Pod"):
        in_cluster(tmp_path, {})


async def test_user_and_password() -> None:
    document = kubeconfig({"server": "https://example.org"}, {"username": "u", "password": "p"})
    credentials = (await from_kubeconfig(document)).credentials
    assert await credentials.authorization() == f"Basic {encoded(b'u:p')}"


@asynccontextmanager
async def tunnelling() -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP proxy, and where it was asked to connect to."""
    asked: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        where = head.split()[1]
        asked.append(where)
        host, _, port = where.rpartition(":")
        onward_reader, onward = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, onward), copy(onward_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


async def test_a_proxy_is_gone_through(place: dict[str, Any], control_plane: ControlPlane, admin_name: str) -> None:
    async with tunnelling() as (url, asked):
        document = kubeconfig({**place, "proxy-url": url}, {"token": control_plane.admin_token})
        assert await who(await from_kubeconfig(document)) == admin_name
        assert asked == [control_plane.url.removeprefix("https://")]


# Plugins


PLUGIN = """
import json, os, pathlib, sys
counter = pathlib.Path(sys.argv[1])
counter.write_text(str(int(counter.read_text() or 0) + 1 if counter.exists() else 1))
status = {"token": sys.argv[2], **json.loads(sys.argv[3])}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
sys.exit(int(sys.argv[4]))
"""


def plugin(tmp_path: Path, token: str, status: dict[str, Any] | None = None, code: int = 0) -> dict[str, Any]:
    script = tmp_path / "plugin.py"
    script.write_text(PLUGIN)
    arguments = [str(script), str(tmp_path / "count"), token, json.dumps(status or {}), str(code)]
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": arguments}}


async def test_an_exec_plugin_is_run_once_while_its_token_is_good(
    tmp_path: Path, place: dict[str, Any], control_plane: ControlPlane, admin_name: str
) -> None:
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for status in ({}, {"expirationTimestamp": later}):
        (tmp_path / "count").unlink(missing_ok=True)
        user = plugin(tmp_path, control_plane.admin_token, status)
        cluster = await from_kubeconfig(kubeconfig(place, user), trust=OWN)
        async with KubeClient(cluster) as client:
            for _ in range(3):
                await client.get(NAMESPACES, None, "default")
        assert await who(cluster) == admin_name
        assert (tmp_path / "count").read_text() == "1"


async def test_a_plugin_whose_token_expires_or_is_refused_is_run_again(
    tmp_path: Path, place: dict[str, Any], control_plane: ControlPlane
) -> None:
    user = plugin(tmp_path, control_plane.admin_token, {"expirationTimestamp": "2020-01-01T00:00:00Z"})
    cluster = await from_kubeconfig(kubeconfig(place, user), trust=OWN)
    async with KubeClient(cluster) as client:
        await client.get(NAMESPACES, None, "default")
    assert int((tmp_path / "count").read_text()) == 2
    assert cluster.credentials.reject()
    await cluster.credentials.authorization()
    assert int((tmp_path / "count").read_text()) == 3


async def test_a_failing_plugin_does_not_leak_what_it_printed(
    tmp_path: Path, place: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AuthenticationError, match="credential plugin failed") as failed:
        await from_kubeconfig(kubeconfig(place, plugin(tmp_path, "hunter2", code=1)), trust=OWN)
    assert "hunter2" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert "hunter2" not in caplog.text


TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.mark.parametrize(
    ("where", "key", "value", "remedy"),
    [
        ("user", "exec", {"command": "sh"}, "--insecure-kubeconfig-exec"),
        ("user", "auth-provider", {"name": "oidc"}, "client certificate"),
        ("user", "tokenFile", TOKEN_FILE, "inline"),
        ("user", "client-key", "/etc/key", "inline"),
    ],
)
async def test_a_foreign_kubeconfig_runs_and_reads_nothing_and_says_so_once_that_is_what_is_missing(
    place: dict[str, Any], where: str, key: str, value: object, remedy: str
) -> None:
    cluster, user = dict(place), {}
    (user if where == "user" else cluster)[key] = value  # type: ignore[assignment]
    async with KubeClient(await from_kubeconfig(kubeconfig(cluster, user))) as client:
        with pytest.raises(Unauthorized, match=f"{key} .*{remedy}.* was not used"):
            await client.get(NAMESPACES, None, "default")


async def test_a_foreign_kubeconfig_names_no_authority_on_disk_and_turns_no_verification_off(
    control_plane: ControlPlane,
) -> None:
    for extra, allowed in (
        ({"certificate-authority": str(control_plane.ca_file)}, Trust(files=True)),
        ({"insecure-skip-tls-verify": True}, Trust(unverified=True)),
    ):
        document = kubeconfig({"server": control_plane.url, **extra}, {"token": control_plane.admin_token})
        async with KubeClient(await from_kubeconfig(document)) as client:
            with pytest.raises(Unavailable, match=f"certificate.*{next(iter(extra))}.*was not used"):
                await client.get(NAMESPACES, None, "default")
        async with KubeClient(await from_kubeconfig(document, trust=allowed)) as client:
            assert (await client.get(NAMESPACES, None, "default"))["kind"] == "Namespace"


async def test_what_was_left_out_is_no_news_while_the_rest_is_enough(
    place: dict[str, Any], control_plane: ControlPlane
) -> None:
    user = {"exec": {"command": "sh"}, "token": control_plane.admin_token}
    async with KubeClient(await from_kubeconfig(kubeconfig(place, user))) as client:
        with pytest.raises(NotFound) as failed:
            await client.get(NAMESPACES, None, "none-of-that-name")
    assert "exec" not in failed.value.message


@pytest.mark.parametrize(
    "cluster",
    [
        {"server": "example.org"},
        {"server": "https://admin:hunter2@example.org"},
        {"server": "https://example.org:hunter2"},
        {"server": "https://example.org", "proxy-url": "socks5://proxy:1080"},
    ],
)
async def test_addresses_that_cannot_be_used(cluster: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"(server|proxy-url) is not of the form") as failed:
        await from_kubeconfig(kubeconfig(cluster, {}))
    assert "hunter2" not in failed.value.message


@pytest.mark.parametrize(
    "document",
    [
        b"a: [hunter2",
        b"just hunter2",
        b"{}",
        b'{"current-context": "x", "contexts": [], "clusters": [], "users": []}',
        json.dumps(kubeconfig({"server": "https://x", "certificate-authority-data": "hunter2!"}, {})).encode(),
        json.dumps(kubeconfig({"server": "https://x", "certificate-authority-data": encoded(b"hunter2")}, {})).encode(),
    ],
)
async def test_broken_kubeconfigs_are_refused_without_being_quoted(document: bytes) -> None:
    with pytest.raises(ConfigurationError) as failed:
        await from_kubeconfig(document)
    assert "hunter2" not in str(failed.value)


async def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no kubeconfig at"):
        await load(str(tmp_path / "none"))


# Client certificates, against a server that demands one


def client_pair(folder: Path) -> tuple[bytes, bytes]:
    """A self-signed client certificate (its own authority) and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weir-client")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "client.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, private


@asynccontextmanager
async def demanding(authority: Authority, trusted: Path) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        subject = request.transport.get_extra_info("peercert")["subject"]
        return web.json_response({"who": subject[0][0][1]})

    pair = authority.issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted))
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_client_certificates(tmp_path: Path) -> None:
    authority = await asyncio.to_thread(Authority, tmp_path)
    certificate, key = await asyncio.to_thread(client_pair, tmp_path)
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    trust = encoded(authority.pair.certificate.read_bytes())
    async with demanding(authority, tmp_path / "client.crt") as url:
        place = {"server": url, "certificate-authority-data": trust}
        async with KubeClient(await from_kubeconfig(kubeconfig(place, user))) as client:
            assert await client.get(NAMESPACES, None, "x") == {"who": "weir-client"}
        async with KubeClient(await from_kubeconfig(kubeconfig(place, {}))) as client:
            with pytest.raises(Unavailable):
                await client.get(NAMESPACES, None, "x")
        # Another name than the certificate's is refused, unless it is named or nothing is verified.
        named = {**place, "tls-server-name": "other.example.org"}
        async with KubeClient(await from_kubeconfig(kubeconfig(named, user))) as client:
            with pytest.raises(Unavailable, match="certificate"):
                await client.get(NAMESPACES, None, "x")
        for extra in ({"tls-server-name": "localhost"}, {"tls-server-name": "other", "insecure-skip-tls-verify": True}):
            document = kubeconfig({**place, **extra}, user)
            async with KubeClient(await from_kubeconfig(document, trust=Trust(unverified=True))) as client:
                assert (await client.get(NAMESPACES, None, "x"))["who"] == "weir-client"


async def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, _ = await asyncio.to_thread(client_pair, tmp_path)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(locked)}
    with pytest.raises(ConfigurationError, match="client-key is encrypted: store it without a passphrase"):
        await from_kubeconfig(kubeconfig({"server": "https://localhost"}, user))
    with pytest.raises(IdentityError, match=r"tls\.key is encrypted"):
        TLS(certificate=certificate, key=locked).context()
    assert capfd.readouterr() == ("", "")


async def test_plain_configurations_do_not_import_the_heavy_library(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(json.dumps(kubeconfig({"server": "https://example.org"}, {"token": "t"})))
    program = (
        "import asyncio, sys; from agent.adapters.kube import client, config, watch, lease, discovery; "
        f"asyncio.run(config.load({str(config)!r})); sys.exit('kubernetes_asyncio' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=Path(__file__).parents[2], env={"PYTHONPATH": ""}
    )
    assert await asyncio.wait_for(process.wait(), 120) == 0
