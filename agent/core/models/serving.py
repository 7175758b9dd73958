"""Which model server a pod runs, as far as its command lines and images tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.models.extract import argv as command_line
from agent.core.models.extract import servers
from agent.core.models.extract.slot import MalformedError


def server_of(pod_spec: Mapping[str, Any]) -> str:
    """The name of the server in the table of model servers, "" if none is recognised.

    What a container starts decides; its usual image where that does not tell. The first container that is recognised
    counts: sidecars are no model servers.
    """
    containers = [item for item in pod_spec.get("containers") or () if isinstance(item, Mapping)]
    return next((name for container in containers if (name := _in_container(container))), "")


def _in_container(container: Mapping[str, Any]) -> str:
    try:
        argvs = command_line.commands(container, "$", {})
    except MalformedError:
        argvs = []
    for argv in argvs:
        found = servers.recognise(argv)
        if found is not None:
            return found[0].name
    likely = servers.recognise_image(str(container.get("image") or ""))
    return likely.name if likely is not None else ""
