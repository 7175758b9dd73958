"""What the `git` program finds in its environment: settings, and how to reach and satisfy one remote.

Nothing secret is ever an argument of a process. The user's and the machine's Git configuration is ignored.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.adapters.git import tunnel
from agent.adapters.git.auth import GitRemote, HTTPAuth, SSHAuth

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

_CONFIGURATION = {
    "protocol.version": "2",
    "credential.helper": "",
    "core.hooksPath": os.devnull,
    "transfer.unpackLimit": "1",  # packs carry checksums; libgit2 never returns from a truncated loose object
    "core.fsync": "none",  # the mirror is a cache: after a crash it is checked and, if need be, built anew
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
}

_SSH_OPTIONS = (
    "StrictHostKeyChecking=yes",
    f"GlobalKnownHostsFile={os.devnull}",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "UpdateHostKeys=no",
    "ControlPath=none",
    "ForwardAgent=no",
    "RequestTTY=no",
)


@dataclasses.dataclass(frozen=True, slots=True)
class SSHAlgorithms:
    """Algorithms to offer to SSH servers, the preferred first; empty for those of OpenSSH."""

    key_exchange: tuple[str, ...] = ()
    host_key: tuple[str, ...] = ()


OPENSSH_ALGORITHMS = SSHAlgorithms()


def environment_for(remote: GitRemote, credentials: Path, ssh: SSHAlgorithms) -> dict[str, str]:
    """The whole environment; `credentials` is the folder with the remote's files."""
    configuration = dict(_CONFIGURATION)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(credentials),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh",
    }
    match remote.auth:
        case HTTPAuth() as auth:
            configuration |= _http_configuration(auth, credentials)
        case SSHAuth() as auth:
            environment |= _ssh_environment(auth, credentials, ssh, proxy=remote.proxy is not None)
            if remote.proxy is not None:
                environment |= tunnel.environment(remote.url, remote.proxy.url)
        case None:
            pass
    if remote.proxy is not None:
        # Curl's word for a proxy that also finds the host, as Flux's does.
        configuration["http.proxy"] = remote.proxy.url.replace("socks5://", "socks5h://", 1)
    else:
        environment |= _proxy_environment(os.environ)
    return environment | _as_environment(configuration)


def _http_configuration(auth: HTTPAuth, credentials: Path) -> dict[str, str]:
    configuration = {}
    if auth.header:
        configuration["http.extraHeader"] = f"Authorization: {auth.header}"
    if auth.ca_certificates:
        configuration["http.sslCAInfo"] = str(credentials / "ca.crt")
    if auth.client_certificate:
        configuration["http.sslCert"] = str(credentials / "tls.crt")
        configuration["http.sslKey"] = str(credentials / "tls.key")
    return configuration


def _ssh_environment(auth: SSHAuth, credentials: Path, ssh: SSHAlgorithms, *, proxy: bool) -> dict[str, str]:
    options = [*_SSH_OPTIONS, f'UserKnownHostsFile="{credentials / "known_hosts"}"']
    options.append(f"BatchMode={'no' if auth.passphrase else 'yes'}")
    if ssh.key_exchange:
        options.append(f"KexAlgorithms={','.join(ssh.key_exchange)}")
    if ssh.host_key:
        options.append(f"HostKeyAlgorithms={','.join(ssh.host_key)}")
    if proxy:
        # A shell reads this: the host, which may be anything, is not among its words.
        options.append(f"ProxyCommand={shlex.join([sys.executable, '-I', tunnel.__file__])}")
    command = ["ssh", "-F", os.devnull, "-i", str(credentials / "identity")]
    command += [word for option in options for word in ("-o", option)]
    environment = {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}
    if auth.passphrase:
        environment["SSH_ASKPASS"] = str(credentials / "askpass")
        environment["SSH_ASKPASS_REQUIRE"] = "force"
        environment["WEIR_SSH_PASSPHRASE"] = auth.passphrase
    return environment


def _proxy_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy settings of this process in lower case, as curl reads all of them (of HTTP_PROXY it does not)."""
    found = {name: environment.get(name) or environment.get(name.upper()) for name in _PROXY_VARIABLES}
    return {name: value for name, value in found.items() if value}


def _as_environment(configuration: Mapping[str, str]) -> dict[str, str]:
    """Git's way to take settings from the environment, where other users of the machine cannot read them."""

    def pairs() -> Iterator[tuple[str, str]]:
        yield "GIT_CONFIG_COUNT", str(len(configuration))
        for number, (key, value) in enumerate(configuration.items()):
            yield f"GIT_CONFIG_KEY_{number}", key
            yield f"GIT_CONFIG_VALUE_{number}", value

    return dict(pairs())
