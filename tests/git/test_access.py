"""Getting in: every kind of credentials against real servers, and what a refusal says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import asyncssh
import pytest

from agent.adapters.git import (
    GitAuthenticationError,
    GitMirrors,
    GitOperationError,
    GitProxy,
    GitRemote,
    HTTPAuth,
    SSHAlgorithms,
    auth_from_secret,
)
from agent.core.gitref import GitReference
from testbed.git import CertificateAuthority, GitHTTPServer, GitSSHServer, IssuedCertificate, TunnelProxy

TIMEOUT = 60.0
MAIN = GitReference(branch="main")
USER, PASSWORD, TOKEN = "deploy", "s3cr3t/with:odd@signs", "t0ken-abc.def"

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="the ssh program is not installed")


def remote(url: str, secret: Mapping[str, bytes] | None = None) -> GitRemote:
    return GitRemote(url, auth_from_secret(url, secret or {}))


async def refused(mirrors: GitMirrors, remote: GitRemote) -> str:
    with pytest.raises(GitOperationError) as caught:
        await mirrors.checkout(remote, MAIN, TIMEOUT)
    assert caught.value.reason == "GitOperationFailed"
    for secret in (PASSWORD, TOKEN):
        assert secret not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("secret", "userinfo"),
    [
        ({"username": USER.encode(), "password": PASSWORD.encode()}, ""),
        ({"bearerToken": TOKEN.encode()}, ""),
        ({"bearerToken": TOKEN.encode() + b"\n", "username": b"ignored", "password": b"ignored"}, ""),
        ({}, "deploy:s3cr3t%2Fwith%3Aodd%40signs@"),
    ],
)
async def test_http_credentials_let_in(
    tmp_path: Path, mirrors: GitMirrors, secret: dict[str, bytes], userinfo: str
) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=(USER, PASSWORD), bearer=TOKEN) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        url = server.url("apps").replace("http://", f"http://{userinfo}")
        commit = await mirrors.checkout(remote(url, secret), MAIN, TIMEOUT)
        assert commit.sha == sha
        # Credentials go with the first request already; a round trip per poll is spared.
        assert [request.status for request in server.requests if request.status != 200] == []


@pytest.mark.parametrize(
    "secret",
    [
        {},
        {"username": USER.encode(), "password": b"wrong"},
        {"bearerToken": b"wrong"},
    ],
)
async def test_wrong_http_credentials_fail_the_operation(
    tmp_path: Path, mirrors: GitMirrors, secret: dict[str, bytes]
) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=(USER, PASSWORD)) as server:
        server.repository("apps").commit({"a.yaml": "1"})
        message = await refused(mirrors, remote(server.url("apps"), secret))
        assert message == (
            "failed to checkout and determine revision: "
            f"unable to clone '{server.url('apps')}': authentication required"
        )


async def test_one_set_of_credentials_does_not_open_the_mirror_of_another(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=(USER, PASSWORD)) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        secret = {"username": USER.encode(), "password": PASSWORD.encode()}
        await mirrors.checkout(remote(server.url("apps"), secret), MAIN, TIMEOUT)
        with pytest.raises(GitOperationError, match="authentication required"):
            await mirrors.checkout(remote(server.url("apps")), GitReference(commit=sha), TIMEOUT)


async def test_tls_needs_the_authority_of_the_secret(tmp_path: Path, mirrors: GitMirrors) -> None:
    authority = CertificateAuthority()
    async with GitHTTPServer(tmp_path / "served", tls=authority.server_context("127.0.0.1")) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        url = server.url("apps")
        for key in ("ca.crt", "caFile"):
            commit = await mirrors.checkout(remote(url, {key: authority.certificate}), MAIN, TIMEOUT)
            assert commit.sha == sha
        assert "certificate" in await refused(mirrors, remote(url))
        other = {"ca.crt": CertificateAuthority().certificate}
        assert "certificate" in await refused(mirrors, remote(url, other))


async def test_tls_with_a_certificate_for_another_host_is_refused(tmp_path: Path, mirrors: GitMirrors) -> None:
    authority = CertificateAuthority()
    async with GitHTTPServer(tmp_path / "served", tls=authority.server_context("git.example.org")) as server:
        server.repository("apps").commit({"a.yaml": "1"})
        message = await refused(mirrors, remote(server.url("apps"), {"ca.crt": authority.certificate}))
        assert "certificate" in message


async def test_mutual_tls_shows_the_certificate_of_the_secret(tmp_path: Path, mirrors: GitMirrors) -> None:
    authority, clients = CertificateAuthority(), CertificateAuthority("clients")
    context = authority.server_context("127.0.0.1", client_authority=clients)
    client: IssuedCertificate = clients.issue("deployer", client=True)
    async with GitHTTPServer(tmp_path / "served", tls=context) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        secret = {"ca.crt": authority.certificate, "tls.crt": client.certificate, "tls.key": client.private_key}
        commit = await mirrors.checkout(remote(server.url("apps"), secret), MAIN, TIMEOUT)
        assert commit.sha == sha
        await refused(mirrors, remote(server.url("apps"), {"ca.crt": authority.certificate}))


async def test_a_proxy_carries_the_request(tmp_path: Path, mirrors: GitMirrors) -> None:
    # A proxy for plain http is asked with the absolute address, which this server takes like its own.
    async with GitHTTPServer(tmp_path / "served", proxy=("proxy-user", PASSWORD)) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        proxy = GitProxy(server.base, "proxy-user", PASSWORD)
        away = GitRemote("http://git.example.invalid/apps.git", None, proxy)
        assert (await mirrors.checkout(away, MAIN, TIMEOUT)).sha == sha
        wrong = GitRemote("http://git.example.invalid/other.git", None, GitProxy(server.base, "proxy-user", "wrong"))
        assert "407" in await refused(mirrors, wrong)


@needs_ssh
@pytest.mark.parametrize("host_key", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_ssh_lets_in_with_key_and_known_host(tmp_path: Path, mirrors: GitMirrors, host_key: str) -> None:
    async with GitSSHServer(tmp_path / "served", key_type=host_key) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        commit = await mirrors.checkout(remote(server.url("apps"), secret), MAIN, TIMEOUT)
        assert commit.sha == sha
        assert commit.tree.read("a.yaml") == b"1"


@needs_ssh
async def test_ssh_users_come_from_the_address_or_are_git(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server:
        server.repository("apps").commit({"a.yaml": "1"})
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        nameless = server.url("apps").replace("ssh://git@", "ssh://")
        await mirrors.checkout(remote(nameless, secret), MAIN, TIMEOUT)
        assert set(server.users) == {"git"}
        server.users.clear()
        await mirrors.checkout(remote(nameless.replace("ssh://", "ssh://deployer@"), secret), MAIN, TIMEOUT)
        assert set(server.users) == {"deployer"}


def encrypted_openssh(server: GitSSHServer, folder: Path, passphrase: str) -> bytes:
    key = folder / "identity"
    key.touch(mode=0o600)
    key.write_bytes(server.identity())
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", key], check=True, timeout=TIMEOUT)
    return key.read_bytes()


@needs_ssh
@pytest.mark.parametrize("form", ["openssh", "pkcs8"])
async def test_ssh_keys_may_have_a_passphrase(tmp_path: Path, mirrors: GitMirrors, form: str) -> None:
    async with GitSSHServer(tmp_path / "served", client_key_type="ecdsa-sha2-nistp256") as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        url, passphrase = server.url("apps"), "open $esame"
        key = encrypted_openssh(server, tmp_path, passphrase) if form == "openssh" else server.identity(passphrase)
        secret = {"identity": key, "known_hosts": server.known_hosts}
        commit = await mirrors.checkout(remote(url, secret | {"password": passphrase.encode()}), MAIN, TIMEOUT)
        assert commit.sha == sha
        with pytest.raises(GitAuthenticationError) as caught:
            remote(url, secret)
        assert caught.value.reason == "AuthenticationFailed"
        wrong = await refused(mirrors, remote(url, secret | {"password": b"wrong"}))
        assert "unable to authenticate" in wrong


@needs_ssh
async def test_ssh_refuses_unknown_and_changed_host_keys(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server:
        server.repository("apps").commit({"a.yaml": "1"})
        url, identity = server.url("apps"), server.identity()
        elsewhere = b"git.example.org " + server.known_hosts.partition(b" ")[2]
        unknown = remote(url, {"identity": identity, "known_hosts": elsewhere})
        assert "knownhosts: key is unknown" in await refused(mirrors, unknown)
        impostor = server.known_hosts_for(asyncssh.generate_private_key("ssh-ed25519"))
        changed = remote(url, {"identity": identity, "known_hosts": impostor})
        assert "knownhosts: key mismatch" in await refused(mirrors, changed)
        assert server.commands == []


@needs_ssh
async def test_ssh_refuses_another_key(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server:
        server.repository("apps").commit({"a.yaml": "1"})
        stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
        secret = {"identity": stranger, "known_hosts": server.known_hosts}
        message = await refused(mirrors, remote(server.url("apps"), secret))
        assert "ssh: handshake failed: ssh: unable to authenticate" in message


@needs_ssh
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_ssh_goes_through_the_proxy(tmp_path: Path, mirrors: GitMirrors, scheme: str) -> None:
    async with GitSSHServer(tmp_path / "served") as server, TunnelProxy(user=("proxy-user", PASSWORD)) as proxy:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        auth, url = auth_from_secret(server.url("apps"), secret), server.url("apps")
        through = GitRemote(url, auth, GitProxy(proxy.url(scheme), "proxy-user", PASSWORD))
        assert (await mirrors.checkout(through, MAIN, TIMEOUT)).sha == sha
        assert set(proxy.targets) == {f"127.0.0.1:{server.port}"}
        server.commands.clear()
        wrong = GitRemote(url, auth, GitProxy(proxy.url(scheme), "proxy-user", "wrong"))
        assert "ssh: proxy: the proxy refused" in await refused(mirrors, wrong)
        nowhere = GitRemote(url, auth, GitProxy("http://127.0.0.1:1"))
        assert "Connection refused" in await refused(mirrors, nowhere)
        assert server.commands == []


@needs_ssh
@pytest.mark.parametrize("host", ["$(touch${{IFS}}{})", "`touch${{IFS}}{}`", "x;touch${{IFS}}{}", "x|tee${{IFS}}{}"])
async def test_no_host_is_a_command(tmp_path: Path, mirrors: GitMirrors, host: str) -> None:
    witness = tmp_path / "witness"
    async with GitSSHServer(tmp_path / "served") as server, TunnelProxy() as proxy:
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        named = host.format(str(witness).replace("/", "${HOME%${HOME#?}}"))
        auth = auth_from_secret(server.url("apps"), secret)
        await refused(mirrors, GitRemote(f"ssh://git@{named}/apps.git", auth, GitProxy(proxy.url("http"))))
        assert not witness.exists()


async def test_http_goes_through_a_socks_proxy_which_finds_the_host(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    sha = server.repository("apps").commit({"a.yaml": "1"})
    async with TunnelProxy(names={"git.example.invalid": "127.0.0.1"}) as proxy:
        url = server.url("apps").replace("127.0.0.1", "git.example.invalid")
        away = GitRemote(url, None, GitProxy(proxy.url("socks5")))
        assert (await mirrors.checkout(away, MAIN, TIMEOUT)).sha == sha
        assert {target.partition(":")[0] for target in proxy.targets} == {"git.example.invalid"}


@needs_ssh
async def test_ssh_algorithms_are_those_of_the_flags(tmp_path: Path) -> None:
    async with GitSSHServer(tmp_path / "served", key_type="ssh-ed25519") as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        wanted = remote(server.url("apps"), secret)

        def offering(**algorithms: tuple[str, ...]) -> GitMirrors:
            return GitMirrors(tmp_path / "a folder", ssh=SSHAlgorithms(**algorithms))

        fitting = offering(key_exchange=("curve25519-sha256",), host_key=("ssh-ed25519",))
        assert (await fitting.checkout(wanted, MAIN, TIMEOUT)).sha == sha
        foreign = await refused(offering(host_key=("ecdsa-sha2-nistp256",)), wanted)
        assert "no common algorithm for host key" in foreign
        assert "--ssh-kex-algos names an algorithm" in await refused(offering(key_exchange=("no-such",)), wanted)
        assert "--ssh-hostkey-algos names an algorithm" in await refused(offering(host_key=("no-such",)), wanted)


@needs_ssh
async def test_ssh_tells_a_missing_repository(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server:
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        assert "repository not found" in await refused(mirrors, remote(server.url("absent"), secret))


async def test_http_tells_a_missing_repository(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    assert "not found" in await refused(mirrors, remote(server.url("absent")))


async def test_a_renewed_token_is_used_with_the_mirror_that_is_there(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served", bearer="one") as server:
        repository = server.repository("apps")
        repository.commit({"a.yaml": "1"})

        def known_as(token: str, expires: float) -> GitRemote:
            return GitRemote(server.url("apps"), HTTPAuth(bearer_token=token, identity="azure:a", expires=expires))

        await mirrors.checkout(known_as("one", 1.0), MAIN, TIMEOUT)
        server.bearer = "two"
        sha = repository.commit({"a.yaml": "2"})
        assert (await mirrors.checkout(known_as("two", 2.0), MAIN, TIMEOUT)).sha == sha
        # Whoever still holds the older one uses the newer.
        assert (await mirrors.checkout(known_as("one", 1.0), MAIN, TIMEOUT)).sha == sha
        assert len(list((tmp_path / "cache/git").iterdir())) == 1
