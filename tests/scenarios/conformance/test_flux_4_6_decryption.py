"""Section 4.6: what SOPS has encrypted is decrypted on its way from Git to the cluster, and nowhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from agent.gates import FeatureGates
from testbed.keyservices import VAULT_TOKEN, KeyServices
from testbed.kube import condition
from testbed.sops import AgeKey, PGPKey, Sops
from tests.renderer.sources import DEPLOYMENT
from tests.scenarios.conftest import KS, RunningAgent, Story, message

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
VALUES = ("--encrypted-regex", "^(data|stringData)$")
DECRYPTION = {"provider": "sops", "secretRef": {"name": "sops-keys"}}


def secret(name: str, password: str, metadata: str = "") -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}{metadata}}}\nstringData: {{password: {password}}}\n"


def opened(found: dict[str, Any] | None) -> dict[str, str]:
    """The plain entries of a Secret."""
    data = (found or {}).get("data") or {}
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


@pytest.fixture(scope="session")
async def sops() -> Sops:
    return await Sops.ready()


@pytest.fixture(scope="session")
async def key(sops: Sops) -> AgeKey:
    return await sops.age_key()


def reason(found: dict[str, Any], kind: str = "Ready") -> str:
    """The reason of a condition."""
    return next(str(entry["reason"]) for entry in found["status"]["conditions"] if entry["type"] == kind)


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: t0ps3cret, ports: [{port: 80}]}\n"


def patch_of(container: dict[str, Any]) -> str:
    """A patch for the first container of the Deployment."""
    body = {"name": "server", **container}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat"}}
    return json.dumps({**deployment, "spec": {"template": {"spec": {"containers": [body]}}}}, indent=1)


async def give(story: Story, entries: dict[str, str], name: str = "sops-keys", namespace: str = "") -> None:
    """Create or change the Secret with keys."""
    await story.admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace or story.namespace},
            "stringData": entries,
        }
    )


async def password(story: Story, name: str, wanted: str) -> None:
    """Wait until the Secret has the password."""
    await story.until(("v1", "Secret"), name, lambda found: opened(found).get("password") == wanted)


async def test_secrets_patches_and_generators_arrive_in_plain(
    story: Story, weir: RunningAgent, sops: Sops, key: AgeKey
) -> None:
    await give(story, {"identity.agekey": key.identity})
    patch = secret("patched", "t0ken-of-patch")
    story.git.commit(
        {
            "kustomization.yaml": "resources: [creds.yaml, patched.yaml]\npatches: [{path: patch.yaml}]\n"
            "generatorOptions: {disableNameSuffixHash: true}\n"
            "secretGenerator: [{name: env, envs: [some.env]}, {name: file, files: [password=some.txt]}]\n",
            "creds.yaml": await sops.encrypt(secret("creds", "enchantress"), "creds.yaml", *VALUES, age=[key]),
            "patched.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: patched}\n",
            "patch.yaml": await sops.encrypt(patch, "patch.yaml", *VALUES, age=[key]),
            "some.env": await sops.encrypt("password=number of env\n", "some.env", age=[key]),
            "some.txt": await sops.encrypt("number of file", "some.txt", age=[key]),
        }
    )
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    await story.ready()
    wanted = {"creds": "enchantress", "patched": "t0ken-of-patch", "env": "number of env", "file": "number of file"}
    for name, plain in wanted.items():
        assert opened(await story.admin.get("v1", "Secret", story.namespace, name)) == {"password": plain}
    said = weir.log.read_text() + str(await weir.get("/api/v1/changes")) + str(await story.events("app"))
    for hidden in (*wanted.values(), "AGE-SECRET-KEY-"):
        assert hidden not in said


async def test_pgp_and_age_from_one_secret_and_generators_of_components(story: Story, sops: Sops, key: AgeKey) -> None:
    pgp = PGPKey.generate()
    await give(story, {"identity.agekey": key.identity, "key.asc": pgp.private})
    component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
    generator = "generatorOptions: {disableNameSuffixHash: true}\nsecretGenerator: [{name: part, envs: [part.env]}]\n"
    story.git.commit(
        {
            "app/kustomization.yaml": "resources: [s.yaml]\n",
            "app/s.yaml": await sops.encrypt(secret("creds", "by-pgp"), "s.yaml", *VALUES, pgp=pgp),
            "parts/kustomization.yaml": component + generator,
            "parts/part.env": await sops.encrypt("password=by-age\n", "part.env", age=[key]),
        }
    )
    await story.source()
    await story.kustomization(path="./app", components=["../parts"], decryption=DECRYPTION)
    await story.ready()
    await password(story, "creds", "by-pgp")
    await password(story, "part", "by-age")


async def test_other_kinds_are_decrypted_too(story: Story, sops: Sops, key: AgeKey) -> None:
    await give(story, {"identity.agekey": key.identity})
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {password: of-a-config-map}\n"
    story.git.commit({"c.yaml": await sops.encrypt(config, "c.yaml", *VALUES, age=[key])})
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    await story.ready()
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "settings")
    assert found["data"] == {"password": "of-a-config-map"}


async def test_what_is_decrypted_outside_of_secrets_is_not_told_either(
    story: Story, weir: RunningAgent, sops: Sops, key: AgeKey
) -> None:
    await give(story, {"identity.agekey": key.identity})
    hidden = {"args": ["--model", "org/s3cret-model"]}
    story.git.commit(
        {
            "kustomization.yaml": "resources: [d.yaml, s.yaml]\npatches: [{path: patch.yaml}]\n",
            "d.yaml": DEPLOYMENT,
            "patch.yaml": await sops.encrypt(patch_of(hidden), "patch.yaml", "--encrypted-regex", "^args$", age=[key]),
            "s.yaml": await sops.encrypt(SERVICE, "s.yaml", "--encrypted-regex", "^clusterIP$", age=[key]),
        }
    )
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    refused = await story.failed(text="Service")
    assert "***" in message(refused)
    story.git.commit({"kustomization.yaml": "resources: [d.yaml]\npatches: [{path: patch.yaml}]\n"})
    await story.pull("1")
    await story.ready()
    told = [change for change in (await weir.get("/api/v1/changes"))["items"] if story.namespace in str(change)]
    assert "***" in str(told)
    said = weir.log.read_text() + str(told) + str(await story.events("app")) + message(refused)
    assert "s3cret-model" not in said
    assert "t0ps3cret" not in said


async def test_the_secret_with_the_keys_has_to_be_there(story: Story, sops: Sops, key: AgeKey) -> None:
    story.git.commit({"s.yaml": await sops.encrypt(secret("creds", "enchantress"), "s.yaml", *VALUES, age=[key])})
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    failed = await story.failed(text='secrets "sops-keys" not found')
    assert reason(failed) == "BuildFailed"
    await give(story, {"identity.agekey": key.identity})
    await story.ready()
    await password(story, "creds", "enchantress")


async def test_a_key_that_does_not_fit_is_named_and_a_new_one_is_picked_up(
    story: Story, weir: RunningAgent, sops: Sops, key: AgeKey
) -> None:
    other = await sops.age_key()
    await give(story, {"old.agekey": other.identity})
    story.git.commit({"s.yaml": await sops.encrypt(secret("creds", "enchantress"), "s.yaml", *VALUES, age=[key])})
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    failed = await story.failed(text="none of the keys fits")
    said = message(failed)
    assert reason(failed) == "BuildFailed"
    assert key.recipient in said
    assert f"{other.recipient} (old.agekey)" in said
    await give(story, {"new.agekey": key.identity})
    await story.ready()
    await password(story, "creds", "enchantress")
    assert "enchantress" not in weir.log.read_text()


async def test_without_decryption_a_secret_is_refused_in_both_forms(story: Story, sops: Sops, key: AgeKey) -> None:
    plain = "apiVersion: v1\nkind: Secret\nmetadata: {name: creds}\ndata: {password: eA==}\n"
    story.git.commit(
        {
            "text/s.yaml": await sops.encrypt(secret("creds", "x"), "s.yaml", *VALUES, age=[key]),
            "data/s.yaml": await sops.encrypt(plain, "s.yaml", *VALUES, age=[key]),
        }
    )
    await story.source()
    for form in ("text", "data"):
        await story.kustomization(form, path=form)
        failed = await story.failed(form, "SOPS encrypted")
        assert reason(failed) == "ReconciliationFailed"
        assert message(failed) == (
            f"Secret/{story.namespace}/creds is SOPS encrypted, configuring decryption is required for this secret to "
            "be reconciled"
        )
    assert await story.admin.list("v1", "Secret", story.namespace) == []


async def test_a_secret_that_stays_encrypted_is_refused_even_where_others_are_decrypted(
    story: Story, sops: Sops, key: AgeKey
) -> None:
    await give(story, {"identity.agekey": key.identity})
    half = "apiVersion: v1\nkind: Secret\nmetadata: {name: half}\nstringData: {a: b}\nsops: {version: 3.9.0}\n"
    story.git.commit({"s.yaml": half})
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    failed = await story.failed(text=f"Secret/{story.namespace}/half is SOPS encrypted")
    assert reason(failed) == "ReconciliationFailed"


async def test_an_object_can_opt_out(story: Story, sops: Sops, key: AgeKey) -> None:
    await give(story, {"identity.agekey": key.identity})
    away = ", annotations: {kustomize.toolkit.fluxcd.io/decrypt: disabled}"
    inner = base64.b64encode((await sops.encrypt("user=ada\n", "a.env", age=[key])).encode()).decode()
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: sealed{away}}}\ndata: {{a.env: {inner}}}\n"
    story.git.commit({"s.yaml": text})
    await story.source()
    await story.kustomization(decryption=DECRYPTION)
    await story.ready()
    found = opened(await story.admin.get("v1", "Secret", story.namespace, "sealed"))
    assert found["a.env"].startswith("user=ENC[")


async def test_a_common_age_key_serves_those_without_a_secret_of_their_own(
    story: Story, own_agent: OwnAgent, sops: Sops, key: AgeKey
) -> None:
    await give(story, {"identity.agekey": key.identity}, name="common")
    await give(story, {"unrelated": "entry"})
    story.git.commit({"s.yaml": await sops.encrypt(secret("creds", "enchantress"), "s.yaml", *VALUES, age=[key])})
    await story.source()
    await story.kustomization("with", decryption={"provider": "sops"})
    await story.kustomization("without", decryption=DECRYPTION, namePrefix="other-")
    async with own_agent(sops_age_secret="common"):
        await story.ready("with")
        await password(story, "creds", "enchantress")
        failed = await story.failed("without", "there are no keys; not used: unrelated")
        assert reason(failed) == "BuildFailed"


async def test_an_identity_of_its_own_needs_the_gate(story: Story, sops: Sops, key: AgeKey) -> None:
    story.git.commit({"s.yaml": secret("creds", "plain")})
    await story.source()
    await story.kustomization(decryption={"provider": "sops", "serviceAccountName": "decrypting"})
    failed = await story.until(KS, "app", lambda found: condition(found, "Stalled") == "True")
    assert reason(failed) == reason(failed, "Stalled") == "FeatureGateDisabled"
    assert "ObjectLevelWorkloadIdentity" in message(failed)
    assert failed["status"]["observedGeneration"] == -1


async def test_a_service_account_logs_in_to_a_vault_that_the_agent_trusts(
    story: Story, own_agent: OwnAgent, sops: Sops, tmp_path: Path
) -> None:
    for name in ("opener", "anybody"):
        who = {"name": name, "namespace": story.namespace}
        await story.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": who})
    async with KeyServices(tmp_path / "keyservices") as services:
        services.subjects.add(f"system:serviceaccount:{story.namespace}:opener")
        transit = ["--hc-vault-transit", f"{services.url}/v1/transit/keys/sops"]
        access = {"VAULT_TOKEN": VAULT_TOKEN}
        text = secret("creds", "enchantress")
        story.git.commit({"s.yaml": await sops.encrypt(text, "s.yaml", *VALUES, *transit, environment=access)})
        await story.source()
        await story.kustomization(decryption={"provider": "sops", "serviceAccountName": "opener"})
        await story.kustomization("default", namePrefix="other-", decryption={"provider": "sops"})
        gates = FeatureGates(object_level_workload_identity=True)
        flags = {"sops_vault_configmap": "vaults", "default_decryption_service_account": "anybody"}
        async with own_agent(gates=gates, **flags):
            await story.failed(text='configmaps "vaults" not found')
            await vaults(story, "instances: [{address: 'https://elsewhere.example.com', loginPath: auth/x/login}]")
            await story.failed(text=f"no Vault login path configured for address '{services.url}' in ConfigMap")
            assert services.logins == []
            await vaults(story, f"instances: [{{address: '{services.url}', loginPath: auth/cluster/login}}]")
            await story.ready()
            await password(story, "creds", "enchantress")
            await story.failed("default", f"logging in at auth/cluster/login as role {story.namespace}_anybody")
        login = next(login for login in services.logins if "_opener " in login)
        assert login.startswith(
            f"vault cluster: {story.namespace}_opener system:serviceaccount:{story.namespace}:opener"
        )
        assert services.url in login


async def vaults(story: Story, config: str) -> None:
    """The ConfigMap of --sops-vault-configmap."""
    metadata = {"name": "vaults", "namespace": story.namespace}
    data = {"config.yaml": config}
    await story.admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
