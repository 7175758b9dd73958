"""A reference that SOPS keeps encrypted is never written in plain text, neither over it nor beside it."""

import importlib.util
from pathlib import Path

import pytest

from agent.adapters.decryptor import Decryptor, Keys
from agent.adapters.kube.client import KubeClient
from agent.adapters.renderer import RendererPool
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.build import Builder
from agent.controllers.kustomization.decryption import Decryption
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.controllers.writeback.locating import Unlocatable
from agent.settings import Settings
from agent.telemetry.metrics import Metrics
from testbed.sops import Sops
from tests.writeback.writeback_repository import Rollback, deployment, rejected

PROJECT = Path(__file__).parents[2]
KUSTOMIZATION = "resources: [chat.yaml, settings.yaml]\n"
SETTINGS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: models}
data: {MODEL_ID: acme/two}
"""
FROM_CONFIG = "          env: [{name: MODEL_ID, valueFrom: {configMapKeyRef: {name: settings, key: MODEL_ID}}}]\n"


class Known(Decryption):
    """With a key that no cluster has to be asked for."""

    def __init__(self, client: KubeClient, decryptor: Decryptor, keys: Keys) -> None:
        super().__init__(client, decryptor, Settings())
        self._known = keys

    async def keys(self, kustomization: Kustomization) -> Keys | None:
        return self._known if kustomization.spec.decryption is not None else None


def decryptor() -> Decryptor:
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return Decryptor(binary=hook.ensure(PROJECT, "decryptor"))


@pytest.mark.parametrize("beside", ["", "# once it was acme/two\n"], ids=["only-encrypted", "named-in-a-comment"])
async def test_an_encrypted_reference_is_left_to_a_person(
    rollback: Rollback, renderer: RendererPool, beside: str
) -> None:
    sops = await Sops.ready()
    key = await sops.age_key()
    keys = Keys({"identity.agekey": key.identity.encode()}, "Secret 'models/sops-age'")
    known = Known(rollback.client, decryptor(), keys)
    rollback.builder = Builder(renderer, known, Shortcuts(Metrics(), verify=False))
    rollback.spec = {"decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}}}
    served = deployment("", "vllm/vllm-openai:v1").replace(
        '          args: ["--model="]   # asked for by the search team\n', FROM_CONFIG
    )
    encrypted = await sops.encrypt(SETTINGS, "settings.yaml", "--encrypted-regex", "^data$", age=[key])
    assert "acme/two" not in encrypted
    files = {"kustomization.yaml": beside + KUSTOMIZATION, "chat.yaml": served, "settings.yaml": encrypted}
    head = rollback.git.commit(files)
    entry = rejected("acme/two", "acme/one", digest="hf://acme/two@main", restore_digest="hf://acme/one@main")
    with pytest.raises(Unlocatable, match="the reference is encrypted in Git, and is not written in plain text"):
        await rollback.write(entry)
    assert rollback.git.head() == head
