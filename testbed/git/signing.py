"""Signed commits and tags for tests: what `git commit -S` and `git tag -s` write, without a program for it."""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Callable

import pygit2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pygit2.enums import ObjectType

from testbed.git.repository import GitRepository

Signer = Callable[[bytes], str]


class SSHSigner:
    """An Ed25519 key that signs as `ssh-keygen -Y sign -n git` does."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_line = self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self._blob = base64.b64decode(self.public_line.split()[1])

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and the hash of the key."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self._blob).digest()).decode().rstrip("=")

    def __call__(self, payload: bytes) -> str:
        """The armored signature."""
        signature = field(b"ssh-ed25519") + field(self._key.sign(signed_data(payload)))
        return armored(self._blob, signature)


def field(data: bytes) -> bytes:
    """A string in SSH's binary format."""
    return len(data).to_bytes(4, "big") + data


def signed_data(payload: bytes, *, namespace: bytes = b"git", digest: str = "sha512") -> bytes:
    """What the key has to sign."""
    parts = (namespace, b"", digest.encode(), hashlib.new(digest, payload).digest())
    return b"SSHSIG" + b"".join(field(part) for part in parts)


def armored(key: bytes, signature: bytes, *, namespace: bytes = b"git", digest: bytes = b"sha512") -> str:
    """A signature file."""
    raw = b"SSHSIG" + (1).to_bytes(4, "big")
    raw += b"".join(field(part) for part in (key, namespace, b"", digest, signature))
    lines = "\n".join(textwrap.wrap(base64.b64encode(raw).decode(), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def sign_head(git: GitRepository, sign: Signer, *, branch: str = "main") -> str:
    """Replace the branch's tip by the same commit, signed."""
    repository = pygit2.Repository(str(git.path))
    content = repository.odb.read(git.head(branch))[1]
    oid = str(repository.create_commit_with_signature(content.decode(), sign(content).rstrip("\n")))
    git.set_branch(branch, oid)
    return oid


def sign_tag(git: GitRepository, name: str, commit: str, sign: Signer) -> str:
    """Create a signed tag; returns the id of the tag object."""
    content = f"object {commit}\ntype commit\ntag {name}\ntagger Ada <ada@example.org> 1700000000 +0000\n\n{name}\n"
    repository = pygit2.Repository(str(git.path))
    oid = str(repository.odb.write(ObjectType.TAG, (content + sign(content.encode())).encode()))
    git.set_ref(f"refs/tags/{name}", oid)
    return oid
