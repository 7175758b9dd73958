"""Flux reference 4.4: which kustomization is built, and what becomes of one that cannot be.

The grammar of each field is told in tests/renderer; here it is about real commits, statuses and events.
"""

from __future__ import annotations

import pytest

from tests.scenarios.conftest import Story, conditions, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
LISTING = "resources: [a.yaml]\n"
LARGE = 40 << 20


def _names(found: dict[str, object]) -> set[str]:
    """Names of the ConfigMaps in the inventory."""
    return {entry["id"].split("_")[1] for entry in found["status"]["inventory"]["entries"]}  # type: ignore[index]


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
async def test_a_kustomization_file_says_what_is_built(story: Story, name: str) -> None:
    story.git.commit({name: LISTING, "a.yaml": CONFIG % ("a", "x"), "b.yaml": CONFIG % ("b", "x")})
    await story.source()
    await story.kustomization()
    assert _names(await story.ready()) == {"a"}


async def test_without_one_every_manifest_below_is_built(story: Story) -> None:
    story.git.commit(
        {
            "a.yaml": CONFIG % ("a", "x"),
            "deep/er/b.yml": CONFIG % ("b", "x"),
            "readme.md": "# no manifest",
            "values.json": "{}",
            "own/kustomization.yaml": "resources: [c.yaml]\nnamePrefix: own-\n",
            "own/c.yaml": CONFIG % ("c", "x"),
            "own/not-listed.yaml": "no: object",
        }
    )
    await story.source()
    await story.kustomization()
    assert _names(await story.ready()) == {"a", "b", "own-c"}


async def test_symbolic_links_are_no_part_of_a_source(story: Story) -> None:
    story.git.commit(
        {"apps/a.yaml": CONFIG % ("a", "x"), "secret.yaml": CONFIG % ("secret", "x")},
        symlinks={"apps/link.yaml": "../secret.yaml", "apps/out.yaml": "/etc/passwd", "linked": "apps"},
    )
    await story.source()
    await story.kustomization(path="./apps")
    assert _names(await story.ready()) == {"a"}
    await story.kustomization("through", path="./linked")
    await story.failed("through", "kustomization path not found: stat linked: no such file or directory")


async def test_an_empty_tree_is_legal(story: Story) -> None:
    story.git.commit({"apps/readme.md": "nothing here yet"})
    await story.source()
    await story.kustomization(path="./apps")
    ready = await story.ready()
    assert ready["status"]["inventory"] == {"entries": []}


async def test_what_the_spec_adds_comes_in_fluxs_order(story: Story) -> None:
    story.git.commit(
        {
            "app/kustomization.yaml": LISTING
            + "namespace: replaced\nnamePrefix: replaced-\nbuildMetadata: [managedByLabel]\nfutureField: {x: 1}\n"
            + "patches: [{target: {kind: ConfigMap}, patch: '- {op: replace, path: /data/greeting, value: file}'}]\n",
            "app/a.yaml": CONFIG % ("a", "x"),
            "extra/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
            "patches: [{target: {kind: ConfigMap}, patch: '- {op: add, path: /data/component, value: here}'}]\n",
        }
    )
    await story.source()
    await story.kustomization(
        path="./app",
        namePrefix="p-",
        nameSuffix="-s",
        components=["../extra"],
        buildMetadata=["originAnnotations"],
        patches=[
            {
                "patch": "- {op: test, path: /data/greeting, value: file}\n"
                "- {op: replace, path: /data/greeting, value: spec}",
                "target": {"kind": "ConfigMap"},
            }
        ],
    )
    await story.ready()
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "p-a-s")
    assert found["data"] == {"greeting": "spec", "component": "here"}
    assert found["metadata"]["annotations"] == {"config.kubernetes.io/origin": "path: a.yaml\n"}
    assert "app.kubernetes.io/managed-by" not in found["metadata"]["labels"]


async def test_files_beside_the_folder_are_in_reach_and_files_outside_of_the_source_are_not(story: Story) -> None:
    story.git.commit(
        {
            "base/kustomization.yaml": LISTING,
            "base/a.yaml": CONFIG % ("a", "x"),
            "app/kustomization.yaml": "resources: [../base]\n",
            "evil/kustomization.yaml": "resources: [../../../../etc/passwd]\n",
        }
    )
    await story.source()
    await story.kustomization(path="./app")
    await story.ready()
    await story.kustomization("evil", path="./evil")
    failed = await story.failed("evil", "is not in or below the root of the source")
    assert conditions(failed)["Ready"][1] == "BuildFailed"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"values.yaml": "replicas: 2\n"}, "failed to decode Kubernetes YAML from app/values.yaml: "),
        ({"kustomization.yaml": "resources: [../other]\n"}, "cycle detected"),
        ({"kustomization.yaml": "resources: [gone.yaml]\n"}, "app/gone.yaml: no such file or directory"),
        (
            {"kustomization.yaml": "resources: ['https://example.org/base?ref=v1']\n"},
            'app/kustomization.yaml: resources[0] names "https://example.org/base?ref=v1", which is not in the source',
        ),
        ({"kustomization.yaml": "helmCharts: [{name: redis, repo: 'https://h'}]\n"}, "commit the rendered chart"),
        ({"kustomization.yaml": "resources: {a: b}\n"}, "app/kustomization.yaml"),
        ({"a.yaml": CONFIG % ("a", "x"), "b.yaml": CONFIG % ("a", "y")}, "already registered id"),
        ({"large.yaml": f"# {'x' * LARGE}\n"}, f"file app/large.yaml has {LARGE + 3} bytes; the limit is "),
    ],
    ids=["no object", "cycle", "missing", "remote", "helm", "not a kustomization", "twice", "too large"],
)
async def test_what_cannot_be_built_is_told_in_status_and_event(story: Story, files: dict[str, str], text: str) -> None:
    story.git.commit(
        {
            **{f"app/{name}": content for name, content in files.items()},
            "other/kustomization.yaml": "resources: [../app]\n",
            "fine/c.yaml": CONFIG % ("c", "x"),
        }
    )
    await story.source()
    await story.kustomization(path="./app")
    await story.kustomization("fine", path="./fine")
    failed = await story.failed(text=text)
    assert conditions(failed)["Ready"][1] == "BuildFailed"
    assert len(message(failed)) < 2000
    assert (await story.event("app", text[:40])).startswith("BuildFailed: ")
    await story.ready("fine")


async def test_lists_are_expanded_and_kustomizes_own_configuration_is_left_out(story: Story) -> None:
    items = "".join(f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n" for name in "ab")
    own = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: x}\n"
    story.git.commit({"list.yaml": f"apiVersion: v1\nkind: List\nitems:\n{items}", "own.yaml": own})
    await story.source()
    await story.kustomization()
    assert _names(await story.ready()) == {"a", "b"}
