"""Helm as a program to run, and the chart's objects to look at."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "weir"

Object = dict[str, Any]


class HelmError(Exception):
    """Helm ended with an error; the text is what it wrote."""


@dataclass(frozen=True, slots=True)
class Helm:
    """The helm command with a home of its own."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    async def run(self, *arguments: str) -> str:
        """What helm wrote to its standard output. Raises HelmError."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "HELM_CACHE_HOME": str(self.home / "cache"),
            "HELM_CONFIG_HOME": str(self.home / "config"),
            "HELM_DATA_HOME": str(self.home / "data"),
            "KUBECONFIG": str(self.kubeconfig or self.home / "none"),
        }
        process = await asyncio.create_subprocess_exec(
            self.program, *arguments, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(240):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise HelmError((out + err).decode())
        return out.decode()

    async def template(self, *settings: str, namespace: str = "flux-system", release: str = "weir") -> list[Object]:
        """The objects of the chart with those `--set` settings, rendered without a cluster."""
        text = await self.run(
            "template", release, str(CHART), "-n", namespace, "--kube-version=1.36.0", *sets(settings)
        )
        return [document for document in yaml.safe_load_all(text) if document]


def sets(settings: tuple[str, ...]) -> list[str]:
    return [f"--set={setting}" for setting in settings]


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of that kind (and name)."""
    found = [obj for obj in objects if obj["kind"] == kind and name in (None, obj["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def rules(objects: list[Object], kind: str = "ClusterRole", name: str = "weir") -> dict[tuple[str, str], set[str]]:
    """Verbs of a role by (group, resource)."""
    table: dict[tuple[str, str], set[str]] = {}
    for rule in only(objects, kind, name)["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                table.setdefault((group, resource), set()).update(rule["verbs"])
    return table
