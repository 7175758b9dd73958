"""A Kubernetes node whose containers are local processes; see ProcessNode for what it is and is not."""

from testbed.node.backoff import BackOff
from testbed.node.images import Image, python_module
from testbed.node.kubeapi import Access, ApiError, KubeApi
from testbed.node.node import ProcessNode
from testbed.node.ports import PORTS_ANNOTATION, local_port

__all__ = [
    "PORTS_ANNOTATION",
    "Access",
    "ApiError",
    "BackOff",
    "Image",
    "KubeApi",
    "ProcessNode",
    "local_port",
    "python_module",
]
