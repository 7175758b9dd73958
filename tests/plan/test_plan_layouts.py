"""What a repository builds: Flux Kustomizations, kustomization folders, plain manifests; and who is named."""

import pytest

from tests.plan.plan_repository import PlanRepository, deployment, dvc, flux, kustomization, lfs, service


def test_a_base_is_not_told_beside_the_overlays_that_include_it(repository: PlanRepository) -> None:
    repository.history(
        {
            "base/kustomization.yaml": kustomization("s.yaml"),
            "base/s.yaml": service("s3://bucket/one"),
            "prod/kustomization.yaml": kustomization("../base", more="namespace: prod\n"),
        },
        {"base/s.yaml": service("s3://bucket/two")},
    )
    (record,) = repository.plan().changes
    assert record["object"]["namespace"] == "prod"
    assert record["location"]["origin"] == "path: ../base/s.yaml"
    assert record["impact"]["kustomizations"] == []


def test_records_name_the_flux_kustomization_that_builds_them(repository: PlanRepository) -> None:
    repository.history(
        {
            "clusters/prod/apps.yaml": flux("chat", "./apps/chat/prod") + "---\n" + flux("other", "apps/other"),
            "apps/chat/base/kustomization.yaml": kustomization("d.yaml"),
            "apps/chat/base/d.yaml": deployment("vllm", "serve", "org/one"),
            "apps/chat/prod/kustomization.yaml": kustomization("../base"),
            "apps/other/s.yaml": service("s3://bucket/one"),
        },
        {"apps/chat/base/d.yaml": deployment("vllm", "serve", "org/two")},
    )
    (record,) = repository.plan().changes
    assert record["impact"]["kustomizations"] == ["flux-system/chat"]


def test_the_spec_of_a_flux_kustomization_takes_part(repository: PlanRepository) -> None:
    def wanted(model: str, tag: str) -> str:
        more = (
            "  targetNamespace: chat\n"
            f"  images: [{{name: vllm/vllm-openai, newTag: {tag}}}]\n"
            f"  postBuild: {{substitute: {{model: {model}}}}}\n"
            '  patches:\n  - patch: \'[{"op": "add", "path": "/spec/replicas", "value": 3}]\'\n'
            "    target: {kind: Deployment}\n"
        )
        return flux("chat", "./app", more)

    repository.history(
        {"flux.yaml": wanted("org/one", "v1"), "app/d.yaml": deployment("vllm", "serve", "${model}")},
        {"flux.yaml": wanted("org/two", "v2")},
    )
    output = repository.plan()
    assert output.errors == []
    assert output.the("model")["new"]["canonical"] == "hf://org/two@main"
    assert output.the("code-image")["new"]["canonical"] == "oci://docker.io/vllm/vllm-openai:v2"
    assert {change["object"]["namespace"] for change in output.changes} == {"chat"}


def test_variables_of_a_config_map_in_the_repository_are_known(repository: PlanRepository) -> None:
    settings = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: vars, namespace: flux-system}}\ndata: {{model: {}}}\n"
    )
    build = "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}\n"
    repository.history(
        {
            "clusters/prod/app.yaml": flux("chat", "./app", build),
            "clusters/prod/vars.yaml": settings.format("org/one"),
            "app/d.yaml": deployment("vllm", "serve", "${model}"),
        },
        {"clusters/prod/vars.yaml": settings.format("org/two")},
    )
    output = repository.plan()
    assert output.errors == []
    assert output.the("model")["new"]["canonical"] == "hf://org/two@main"


def test_variables_of_the_cluster_stay_as_written_and_are_named(repository: PlanRepository) -> None:
    build = "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}, {kind: Secret, name: keys}]}\n"
    repository.history(
        {
            "flux.yaml": flux("chat", "./app", build),
            "app/d.yaml": deployment("vllm", "serve", "${org}/one", "--dtype", "${dtype:=half}"),
        },
        {"app/d.yaml": deployment("vllm", "serve", "${org}/two", "--dtype", "${dtype:=half}")},
    )
    output = repository.plan()
    assert output.the("model")["new"]["spelling"] == "${org}/two"
    (error,) = output.errors
    assert error["object"] == "Kustomization/flux-system/chat"
    assert error["message"] == (
        "variables of ConfigMap/vars, Secret/keys are not in the repository: "
        "org left as written; dtype taken by default"
    )


def test_two_clusters_with_kustomizations_of_one_name_are_told_apart(repository: PlanRepository) -> None:
    repository.history(
        {
            "clusters/prod/apps.yaml": flux("apps", "./apps/prod"),
            "clusters/test/apps.yaml": flux("apps", "./apps/test"),
            "apps/prod/s.yaml": service("s3://bucket/one"),
            "apps/test/s.yaml": service("s3://bucket/one"),
        },
        {"apps/prod/s.yaml": service("s3://bucket/two"), "apps/test/s.yaml": service("s3://bucket/two")},
    )
    output = repository.plan()
    assert [change["op"] for change in output.changes] == ["changed", "changed"]
    assert len({change["id"] for change in output.changes}) == 2
    assert {change["location"]["file"] for change in output.changes} == {"apps/prod/s.yaml", "apps/test/s.yaml"}


def test_one_base_that_two_clusters_build_under_one_name_is_told_for_each(repository: PlanRepository) -> None:
    repository.history(
        {
            "clusters/prod/apps.yaml": flux("apps", "./apps"),
            "clusters/test/apps.yaml": flux("apps", "./apps"),
            "apps/s.yaml": service("s3://bucket/one"),
        },
        {"apps/s.yaml": service("s3://bucket/two")},
    )
    output = repository.plan()
    assert {change["impact"]["kustomizations"][0] for change in output.changes} == {"flux-system/apps"}
    assert sorted(change["location"]["origin"] for change in output.changes) == [
        "path: s.yaml; declaredIn: clusters/prod",
        "path: s.yaml; declaredIn: clusters/test",
    ]
    for form in ("text", "markdown"):
        told = repository.plan(output=form).out
        assert told.count("Kustomization in clusters/prod") == told.count("Kustomization in clusters/test") == 1


def test_a_deleted_kustomization_object_removes_what_it_built(repository: PlanRepository) -> None:
    repository.write({"f/two.yaml": flux("two", "./x"), "x/y.yaml": ""})
    repository.history({"f/one.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m")}, {"f/one.yaml": None})
    (record,) = repository.plan().changes
    assert (record["op"], record["impact"]["kustomizations"]) == ("removed", ["flux-system/one"])


def test_a_kustomization_that_cannot_be_read_any_more_removes_nothing(repository: PlanRepository) -> None:
    repository.write({"f/two.yaml": flux("two", "./x"), "x/y.yaml": ""})
    repository.history(
        {"f/one.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m")},
        {"f/one.yaml": flux("one", "./app") + "  broken: [\n"},
    )
    output = repository.plan()
    assert output.changes == []
    assert [error["file"] for error in output.errors] == ["f/one.yaml"]


@pytest.mark.parametrize(
    ("damaged", "others", "built"),
    [
        ("spec: [", True, False),
        ("spec: [", False, True),
        (b"\x00GITCRYPT\x00\x93\xf1\xfe" * 9, False, False),
        (b"\x00GITCRYPT\x00\x93\xf1\xfe" * 9, True, True),
        ("apiVersion: ENC[AES256_GCM,data:x]\nkind: ENC[AES256_GCM,data:y]\nsops: {}\n", True, False),
        (flux("one", "./app") + "---\nspec: [", True, True),
    ],
)
def test_a_file_of_flux_objects_that_is_damaged_removes_nothing(
    repository: PlanRepository, damaged: str | bytes, others: bool, built: bool
) -> None:
    if built:
        repository.write({"f/kustomization.yaml": kustomization("one.yaml", *(["two.yaml"] if others else []))})
    if others:
        repository.write({"f/two.yaml": flux("two", "./x"), "x/s.yaml": service("s3://b/x", "x")})
    files = {"app/one/s.yaml": service("s3://b/m"), "app/two/s.yaml": service("s3://b/n", "n")}
    repository.history({"f/one.yaml": flux("one", "./app"), "x/y.yaml": "", **files}, {"f/one.yaml": damaged})
    output = repository.plan("--fail-on=errors")
    assert output.status == 3
    assert output.changes == []
    assert {error["file"] for error in output.errors} == {"f/one.yaml"}


def test_a_file_of_flux_objects_that_is_emptied_removes_what_it_built(repository: PlanRepository) -> None:
    repository.history(
        {"f/one.yaml": flux("one", "./app"), "f/two.yaml": flux("two", "./x"), "x/y.yaml": "",
         "app/s.yaml": service("s3://b/m")},
        {"f/one.yaml": "%YAML 1.2\n---\n# nothing\n"},
    )  # fmt: skip
    output = repository.plan()
    assert [change["op"] for change in output.changes] == ["removed"]
    assert output.errors == []


def test_a_kustomization_whose_folder_is_gone_removes_nothing(repository: PlanRepository) -> None:
    repository.history(
        {"f.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m"), "README": ""}, {"app/s.yaml": None}
    )
    output = repository.plan()
    assert output.changes == []
    (error,) = output.errors
    assert error == {
        "object": "Kustomization/flux-system/one",
        "message": "spec.path './app' is no folder of the repository",
    }


def test_kustomizations_of_other_sources_are_left_alone_and_named_when_new(repository: PlanRepository) -> None:
    repository.history(
        {"f.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m")},
        {"g.yaml": flux("two", "./app", source="OCIRepository"), "app/s.yaml": service("s3://b/n")},
    )
    output = repository.plan()
    assert [change["impact"]["kustomizations"] for change in output.changes] == [["flux-system/one"]]
    assert [error["object"] for error in output.errors] == ["Kustomization/flux-system/two"]


def test_addresses_tell_which_git_repository_is_meant(repository: PlanRepository) -> None:
    source = (
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n"
        "metadata: {{name: {}, namespace: flux-system}}\nspec: {{interval: 1m, url: {}}}\n"
    )
    repository.git("remote", "add", "origin", "git@git.example:team/fleet.git")
    elsewhere = flux("two", "./app").replace("name: flux-system}\n", "name: other}\n")
    repository.history(
        {
            "f.yaml": flux("one", "./app") + "---\n" + source.format("flux-system", "https://git.example/team/fleet"),
            "g.yaml": elsewhere + "---\n" + source.format("other", "https://git.example/team/other"),
            "app/s.yaml": service("s3://b/m"),
        },
        {"app/s.yaml": service("s3://b/n")},
    )
    assert [change["impact"]["kustomizations"] for change in repository.plan().changes] == [["flux-system/one"]]


def test_a_renamed_kustomization_object_still_builds_the_same(repository: PlanRepository) -> None:
    repository.history(
        {"f.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m")}, {"f.yaml": flux("two", "./app")}
    )
    assert repository.plan().changes == []


def test_patches_of_kustomization_objects_are_no_kustomizations(repository: PlanRepository) -> None:
    patch = (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        "metadata: {name: one, namespace: flux-system}\nspec: {path: ./app/prod}\n"
    )
    repository.history(
        {
            "cluster/kustomization.yaml": kustomization("one.yaml", more="patches: [{path: patch.yaml}]\n"),
            "cluster/one.yaml": flux("one", "./app"),
            "cluster/patch.yaml": patch,
            "app/s.yaml": service("s3://b/base"),
            "app/prod/kustomization.yaml": kustomization("s.yaml"),
            "app/prod/s.yaml": service("s3://b/one"),
        },
        {"app/prod/s.yaml": service("s3://b/two")},
    )
    output = repository.plan()
    assert output.errors == []
    (record,) = output.changes
    assert record["new"]["canonical"] == "s3://b/two"


def test_files_name_the_kustomization_that_they_belong_to(repository: PlanRepository) -> None:
    generator = "configMapGenerator: [{name: data, files: [x.dvc]}]\n"
    repository.history(
        {
            "f.yaml": flux("one", "./app"),
            "app/kustomization.yaml": kustomization("s.yaml", more=generator),
            "app/s.yaml": service("s3://b/m"),
            "app/x.dvc": dvc("a"),
            "app/weights/z.bin": lfs("a"),
            "elsewhere/y.bin": lfs("a"),
        },
        {"app/x.dvc": dvc("b"), "app/weights/z.bin": lfs("b"), "elsewhere/y.bin": lfs("b")},
    )
    files = [change for change in repository.plan().changes if change["object"]["kind"] == "File"]
    assert {file["object"]["name"]: file["impact"]["kustomizations"] for file in files} == {
        "app/x.dvc": ["flux-system/one"],
        "app/weights/z.bin": ["flux-system/one"],
        "elsewhere/y.bin": [],
    }


def test_changed_manifests_that_no_kustomization_builds_are_a_remark(repository: PlanRepository) -> None:
    repository.history(
        {"f.yaml": flux("one", "./app"), "app/s.yaml": service("s3://b/m"), "stray/s.yaml": service("s3://b/m")},
        {"stray/s.yaml": service("s3://b/n")},
    )
    output = repository.plan()
    assert (output.changes, output.errors, output.status) == ([], [], 0)
    assert "stray/s.yaml" in output.err


def test_charts_and_releases_are_named(repository: PlanRepository) -> None:
    release = (
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: llm, namespace: ml}}\n"
        "spec: {{chart: {{spec: {{chart: ./chart, version: {}}}}}, values: {{modelArtifacts: {{uri: 'hf://org/{}'}}}}}}\n"
    )
    repository.history(
        {
            "chart/Chart.yaml": "apiVersion: v2\nname: llm\nversion: 1.0.0\n",
            "chart/templates/d.yaml": "apiVersion: apps/v1\nkind: {{ .Values.kind }}\n",
            "releases/llm.yaml": release.format("1.0.0", "one"),
        },
        {
            "chart/templates/d.yaml": "apiVersion: apps/v1\nkind: {{ .Values.k }}\n",
            "releases/llm.yaml": release.format("1.0.0", "two"),
        },
    )
    output = repository.plan()
    assert output.told == {("model", "changed", "modelArtifacts")}
    assert [error.get("file") or error.get("object") for error in output.errors] == ["chart", "HelmRelease/ml/llm"]


def test_a_large_kustomization_is_built_in_parts(repository: PlanRepository) -> None:
    names = [f"app-{i}" for i in range(20)]
    repository.write({"kustomization.yaml": kustomization(*names)})
    for name in names:
        repository.write({f"{name}/kustomization.yaml": kustomization("s.yaml")})
    repository.history(
        {f"{name}/s.yaml": service("s3://b/one", name=name) for name in names},
        {
            "app-3/s.yaml": None,
            "app-3/t.yaml": service("s3://b/two", name="app-3"),
            "app-3/kustomization.yaml": kustomization("t.yaml"),
            "app-4/s.yaml": "# nothing any more\n",
            "app-5/s.yaml": service("s3://b/one", name="app-4"),
        },
    )
    output = repository.plan()
    assert output.errors == []
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [
        ("changed", "app-3"),
        ("removed", "app-5"),
    ]


def test_a_config_map_of_another_part_is_looked_into(repository: PlanRepository) -> None:
    names = [f"app-{i}" for i in range(20)]
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: ml}}\ndata: {{MODEL: org/{}}}\n"
    server = deployment("vllm", "serve", "$(MODEL)", extra="          envFrom: [{configMapRef: {name: settings}}]\n")
    repository.write({"flux.yaml": flux("all", "./all"), "all/server.yaml": server})
    repository.write({f"all/{name}.yaml": service("s3://b/one", name=name) for name in names})
    repository.history({"all/settings.yaml": settings.format("one")}, {"all/settings.yaml": settings.format("two")})
    assert repository.plan().the("model")["new"]["canonical"] == "hf://org/two@main"


def test_a_kustomization_of_the_whole_repository_sees_what_its_artifact_holds(repository: PlanRepository) -> None:
    source = (
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n"
        "metadata: {name: flux-system, namespace: flux-system}\n"
        'spec: {interval: 1m, url: https://git.example/x, ignore: "/drafts/\\n*.txt"}\n'
    )
    repository.history(
        {
            ".github/workflows/ci.yaml": "on: push\n",
            ".sourceignore": "/.github/\n/other/values.yaml\n",
            "other/values.yaml": "replicas: 3\n",
            "drafts/s.yaml": service("s3://b/draft", "draft"),
            "flux.yaml": flux("all", "./") + "---\n" + source,
            "s.yaml": service("s3://b/one"),
        },
        {"s.yaml": service("s3://b/two"), "drafts/s.yaml": service("s3://b/another", "draft")},
    )
    output = repository.plan()
    assert output.errors == []
    assert [change["object"]["name"] for change in output.changes] == ["sentiment"]


def test_artifacts_made_of_parts_of_the_repository_are_followed(repository: PlanRepository) -> None:
    generator = (
        "apiVersion: source.extensions.fluxcd.io/v1beta1\nkind: ArtifactGenerator\n"
        "metadata: {{name: parts, namespace: flux-system}}\nspec:\n"
        "  sources: [{{alias: repo, kind: GitRepository, name: flux-system}}]\n"
        "  artifacts:\n  - name: apps\n    copy:\n"
        "    - {{from: '@repo/apps/base/**', to: '@artifact/base/'}}\n"
        "    - {{from: '@repo/apps/{0}/**', to: '@artifact/{0}/'}}\n"
    )
    for cluster in ("prod", "test"):
        repository.write(
            {
                f"clusters/{cluster}/parts.yaml": generator.format(cluster),
                f"clusters/{cluster}/apps.yaml": flux("apps", f"./{cluster}", source="ExternalArtifact").replace(
                    "name: flux-system}\n", "name: apps}\n"
                ),
                f"apps/{cluster}/kustomization.yaml": kustomization("../base", more=f"namespace: {cluster}\n"),
            }
        )
    repository.history(
        {"apps/base/kustomization.yaml": kustomization("s.yaml"), "apps/base/s.yaml": service("s3://b/one")},
        {"apps/base/s.yaml": service("s3://b/two")},
    )
    output = repository.plan()
    assert output.errors == []
    assert [(change["object"]["namespace"], change["op"]) for change in output.changes] == [
        ("prod", "changed"),
        ("test", "changed"),
    ]
    assert {tuple(change["impact"]["kustomizations"]) for change in output.changes} == {("flux-system/apps",)}


@pytest.mark.parametrize("layout", ["flux", "folders", "one"])
def test_what_does_not_differ_is_not_built(repository: PlanRepository, layout: str) -> None:
    """The other applications cannot be built at all: whoever tried would have to name them."""
    names = [f"app-{i}" for i in range(60)]
    for name in names:
        repository.write({f"apps/{name}/kustomization.yaml": kustomization("missing.yaml")})
        if layout == "flux":
            repository.write({f"clusters/{name}.yaml": flux(name, f"./apps/{name}")})
    if layout == "one":
        repository.write({"kustomization.yaml": kustomization(*(f"apps/{name}" for name in names))})
    repository.history(
        {"apps/app-7/kustomization.yaml": kustomization("s.yaml"), "apps/app-7/s.yaml": service("s3://b/one")},
        {"apps/app-7/s.yaml": service("s3://b/two")},
    )
    output = repository.plan()
    assert output.errors == []
    assert [change["op"] for change in output.changes] == ["changed"]


def test_objects_of_a_list_stand_in_its_file(repository: PlanRepository) -> None:
    def listed(uri: str) -> str:
        items = [service(uri), service("s3://bucket/same", "other")]
        indented = ["- " + item.replace("\n", "\n  ").rstrip() + "\n" for item in items]
        return "apiVersion: v1\nkind: List\nitems:\n" + "".join(indented)

    repository.history({"app/list.yaml": listed("s3://bucket/one")}, {"app/list.yaml": listed("s3://bucket/two")})
    (record,) = repository.plan().changes
    assert (record["location"]["file"], record["location"]["line"]) == ("app/list.yaml", 10)
