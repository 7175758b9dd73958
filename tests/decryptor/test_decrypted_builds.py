"""What is decrypted in a build, by the place where it stands."""

import base64
import json

import pytest

from agent.adapters.decryptor import Keys
from agent.adapters.renderer import BuildRequest, RendererPool, RenderError, Substitution
from testbed.sops import AgeKey, Sops
from tests.decryptor.conftest import Decrypting
from tests.renderer.sources import DEPLOYMENT, configmap, tree

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: creds}
stringData:
  user: ada
  password: enchantress
"""
VALUES = ("--encrypted-regex", "^(data|stringData)$")


def entries(secret: dict) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


class TestObjects:
    async def test_a_secret_is_decrypted_and_loses_the_metadata(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        (secret,) = await build({"a.yaml": await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])})
        assert secret["stringData"] == {"user": "ada", "password": "enchantress"}
        assert "sops" not in secret

    async def test_any_other_kind_too_with_numbers_as_they_were(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        text = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
        text += "spec: {big: 9007199254740993, ratio: 0.5, on: true, list: [a, {b: c}], plain_unencrypted: shown}\n"
        encrypted = await sops.encrypt(text, "t.yaml", "--encrypted-regex", "^spec$", age=[key])
        assert "shown" not in encrypted
        (thing,) = await build({"t.yaml": encrypted})
        assert thing["spec"] == {
            "big": 9007199254740993,
            "ratio": 0.5,
            "on": True,
            "list": ["a", {"b": "c"}],
            "plain_unencrypted": "shown",
        }

    async def test_what_kustomize_changes_on_the_way_does_not_matter(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        files = {
            "kustomization.yaml": "namespace: apps\nnamePrefix: my-\ncommonAnnotations: {a: b}\nresources: [a.yaml]\n",
            "a.yaml": await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key]),
        }
        (secret,) = await build(files, common_labels={"team": "ml"})
        assert secret["metadata"]["name"] == "my-creds"
        assert secret["metadata"]["labels"] == {"team": "ml"}
        assert secret["stringData"]["password"] == "enchantress"

    async def test_variables_are_put_in_after_the_decryption(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        text = SECRET.replace("enchantress", "${name}!")
        (secret,) = await build(
            {"a.yaml": await sops.encrypt(text, "a.yaml", *VALUES, age=[key])},
            substitution=Substitution(vars={"name": "ada"}),
        )
        assert secret["stringData"]["password"] == "ada!"

    @pytest.mark.parametrize("word", ["Disabled", "disabled", "DISABLED"])
    async def test_an_object_can_opt_out(self, build: Decrypting, sops: Sops, key: AgeKey, word: str) -> None:
        annotated = SECRET.replace(
            "{name: creds}", f'{{name: creds, annotations: {{kustomize.toolkit.fluxcd.io/decrypt: "{word}"}}}}'
        )
        (secret,) = await build({"a.yaml": await sops.encrypt(annotated, "a.yaml", *VALUES, age=[key])})
        assert secret["stringData"]["password"].startswith("ENC[")
        assert "sops" in secret

    async def test_nothing_is_decrypted_unless_it_is_asked_for(
        self, renderer: RendererPool, sops: Sops, key: AgeKey
    ) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        rendered = await renderer.build(BuildRequest(), tree({"a.yaml": encrypted}))
        assert "sops" in json.loads(rendered.objects[0])


class TestGeneratedSecrets:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.yaml", "user: lovelace\nrole: admin\n"),
            ("a.json", '{"user": "lovelace"}'),
            ("a.ini", "[db]\nuser = lovelace\n"),
            ("a.env", "user=lovelace\n"),
            ("a.txt", "user lovelace\nline two"),
        ],
    )
    async def test_files_by_the_ending_of_their_key(
        self, build: Decrypting, sops: Sops, key: AgeKey, name: str, text: str
    ) -> None:
        encrypted = await sops.encrypt(text, name, age=[key])
        assert "lovelace" not in encrypted  # long enough not to come up in a cipher text by chance
        files = {
            "kustomization.yaml": f"secretGenerator: [{{name: s, files: ['{name}=cipher']}}]\n",
            "cipher": encrypted,
        }
        (secret,) = await build(files)
        assert "".join(entries(secret)[name].split()) == "".join(text.split())

    async def test_docker_credentials_are_json(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        text = '{"auths": {"registry.example.com": {"auth": "c2VjcmV0"}}}'
        files = {
            "kustomization.yaml": "secretGenerator:\n- name: pull\n  type: kubernetes.io/dockerconfigjson\n"
            "  files: [.dockerconfigjson=cipher.json]\n",
            "cipher.json": await sops.encrypt(text, "cipher.json", age=[key]),
        }
        (secret,) = await build(files)
        assert json.loads(entries(secret)[".dockerconfigjson"]) == json.loads(text)

    @pytest.mark.parametrize("name", ["some.env", "some"])
    async def test_environments(self, build: Decrypting, sops: Sops, key: AgeKey, name: str) -> None:
        encrypted = await sops.encrypt("user=ada\npassword=en=chant\n", "some.env", age=[key])
        files = {"kustomization.yaml": f"secretGenerator: [{{name: s, envs: [{name}]}}]\n", name: encrypted}
        (secret,) = await build(files)
        assert entries(secret) == {"user": "ada", "password": "en=chant"}

    async def test_a_text_in_an_entry_of_a_secret(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        inner = await sops.encrypt('{"auths": {}}', "x.json", age=[key])
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "data": {
                ".dockerconfigjson": base64.b64encode(inner.encode()).decode(),
                "plain": base64.b64encode(b"as it is").decode(),
            },
        }
        (built,) = await build({"s.yaml": json.dumps(secret)})
        found = entries(built)
        assert json.loads(found[".dockerconfigjson"]) == {"auths": {}}
        assert found["plain"] == "as it is"

    async def test_generators_of_bases_and_components_wherever_they_lie(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        environment = await sops.encrypt("token=t0ps3cret\n", "token.env", age=[key])
        component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
        files = {
            "app/kustomization.yaml": "resources: [../base]\ncomponents: [../parts/one]\n",
            "base/kustomization.yaml": "secretGenerator: [{name: base, envs: [token.env]}]\n",
            "base/token.env": environment,
            "parts/one/kustomization.yaml": f"{component}components: [../two]\n"
            "secretGenerator: [{name: one, envs: [../../base/token.env]}]\n",
            "parts/two/kustomization.yaml": f"{component}secretGenerator: [{{name: two, envs: [token.env]}}]\n",
            "parts/two/token.env": environment,
            "parts/three/kustomization.yaml": f"{component}secretGenerator: [{{name: three, envs: [token.env]}}]\n",
            "parts/three/token.env": environment,
        }
        built = await build(files, path="app", components=("../parts/three",))
        found = {secret["metadata"]["name"].split("-")[0]: entries(secret) for secret in built}
        assert found == {name: {"token": "t0ps3cret"} for name in ("base", "one", "two", "three")}

    async def test_a_config_map_is_not_the_place_for_secrets(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        files = {
            "kustomization.yaml": "configMapGenerator: [{name: c, envs: [a.env]}]\n",
            "a.env": await sops.encrypt("user=ada\n", "a.env", age=[key]),
        }
        (config,) = await build(files)
        assert config["data"]["user"].startswith("ENC[")


class TestPatches:
    PATCH = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec: {template: {spec: {containers: [{name: server, env: [{name: TOKEN, value: t0ps3cret}]}]}}}
"""

    async def test_a_patch_in_a_file(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        files = {
            "kustomization.yaml": "resources: [d.yaml]\npatches: [{path: patch.yaml}]\n",
            "d.yaml": DEPLOYMENT,
            "patch.yaml": await sops.encrypt(self.PATCH, "patch.yaml", "--encrypted-regex", "^env$", age=[key]),
        }
        (deployment,) = await build(files)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["env"] == [{"name": "TOKEN", "value": "t0ps3cret"}]

    async def test_a_patch_that_does_not_apply_shows_nothing_of_itself(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        text = '{"data": {"token": "t0ps3cret"}, "metadata": {"name": "absent-t0ps3cret"}, "kind": "ConfigMap"}'
        files = {
            "kustomization.yaml": "resources: [c.yaml]\npatches: [{path: patch.json}]\n",
            "c.yaml": configmap("c"),
            "patch.json": await sops.encrypt(text, "patch.json", age=[key]),
        }
        with pytest.raises(RenderError, match=r"\*\*\*") as caught:
            await build(files)
        assert "t0ps3cret" not in str(caught.value)


class TestWhatCannotBeDecrypted:
    async def test_a_key_that_does_not_fit_is_named_with_those_that_would(
        self, build: Decrypting, sops: Sops, key: AgeKey, other: AgeKey
    ) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        wrong = Keys({"identity.agekey": other.identity.encode()}, "Secret 'apps/sops-age'")
        with pytest.raises(RenderError) as caught:
            await build({"a.yaml": encrypted}, using=wrong)
        assert caught.value.kind == "decryption"
        assert str(caught.value) == (
            "decryption failed for 'Secret/creds': Secret 'apps/sops-age': none of the keys fits: it was encrypted for "
            f"{key.recipient}; the keys are {other.recipient} (identity.agekey)"
        )
        assert caught.value.inputs is None

    async def test_a_name_with_another_ending_is_pointed_out(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        misnamed = Keys({"age.key": key.identity.encode()}, "Secret 'apps/sops-age'")
        with pytest.raises(
            RenderError, match=r"there are no keys; not used: age\.key, since a key's name has to end"
        ) as caught:
            await build({"a.yaml": encrypted}, using=misnamed)
        assert ".agekey (age) or .asc (PGP)" in str(caught.value)

    async def test_an_entry_that_is_no_key_is_named_and_not_shown(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        broken = Keys({"id.agekey": b"AGE-SECRET-KEY-1BROKEN"}, "Secret 'apps/sops-age'")
        with pytest.raises(RenderError, match=r"the entry 'id\.agekey' is unusable") as caught:
            await build({"a.yaml": encrypted}, using=broken)
        assert "BROKEN" not in str(caught.value)

    async def test_a_value_added_by_hand_is_named_by_its_place(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        added = encrypted.replace("stringData:\n", "stringData:\n    token: by-hand\n")
        with pytest.raises(RenderError, match=r"the value at stringData\.token is not encrypted") as caught:
            await build({"a.yaml": added})
        assert "by-hand" not in str(caught.value)

    async def test_a_value_under_another_name_is_not_what_was_encrypted(
        self, build: Decrypting, sops: Sops, key: AgeKey
    ) -> None:
        encrypted = await sops.encrypt(SECRET, "a.yaml", *VALUES, age=[key])
        with pytest.raises(RenderError, match=r"stringData\.pin cannot be decrypted: it was changed, moved or renamed"):
            await build({"a.yaml": encrypted.replace("password:", "pin:")})

    async def test_a_file_has_a_largest_size(self, build: Decrypting, sops: Sops, key: AgeKey) -> None:
        encrypted = await sops.encrypt("x" * (4 << 20), "large", age=[key])
        assert len(encrypted) > 5 << 20
        files = {"kustomization.yaml": "secretGenerator: [{name: s, files: [large]}]\n", "large": encrypted}
        with pytest.raises(RenderError, match=rf"'large': cannot decrypt file with size \({len(encrypted)} bytes\)"):
            await build(files)

    async def test_a_text_that_only_looks_encrypted(self, build: Decrypting) -> None:
        text = SECRET + "sops: {mac: 'ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]', version: 3.9.0}\n"
        with pytest.raises(RenderError, match=r"decryption failed for 'Secret/creds'"):
            await build({"a.yaml": text})
