"""What stands in for container images: a name, and the local program that runs instead of its content."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Image:
    """A local program under an image's name.

    ``entrypoint``, ``cmd`` and ``env`` mean what they mean in an image's configuration: a container's
    ``command`` replaces both of the first two, ``args`` replaces ``cmd``; ``$(VAR)`` is expanded in all of them.
    With ``remaps_ports`` the program listens where ``PROCESS_NODE_PORT_<containerPort>`` says, and arguments like
    ``--listen=:8080`` are moved there; without, on the container port itself (then two Pods of it cannot run at
    once). ``pull_seconds`` is how long the first "pull" takes. ``content`` is the folder that an image volume with
    this reference shows. ``digest`` (``sha256:…``) is that of the content, which a container's status then names.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    remaps_ports: bool = True
    pull_seconds: float = 0
    content: Path | None = None
    digest: str = ""


def find_image(images: Mapping[str, Image], reference: str) -> Image | None:
    """Look an image reference up: as written, then without its digest, then without its tag."""
    without_digest = reference.partition("@")[0]
    head, slash, last = without_digest.rpartition("/")
    without_tag = head + slash + last.partition(":")[0]
    for name in (reference, without_digest, without_tag):
        if name in images:
            return images[name]
    return None


def python_module(module: str, *cmd: str, env: Mapping[str, str] | None = None) -> Image:
    """An image whose entrypoint is ``python -m module`` with this interpreter and this source tree."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Image(
        entrypoint=(sys.executable, "-m", module),
        cmd=cmd,
        env={"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})},
    )
