"""Signatures, checked and made: OpenPGP through Sequoia, SSH through `cryptography`."""

from agent.adapters.signatures.errors import SignatureError
from agent.adapters.signatures.pgp import verify_pgp
from agent.adapters.signatures.signing import Signer, pgp_signer, ssh_signer
from agent.adapters.signatures.ssh import verify_ssh

__all__ = ["SignatureError", "Signer", "pgp_signer", "ssh_signer", "verify_pgp", "verify_ssh"]
