"""Real Git servers on loopback: repositories on disk, smart HTTP through `git http-backend`, and SSH."""

from testbed.git.authority import CertificateAuthority, IssuedCertificate
from testbed.git.http import Fault, GitHTTPServer, GitRequest
from testbed.git.repository import GitRepository
from testbed.git.ssh import GitSSHServer
from testbed.git.tunnel import TunnelProxy

__all__ = [
    "CertificateAuthority",
    "Fault",
    "GitHTTPServer",
    "GitRepository",
    "GitRequest",
    "GitSSHServer",
    "IssuedCertificate",
    "TunnelProxy",
]
