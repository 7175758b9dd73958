"""Pod ports on one machine: which local port plays which container port, and where that is published.

A Pod's address is never dialled. Whoever wants to reach ``podIP:port`` reads the Pod's annotation
``process-node/ports`` (JSON, container port as text to local port) and dials 127.0.0.1 with the local port.
"""

import json
import re
from collections.abc import Iterable, Mapping

from testbed.node.images import Image, find_image
from testbed.node.kubeapi import Obj
from testbed.ports import free_port

PORTS_ANNOTATION = "process-node/ports"
_LISTEN_ADDRESS = re.compile(
    r"(?P<flag>--?[\w.-]+=)?(?:0\.0\.0\.0|\[::1?\]|127\.0\.0\.1|localhost)?:(?P<port>[0-9]{1,5})"
)


class LocalPorts:
    """Free local ports, none handed out twice while in use."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def allocate(self, wanted: Mapping[int, bool]) -> dict[int, int]:
        """A local port per container port: a free one where the value is True, the same number otherwise."""
        return {port: self._free() if remapped else port for port, remapped in wanted.items()}

    def release(self, ports: Iterable[int]) -> None:
        """Give local ports back."""
        self._taken -= set(ports)

    def _free(self) -> int:
        while True:
            port = free_port()
            if port not in self._taken:
                self._taken.add(port)
                return port


def pod_ports(pod: Obj, images: Mapping[str, Image]) -> dict[int, bool]:
    """All ports the Pod's containers declare or its probes name, and whether each is remapped."""
    ports: dict[int, bool] = {}
    for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
        image = find_image(images, container["image"])
        remapped = image is None or image.remaps_ports
        declared = [int(port["containerPort"]) for port in container.get("ports") or []]
        for port in [*declared, *_probed_ports(container)]:
            ports.setdefault(port, remapped)
    return ports


def listen_locally(text: str, ports: Mapping[int, int]) -> str:
    """An argument or value that is an address to listen on, with 127.0.0.1 and the local port; any other unchanged.

    Such an address is ``:8080`` or a wildcard or loopback host with a container port, alone or after ``--flag=``.
    """
    match = _LISTEN_ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) not in ports:
        return text
    return f"{match['flag'] or ''}127.0.0.1:{ports[int(match['port'])]}"


def local_port(pod: Obj, port: int) -> int | None:
    """The local port behind a port of a Pod, by its annotation; None when the node did not publish one."""
    mapping = json.loads((pod["metadata"].get("annotations") or {}).get(PORTS_ANNOTATION, "{}"))
    found = mapping.get(str(port))
    return None if found is None else int(found)


def _probed_ports(container: Obj) -> Iterable[int]:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind) or {}
        for action in ("httpGet", "tcpSocket", "grpc"):
            port = (probe.get(action) or {}).get("port")
            if isinstance(port, int):
                yield port
