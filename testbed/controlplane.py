"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager.

What it is not: there is no scheduler and no kubelet, so a Pod stays Pending until something binds and runs it; there is
no network behind a Service; the aggregation layer has nothing to aggregate; etcd does not sync to disk, and everything
is gone after `ControlPlane.stop`.
"""

import asyncio
import json
import secrets
import shutil
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from testbed.binaries import ensure
from testbed.certificates import Authority, KeyPair, write_signing_key
from testbed.ports import free_port
from testbed.processes import Process, current_run, start, until

_READY = 240.0
_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
# Services get addresses that nobody dials; the test bed's node and gateway map them to local ports.
_SERVICE_RANGE = "10.96.0.0/16"
_ISSUER = "https://kubernetes.default.svc.cluster.local"


class ControlPlane:
    """One control plane, to be used as an asynchronous context manager. Several can run at once.

    `url` is the API server's base URL, `ca_file` the authority to trust for it, `admin_token` a bearer token of the
    group system:masters, `kubeconfig` a kubeconfig file with that token, `workdir` the folder with logs, keys and data.
    """

    def __init__(self, workdir: Path | None = None) -> None:
        """`workdir` is kept at the end; without one, a temporary folder is used and removed."""
        self._given = workdir
        self.workdir = workdir if workdir is not None else Path()
        self.url = ""
        self.ca_file = Path()
        self.kubeconfig = Path()
        self.admin_token = secrets.token_urlsafe(24)
        self._manager_token = secrets.token_urlsafe(24)
        self._binaries: dict[str, Path] = {}
        self._etcd_url = ""
        self._serving = KeyPair(Path(), Path())
        self._running: dict[str, Process] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def processes(self) -> tuple[Process, ...]:
        """What runs, in the order in which it was started."""
        return tuple(self._running.values())

    async def start(self) -> None:
        """Start everything; returns once the API answers and the controllers work.

        Raises BuildError or ToolchainError when a program is missing, ProcessError when one does not become ready.
        """
        self._binaries = await asyncio.to_thread(ensure, *_PROGRAMS)
        await asyncio.to_thread(self._prepare)
        try:
            await self._start_etcd()
            await self._start_apiserver()
            await self._start_controller_manager()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop what runs, last started first, and remove the working folder unless it was given. May be repeated."""
        while self._running:
            _, process = self._running.popitem()
            # A gentle stop would take seconds, and nothing of this outlives the folder anyway.
            await process.kill()
        if self._given is None and self.workdir != Path():
            await asyncio.to_thread(shutil.rmtree, self.workdir, ignore_errors=True)

    async def restart_apiserver(self, *, pause: float = 0.0) -> None:
        """Kill the API server, leave it away for `pause` seconds, and start it on the same port with the same data."""
        await self._running.pop("kube-apiserver").kill()
        await asyncio.sleep(pause)
        await self._start_apiserver()

    def kubeconfig_for(self, token: str, *, name: str = "") -> Path:
        """Write a kubeconfig file that uses the bearer `token`; only its owner can read it."""
        path = self.workdir / f"kubeconfig-{name or secrets.token_hex(4)}"
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "user"}}],
            "current-context": "testbed",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=2))
        return path

    def _prepare(self) -> None:
        if self._given is None:
            self.workdir = current_run().temporary_folder("weir-control-plane-")
        self.workdir.mkdir(parents=True, exist_ok=True)
        authority = Authority(self.workdir)
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        self._serving = authority.issue("apiserver", dns=names, ips=("127.0.0.1", "10.96.0.1"))
        self.ca_file = authority.pair.certificate
        write_signing_key(self.workdir / "service-accounts.key")
        tokens = self.workdir / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(
            f'{self.admin_token},admin,admin,"system:masters"\n'
            f'{self._manager_token},system:kube-controller-manager,controller-manager,"system:masters"\n'
        )
        self.url = f"https://127.0.0.1:{free_port()}"
        self.kubeconfig = self.kubeconfig_for(self.admin_token, name="admin")

    async def _launch(self, program: str, arguments: dict[str, str]) -> Process:
        argv = [str(self._binaries[program]), *(f"--{name}={value}" for name, value in arguments.items())]
        process = await start(argv, name=program, log=self.workdir / f"{program}.log", cwd=self.workdir)
        self._running[program] = process
        return process

    async def _start_etcd(self) -> None:
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        peers = f"http://127.0.0.1:{free_port()}"
        process = await self._launch(
            "etcd",
            {
                "name": "default",
                "data-dir": str(self.workdir / "etcd"),
                "listen-client-urls": self._etcd_url,
                "advertise-client-urls": self._etcd_url,
                "listen-peer-urls": peers,
                "initial-advertise-peer-urls": peers,
                "initial-cluster": f"default={peers}",
                "unsafe-no-fsync": "true",
                # Alone in its cluster, it need not wait a second for an election.
                "heartbeat-interval": "20",
                "election-timeout": "200",
                "snapshot-count": "5000",
                "log-level": "warn",
            },
        )
        async with aiohttp.ClientSession() as http:
            await until(
                lambda: _answers(http, f"{self._etcd_url}/readyz"),
                timeout=_READY,
                what="etcd is ready",
                process=process,
            )

    async def _start_apiserver(self) -> None:
        process = await self._launch("kube-apiserver", self._apiserver_arguments())
        async with aiohttp.ClientSession(connector=self._connector()) as http:
            await until(
                lambda: _answers(http, f"{self.url}/readyz", self.admin_token),
                timeout=_READY,
                what="the API server is ready",
                process=process,
            )

    def _apiserver_arguments(self) -> dict[str, str]:
        signing = str(self.workdir / "service-accounts.key")
        return {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": self.url.rpartition(":")[2],
            # Endpoints must not be loopback addresses, so the `kubernetes` Service gets none, and this one is unused.
            "advertise-address": "192.0.2.1",
            "endpoint-reconciler-type": "none",
            "tls-cert-file": str(self._serving.certificate),
            "tls-private-key-file": str(self._serving.key),
            "token-auth-file": str(self.workdir / "tokens.csv"),
            "anonymous-auth": "false",
            "authorization-mode": "RBAC",
            "service-account-issuer": _ISSUER,
            "service-account-key-file": signing,
            "service-account-signing-key-file": signing,
            "service-cluster-ip-range": _SERVICE_RANGE,
            "allow-privileged": "true",
            # A process node's host name is known to nobody.
            "kubelet-preferred-address-types": "InternalIP",
            "profiling": "false",
            "shutdown-delay-duration": "0s",
            "v": "0",
        }

    async def _start_controller_manager(self) -> None:
        process = await self._launch(
            "kube-controller-manager",
            {
                "kubeconfig": str(self.kubeconfig_for(self._manager_token, name="controller-manager")),
                "leader-elect": "false",
                "secure-port": "0",
                "root-ca-file": str(self.ca_file),
                "service-account-private-key-file": str(self.workdir / "service-accounts.key"),
                "cluster-signing-cert-file": str(self.ca_file),
                "cluster-signing-key-file": str(self.workdir / "ca.key"),
                "kube-api-qps": "200",
                "kube-api-burst": "400",
                "node-monitor-period": "1s",
                # A busy machine may keep a node silent for a while; its pods should not be evicted for that.
                "node-monitor-grace-period": "60s",
                "terminated-pod-gc-threshold": "200",
                "concurrent-namespace-syncs": "4",
                "profiling": "false",
                "v": "0",
            },
        )
        async with aiohttp.ClientSession(connector=self._connector()) as http:
            paths = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")

            async def works() -> bool:
                base = f"{self.url}/api/v1/namespaces/default"
                return all([await _answers(http, f"{base}/{path}", self.admin_token) for path in paths])

            await until(works, timeout=_READY, what="the controllers work", process=process)

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(self.ca_file)))


async def _answers(http: aiohttp.ClientSession, url: str, token: str = "") -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with http.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
