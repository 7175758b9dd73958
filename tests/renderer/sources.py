"""Small sources to build from."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent.core.tree import MemoryTree

Objects = list[dict[str, Any]]
Build = Callable[..., Awaitable[Objects]]


def tree(files: Mapping[str, str | bytes]) -> MemoryTree:
    """A tree of text files."""
    return MemoryTree({path: text.encode() if isinstance(text, str) else text for path, text in files.items()})


def configmap(name: str, data: str = "{}", metadata: str = "") -> str:
    """A ConfigMap's manifest."""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n{metadata}data: {data}\n"


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chat
  labels: {app: chat}
spec:
  replicas: 1
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai:v0.6.0
        args: [--model, org/model]
"""
