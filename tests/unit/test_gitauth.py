"""Which credentials a Secret gives for a URL, and that they show nowhere."""

from __future__ import annotations

import base64
import time

import pytest

from agent.adapters.git import (
    GitAuthenticationError,
    GitOperationError,
    GitProxy,
    GitRemote,
    HTTPAuth,
    SSHAuth,
    auth_from_secret,
    proxy_from_secret,
)
from agent.adapters.git.auth import is_encrypted_key
from agent.adapters.git.errors import redact
from agent.adapters.git.transport import describe_failure

HTTPS = "https://git.example.org/apps"
SSH = "ssh://git@git.example.org:2222/apps"
PREFIX = "failed to configure authentication options: "


def openssh_key(cipher: bytes) -> bytes:
    body = base64.b64encode(b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + bytes(60))
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + b"\n-----END OPENSSH PRIVATE KEY-----\n"


PLAIN = openssh_key(b"none")


@pytest.mark.parametrize(
    ("url", "data", "auth"),
    [
        (HTTPS, {}, HTTPAuth()),
        (HTTPS, {"username": b"u", "password": b"p"}, HTTPAuth(username="u", password="p")),
        (HTTPS, {"username": b"u"}, HTTPAuth(username="u")),
        (HTTPS, {"bearerToken": b"t\n"}, HTTPAuth(bearer_token="t")),
        (HTTPS, {"bearerToken": b"t", "username": b"u", "password": b"p"}, HTTPAuth(bearer_token="t")),
        (HTTPS, {"bearerToken": b"", "username": b"u", "password": b"p"}, HTTPAuth()),
        (HTTPS, {"ca.crt": b"new", "caFile": b"old"}, HTTPAuth(ca_certificates=b"new")),
        (HTTPS, {"caFile": b"old"}, HTTPAuth(ca_certificates=b"old")),
        (HTTPS, {"tls.crt": b"c", "tls.key": b"k"}, HTTPAuth(client_certificate=b"c", client_key=b"k")),
        ("https://u:p%40ss@git.example.org/apps", {}, HTTPAuth(username="u", password="p@ss")),
        ("https://u@git.example.org/apps", {"password": b"p"}, HTTPAuth(username="u", password="p")),
        ("https://x:y@git.example.org/apps", {"username": b"u", "password": b"p"}, HTTPAuth("u", "p")),
        (SSH, {"identity": PLAIN, "known_hosts": b"h"}, SSHAuth("git", PLAIN, b"h")),
        ("ssh://host/apps", {"identity": PLAIN, "known_hosts": b"h"}, SSHAuth("git", PLAIN, b"h")),
        ("ssh://bot@host/apps", {"identity": PLAIN, "known_hosts": b"h"}, SSHAuth("bot", PLAIN, b"h")),
        (
            SSH,
            {"identity": openssh_key(b"aes256-ctr"), "known_hosts": b"h", "password": b"secret"},
            SSHAuth("git", openssh_key(b"aes256-ctr"), b"h", "secret"),
        ),
    ],
)
def test_secrets(url: str, data: dict[str, bytes], auth: HTTPAuth | SSHAuth) -> None:
    assert auth_from_secret(url, data) == auth


@pytest.mark.parametrize(
    ("url", "data", "message"),
    [
        (HTTPS, {"password": b"p"}, "invalid 'https' auth option: 'password' requires 'username' to be set"),
        ("http://host/a", {"password": b"p"}, "invalid 'http' auth option: 'password' requires 'username' to be set"),
        (HTTPS, {"tls.crt": b"c"}, "invalid 'https' auth option: 'tls.crt' and 'tls.key' must be set together"),
        (HTTPS, {"bearerToken": b"a\nX-Evil: 1"}, "invalid 'https' auth option: 'bearerToken' must be a single line"),
        (SSH, {}, "invalid 'ssh' auth option: 'identity' is required"),
        (SSH, {"known_hosts": b"h"}, "invalid 'ssh' auth option: 'identity' is required"),
        (SSH, {"identity": PLAIN}, "invalid 'ssh' auth option: 'known_hosts' is required"),
        ("file:///srv/apps", {}, "unknown transport 'file'"),
    ],
)
def test_unusable_secrets(url: str, data: dict[str, bytes], message: str) -> None:
    with pytest.raises(GitAuthenticationError) as caught:
        auth_from_secret(url, data)
    assert caught.value.reason == "AuthenticationFailed"
    assert caught.value.message.startswith(PREFIX + message)


def test_a_password_in_the_url_next_to_a_token_fails_the_operation() -> None:
    with pytest.raises(GitOperationError, match="basic auth and bearer token cannot be set at the same time"):
        auth_from_secret("https://u:p@git.example.org/apps", {"bearerToken": b"t"})


@pytest.mark.parametrize(
    ("identity", "encrypted"),
    [
        (PLAIN, False),
        (openssh_key(b"aes256-ctr"), True),
        (b"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n", False),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nMII\n", True),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII\n-----END ENCRYPTED PRIVATE KEY-----\n", True),
        (b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n", False),
        (b"no key at all", False),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n!!!\n-----END OPENSSH PRIVATE KEY-----\n", False),
    ],
)
def test_encrypted_keys_are_recognised(identity: bytes, encrypted: bool) -> None:
    assert is_encrypted_key(identity) is encrypted


def test_a_proxy_secret() -> None:
    proxy = proxy_from_secret({"address": b"http://proxy:3128\n", "username": b"u@x", "password": b"p:/"})
    assert proxy.url == "http://u%40x:p%3A%2F@proxy:3128"
    assert proxy_from_secret({"address": b"http://proxy:3128"}).url == "http://proxy:3128"
    with pytest.raises(GitAuthenticationError, match="'address' is missing"):
        proxy_from_secret({"username": b"u"})


def test_remotes_share_a_mirror_only_with_the_same_credentials() -> None:
    remotes = [
        GitRemote(HTTPS),
        GitRemote(HTTPS + "2"),
        GitRemote(HTTPS, HTTPAuth(username="u", password="p")),
        GitRemote(HTTPS, HTTPAuth(username="up")),
        GitRemote(HTTPS, HTTPAuth(bearer_token="p")),
        GitRemote(HTTPS, HTTPAuth(ca_certificates=b"p")),
        GitRemote(HTTPS, None, GitProxy("http://proxy")),
    ]
    assert len({remote.fingerprint for remote in remotes}) == len(remotes)
    assert GitRemote(HTTPS, HTTPAuth("u", "p")).fingerprint == GitRemote(HTTPS, HTTPAuth("u", "p")).fingerprint


def test_addresses_hold_no_credentials() -> None:
    assert GitRemote("https://u:p@git.example.org:8443/apps.git").address == "https://git.example.org:8443/apps.git"
    assert GitRemote("ssh://bot:p@git.example.org/apps").address == "ssh://bot@git.example.org/apps"
    assert GitRemote("ssh://git.example.org/apps").address == "ssh://git@git.example.org/apps"


def test_nothing_secret_in_representations() -> None:
    secret = "hunter2"
    values = [
        HTTPAuth("u", secret, secret, secret.encode(), secret.encode(), secret.encode()),
        SSHAuth("u", secret.encode(), secret.encode(), secret),
        GitProxy("http://proxy", "u", secret),
    ]
    remotes = [GitRemote(f"https://u:{secret}@host/a", HTTPAuth("u", secret), GitProxy("http://p", "u", secret))]
    for value in (*values, *remotes):
        assert secret not in repr(value)
        assert secret not in f"{value}"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("fatal: unable to access 'https://u:p@host/a/'", "fatal: unable to access 'https://host/a/'"),
        ("proxy http://user:p%40@proxy:3128 refused", "proxy http://proxy:3128 refused"),
        ("ssh://git:pw@host/a and ssh://git@host/b", "ssh://git@host/a and ssh://git@host/b"),
        ("the token hunter2 and again hunter2", "the token ***** and again *****"),
        ("nothing at mail@example.org", "nothing at mail@example.org"),
    ],
)
def test_redaction(text: str, clean: str) -> None:
    assert redact(text, ("hunter2", "")) == clean


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled\n", "authentication required"),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403\n", "authorization failed"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.\n", "repository not found"),
        ("warning: x\nfatal: one\nerror: two\n", "one; error: two"),
        ("something else\n", "something else"),
        ("", "git failed without a word"),
    ],
)
def test_what_git_printed_in_one_line(printed: str, told: str) -> None:
    assert describe_failure(printed) == told


def test_an_encrypted_key_needs_its_passphrase() -> None:
    data = {"identity": openssh_key(b"aes256-ctr"), "known_hosts": b"h"}
    with pytest.raises(GitAuthenticationError) as caught:
        auth_from_secret(SSH, data, "team/keys")
    assert caught.value.message == (
        "SSH identity key is encrypted but no 'password' field was provided in the secret 'team/keys'"
    )
    assert auth_from_secret(SSH, data | {"password": b"open"}, "team/keys") is not None


@pytest.mark.parametrize(
    "address", ["", "proxy:3128", "ftp://proxy", "http://", "http://proxy:x", "http://a\nb", "socks4://p"]
)
def test_unusable_proxies(address: str) -> None:
    with pytest.raises(GitAuthenticationError, match="failed to configure proxy options: invalid proxy secret"):
        proxy_from_secret({"address": address.encode()})


def test_a_renewed_token_of_one_identity_keeps_the_mirror() -> None:
    first = HTTPAuth(bearer_token="one", identity="azure:a/b", expires=1.0)
    second = HTTPAuth(bearer_token="two", identity="azure:a/b", expires=2.0)
    other = HTTPAuth(bearer_token="one", identity="azure:a/c", expires=1.0)
    names = [GitRemote(HTTPS, auth).fingerprint for auth in (first, second, other)]
    assert names[0] == names[1] != names[2]


def test_a_server_cannot_make_the_search_for_passwords_slow() -> None:
    said = "a." * 32_000 + "xhttps://user:hunter2@git.example.org/x"
    started = time.process_time()
    assert redact(said).endswith("xhttps://git.example.org/x")
    assert time.process_time() - started < 1
