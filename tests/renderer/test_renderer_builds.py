"""What a Flux Kustomization says about its build, and what comes out of it."""

import json

import pytest

from agent.adapters.renderer import BuildRequest, PathNotFoundError, RendererPool, RenderError, Substitution
from agent.api.kustomization import Image, Patch, Selector
from tests.renderer.sources import DEPLOYMENT, Build, configmap, tree

LISTING = "resources: [a.yaml]\n"


def names(objects: list[dict]) -> list[str]:
    return [f"{o['kind']}/{o['metadata']['name']}" for o in objects]


class TestFindingManifests:
    @pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
    async def test_each_recognised_name_is_used(self, build: Build, name: str) -> None:
        objects = await build(
            {f"app/{name}": LISTING, "app/a.yaml": configmap("a"), "app/b.yaml": "not: listed"}, path="app"
        )
        assert names(objects) == ["ConfigMap/a"]

    async def test_two_of_them_are_an_error(self, build: Build) -> None:
        files = {"kustomization.yaml": LISTING, "Kustomization": LISTING, "a.yaml": configmap("a")}
        with pytest.raises(RenderError, match=r"Found multiple kustomization files under: \."):
            await build(files)

    async def test_without_one_the_folder_is_walked(self, build: Build) -> None:
        files = {
            "app/b.yml": configmap("b"),
            "app/deep/er/a.yaml": configmap("a"),
            "app/readme.md": "# not a manifest",
            "app/data.json": "{}",
            "elsewhere/c.yaml": configmap("c"),
        }
        assert names(await build(files, path="app")) == ["ConfigMap/b", "ConfigMap/a"]

    async def test_a_folder_with_its_own_kustomization_is_a_resource_and_not_entered(self, build: Build) -> None:
        files = {
            "a.yaml": configmap("a"),
            "sub/kustomization.yaml": "resources: [in.yaml]\nnamePrefix: x-\n",
            "sub/in.yaml": configmap("in"),
            "sub/broken.yaml": "{",
            "sub/deeper/also-not.yaml": "no object",
        }
        assert names(await build(files)) == ["ConfigMap/a", "ConfigMap/x-in"]

    async def test_every_yaml_file_found_must_hold_objects(self, build: Build) -> None:
        files = {"app/a.yaml": configmap("a"), "app/values.yaml": "replicas: 2\n"}
        with pytest.raises(RenderError, match=r"^failed to decode Kubernetes YAML from app/values\.yaml: ") as caught:
            await build(files, path="app")
        assert caught.value.kind == "decode"

    @pytest.mark.parametrize(
        "files", [{}, {"notes.txt": "nothing here"}, {"a.yaml": ""}, {"a.yaml": "# a comment\n---\n"}]
    )
    async def test_nothing_to_build_is_legal(self, build: Build, files: dict[str, str]) -> None:
        assert await build(files, target_namespace="prod") == []

    @pytest.mark.parametrize("text", ["", "resources: []\n", "kind: Kustomization\n"])
    async def test_a_kustomization_without_resources_builds_nothing(self, build: Build, text: str) -> None:
        assert await build({"kustomization.yaml": text}) == []

    async def test_a_base_without_resources_is_kustomizes_error(self, build: Build) -> None:
        with pytest.raises(RenderError, match=r"kustomization\.yaml is empty"):
            await build({"kustomization.yaml": "resources: [base]\n", "base/kustomization.yaml": ""})

    @pytest.mark.parametrize("path", ["app", "./app", "/app", "app/", "../app", "x/../app"])
    async def test_the_path_is_joined_inside_the_source(self, build: Build, path: str) -> None:
        assert names(await build({"app/a.yaml": configmap("a")}, path=path)) == ["ConfigMap/a"]

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("apps", "kustomization path not found: stat apps: no such file or directory"),
            ("a.yaml", "kustomization path not found: a.yaml is a file, not a directory"),
            ("a.yaml/x", "kustomization path not found: stat a.yaml/x: no such file or directory"),
        ],
    )
    async def test_a_missing_path_is_an_error_of_its_own(self, build: Build, path: str, message: str) -> None:
        with pytest.raises(PathNotFoundError) as caught:
            await build({"a.yaml": configmap("a")}, path=path)
        assert caught.value.message == message
        assert caught.value.reason == "ArtifactFailed"

    async def test_unknown_fields_are_ignored(self, build: Build) -> None:
        files = {"kustomization.yaml": "resources: [a.yaml]\nfutureField: {x: 1}\n", "a.yaml": configmap("a")}
        assert names(await build(files)) == ["ConfigMap/a"]

    async def test_files_beside_and_above_the_folder_may_be_used(self, build: Build) -> None:
        files = {
            "overlays/prod/kustomization.yaml": "resources: [../../base, ../../extra/one.yaml]\n",
            "base/kustomization.yaml": LISTING,
            "base/a.yaml": configmap("a"),
            "extra/one.yaml": configmap("one"),
        }
        assert names(await build(files, path="overlays/prod")) == ["ConfigMap/a", "ConfigMap/one"]

    async def test_originals_name_paths_relative_to_the_folder(self, build: Build) -> None:
        files = {
            "app/kustomization.yaml": "resources: [../base]\n",
            "base/kustomization.yaml": LISTING,
            "base/a.yaml": configmap("a"),
        }
        (found,) = await build(files, path="app", build_metadata=("originAnnotations",))
        assert found["metadata"]["annotations"] == {"config.kubernetes.io/origin": "path: ../base/a.yaml\n"}


class TestInjectedFields:
    async def test_namespace_prefix_and_suffix(self, build: Build) -> None:
        files = {"kustomization.yaml": LISTING + "namespace: old\nnamePrefix: old-\n", "a.yaml": configmap("a")}
        (found,) = await build(files, target_namespace="prod", name_prefix="p-", name_suffix="-s")
        assert found["metadata"] == {"name": "p-a-s", "namespace": "prod"}

    async def test_what_is_not_given_stays_as_in_the_file(self, build: Build) -> None:
        files = {"kustomization.yaml": LISTING + "namespace: old\nnameSuffix: -old\n", "a.yaml": configmap("a")}
        (found,) = await build(files)
        assert found["metadata"] == {"name": "a-old", "namespace": "old"}

    async def test_patches_come_after_those_of_the_file(self, build: Build) -> None:
        files = {
            "kustomization.yaml": "resources: [d.yaml]\n"
            "patches:\n- target: {kind: Deployment}\n"
            '  patch: \'[{"op": "replace", "path": "/spec/replicas", "value": 2}]\'\n',
            "d.yaml": DEPLOYMENT,
        }
        json6902 = "- {op: test, path: /spec/replicas, value: 2}\n- {op: replace, path: /spec/replicas, value: 7}\n"
        (found,) = await build(files, patches=(Patch(patch=json6902, target=Selector(kind="Deployment", name="chat")),))
        assert found["spec"]["replicas"] == 7

    async def test_a_strategic_merge_patch_needs_no_target_and_may_hold_several_documents(self, build: Build) -> None:
        patch = (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: chat}\nspec: {replicas: 3}\n"
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n$patch: delete\n"
        )
        objects = await build({"d.yaml": DEPLOYMENT, "c.yaml": configmap("gone")}, patches=(Patch(patch=patch),))
        assert names(objects) == ["Deployment/chat"]
        assert objects[0]["spec"]["replicas"] == 3

    async def test_containers_merge_by_name(self, build: Build) -> None:
        patch = (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: any}\n"
            "spec: {template: {spec: {containers: [{name: server, env: [{name: A, value: b}]}]}}}\n"
        )
        target = Selector(kind="Deployment", label_selector="app=chat")
        (found,) = await build({"d.yaml": DEPLOYMENT}, patches=(Patch(patch=patch, target=target),))
        (container,) = found["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "vllm/vllm-openai:v0.6.0"
        assert container["env"] == [{"name": "A", "value": "b"}]

    async def test_a_patch_without_its_object_fails(self, build: Build) -> None:
        patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {}\n"
        with pytest.raises(RenderError, match=r"^kustomize build failed: .*no (resource )?matches"):
            await build({"a.yaml": configmap("a")}, patches=(Patch(patch=patch),))

    @pytest.mark.parametrize(
        ("in_file", "given", "image"),
        [
            ("", Image(name="vllm/vllm-openai", new_tag="v1"), "vllm/vllm-openai:v1"),
            ("newTag: v1", Image(name="vllm/vllm-openai", new_name="mirror/vllm"), "mirror/vllm:v1"),
            ("newName: mirror/vllm", Image(name="vllm/vllm-openai", new_tag="v2"), "mirror/vllm:v2"),
            ("newTag: v1", Image(name="vllm/vllm-openai", digest="sha256:ab"), "vllm/vllm-openai@sha256:ab"),
            ("digest: sha256:ab", Image(name="vllm/vllm-openai", new_tag="v2"), "vllm/vllm-openai:v2"),
            ("newTag: v1", Image(name="other"), "vllm/vllm-openai:v1"),
        ],
    )
    async def test_images_merge_field_by_field(self, build: Build, in_file: str, given: Image, image: str) -> None:
        existing = f"images: [{{name: vllm/vllm-openai, {in_file}}}]\n" if in_file else ""
        files = {"kustomization.yaml": "resources: [d.yaml]\n" + existing, "d.yaml": DEPLOYMENT}
        (found,) = await build(files, images=(given,))
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == image

    async def test_components(self, build: Build) -> None:
        files = {
            "app/kustomization.yaml": LISTING,
            "app/a.yaml": configmap("a"),
            "tls/kustomization.yaml": "kind: Component\nresources: [tls.yaml]\n",
            "tls/tls.yaml": configmap("tls"),
        }
        assert names(await build(files, path="app", components=("../tls",))) == ["ConfigMap/a", "ConfigMap/tls"]
        with pytest.raises(RenderError, match="gone"):
            await build(files, path="app", components=("../gone",))
        objects = await build(files, path="app", components=("../gone", "../tls"), ignore_missing_components=True)
        assert names(objects) == ["ConfigMap/a", "ConfigMap/tls"]

    @pytest.mark.parametrize(
        "component", ["https://example.com/x", "github.com/o/r", "git@host:o/r", "/abs", "file:///abs"]
    )
    async def test_components_are_local_and_relative(self, build: Build, component: str) -> None:
        with pytest.raises(RenderError) as caught:
            await build({"a.yaml": configmap("a")}, components=(component,), ignore_missing_components=True)
        assert caught.value.message == f"component path '{component}' must be local and relative"

    async def test_build_metadata_replaces_that_of_the_file(self, build: Build) -> None:
        files = {"kustomization.yaml": LISTING + "buildMetadata: [managedByLabel]\n", "a.yaml": configmap("a")}
        (found,) = await build(files, build_metadata=("transformerAnnotations", "originAnnotations"))
        assert "labels" not in found["metadata"]
        assert found["metadata"]["annotations"]["config.kubernetes.io/origin"] == "path: a.yaml\n"

    async def test_common_metadata_wins_and_reaches_every_object_but_no_template(self, build: Build) -> None:
        objects = await build(
            {"d.yaml": DEPLOYMENT, "c.yaml": configmap("c")},
            common_labels={"app": "x", "team": "ml"},
            common_annotations={"a": "1"},
        )
        assert [o["metadata"]["labels"] for o in objects] == [{"app": "x", "team": "ml"}] * 2
        assert [o["metadata"]["annotations"] for o in objects] == [{"a": "1"}] * 2
        assert objects[1]["spec"]["template"]["metadata"]["labels"] == {"app": "chat"}


class TestWhatComesOut:
    async def test_lists_are_expanded(self, build: Build) -> None:
        text = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
                    {"apiVersion": "v1", "kind": "ConfigMapList", "items": []},
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}},
                ],
            }
        )
        assert names(await build({"list.yaml": text})) == ["ConfigMap/a", "ConfigMap/b"]

    async def test_kustomize_configuration_among_the_manifests_is_left_out(self, build: Build) -> None:
        text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: x}\nresources: []\n"
        assert names(await build({"k.yaml": text, "a.yaml": configmap("a")})) == ["ConfigMap/a"]

    async def test_the_order_is_that_of_the_files_unless_the_kustomization_sorts(self, build: Build) -> None:
        files = {
            "1.yaml": DEPLOYMENT,
            "2.yaml": configmap("a"),
            "3.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
        }
        assert names(await build(files)) == ["Deployment/chat", "ConfigMap/a", "Namespace/n"]
        files["kustomization.yaml"] = "resources: [1.yaml, 2.yaml, 3.yaml]\nsortOptions: {order: legacy}\n"
        assert names(await build(files)) == ["Namespace/n", "ConfigMap/a", "Deployment/chat"]

    @pytest.mark.parametrize(
        "missing", ["apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "kind: ConfigMap\nmetadata: {name: a}\n"]
    )
    async def test_objects_need_version_kind_and_name(self, build: Build, missing: str) -> None:
        with pytest.raises(RenderError):
            await build({"kustomization.yaml": LISTING, "a.yaml": missing})

    async def test_generators_work(self, build: Build) -> None:
        files = {
            "kustomization.yaml": "configMapGenerator: [{name: c, files: [settings.ini], literals: [a=b]}]\n"
            "secretGenerator: [{name: s, envs: [.env], options: {disableNameSuffixHash: true}}]\n",
            "settings.ini": "x=y\n",
            ".env": "PASSWORD=hunter2\n",
        }
        found, secret = await build(files)
        assert found["data"] == {"a": "b", "settings.ini": "x=y\n"}
        assert found["metadata"]["name"].startswith("c-")
        assert secret["metadata"]["name"] == "s"
        assert secret["data"] == {"PASSWORD": "aHVudGVyMg=="}

    async def test_yaml_1_1_words_stay_what_kubernetes_makes_of_them(self, build: Build) -> None:
        (found,) = await build({"a.yaml": configmap("a", '{a: "yes", b: "1e3", c: "0o7", d: "<&>"}')})
        assert found["data"] == {"a": "yes", "b": "1e3", "c": "0o7", "d": "<&>"}

    async def test_the_digest_is_that_of_the_objects(self, pool: RendererPool) -> None:
        one = await pool.build(BuildRequest(), tree({"a.yaml": configmap("a"), "b.yaml": configmap("b")}))
        same = await pool.build(BuildRequest(), tree({"x/all.yaml": configmap("a") + "---\n" + configmap("b")}))
        other = await pool.build(BuildRequest(), tree({"a.yaml": configmap("a"), "b.yaml": configmap("c")}))
        assert one.digest.startswith("sha256:")
        assert one.digest == same.digest
        assert one.inputs.digest() != same.inputs.digest()
        assert one.digest != other.digest

    async def test_deprecated_fields_are_warnings(self, pool: RendererPool) -> None:
        files = {
            "kustomization.yaml": "bases: [base]\n",
            "base/kustomization.yaml": LISTING,
            "base/a.yaml": configmap("a"),
        }
        rendered = await pool.build(
            BuildRequest(),
            tree(
                {**files, "kustomization.yaml": LISTING + "vars: []\ncommonLabels: {a: b}\n", "a.yaml": configmap("b")}
            ),
        )
        assert any("'commonLabels' is deprecated" in warning for warning in rendered.warnings)
        again = await pool.build(BuildRequest(), tree({"a.yaml": configmap("a")}))
        assert again.warnings == ()


BIG = 2**53 + 1
CUSTOM = f"""\
apiVersion: example.com/v1
kind: Thing
metadata: {{name: t}}
spec:
  id: {BIG}
  max: {2**64 - 1}
  min: {-(2**63)}
  text: "{BIG}"
"""


class TestIntegersKeepTheirValue:
    def check(self, found: dict) -> None:
        assert found["spec"]["id"] == BIG
        assert found["spec"]["max"] == 2**64 - 1
        assert found["spec"]["min"] == -(2**63)
        assert found["spec"]["text"] == str(BIG)

    async def test_in_a_plain_build(self, build: Build) -> None:
        (found,) = await build({"t.yaml": CUSTOM})
        self.check(found)

    async def test_after_a_json_patch(self, build: Build) -> None:
        patch = f"- {{op: add, path: /spec/more, value: {BIG + 2}}}\n- {{op: test, path: /spec/id, value: {BIG}}}\n"
        (found,) = await build({"t.yaml": CUSTOM}, patches=(Patch(patch=patch, target=Selector(kind="Thing")),))
        self.check(found)
        assert found["spec"]["more"] == BIG + 2

    async def test_after_a_json_patch_from_a_file(self, build: Build) -> None:
        files = {
            "kustomization.yaml": "resources: [t.yaml]\npatches: [{path: p.json, target: {kind: Thing}}]\n",
            "t.yaml": CUSTOM,
            "p.json": json.dumps([{"op": "add", "path": "/spec/more", "value": BIG + 2}]),
        }
        (found,) = await build(files)
        self.check(found)
        assert found["spec"]["more"] == BIG + 2

    async def test_in_a_list(self, build: Build) -> None:
        item = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"é": 1, "id": BIG}}
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]}, ensure_ascii=False)
        (found,) = await build({"t.yaml": text})
        assert found["spec"]["id"] == BIG

    async def test_after_a_substitution(self, build: Build) -> None:
        (found,) = await build({"t.yaml": CUSTOM}, substitution=Substitution(vars={"a": "b"}))
        self.check(found)
        (found,) = await build(
            {"t.yaml": CUSTOM.replace(f"id: {BIG}", "id: ${n}")}, substitution=Substitution(vars={"n": str(BIG)})
        )
        self.check(found)

    async def test_text_in_generated_objects_is_left_alone(self, build: Build) -> None:
        files = {"kustomization.yaml": "configMapGenerator: [{name: c, files: [t.yaml]}]\n", "t.yaml": CUSTOM}
        (found,) = await build(files)
        assert found["data"]["t.yaml"] == CUSTOM
