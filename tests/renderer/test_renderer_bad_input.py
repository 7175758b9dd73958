"""Sources that are wrong, hostile or too large: a clear error each, and the next build works."""

import base64
import random
import re

import pytest

from agent.adapters.renderer import BuildRequest, Limits, RendererPool, RenderError, Substitution
from agent.api.kustomization import Patch, Selector
from tests.renderer.sources import DEPLOYMENT, Build, configmap, tree


@pytest.fixture(autouse=True)
async def usable_afterwards(build: Build):
    yield
    assert len(await build({"a.yaml": configmap("a")})) == 1


async def failure(build: Build, files: dict[str, str], **options: object) -> RenderError:
    with pytest.raises(RenderError) as caught:
        await build(files, **options)
    assert "+source" not in caught.value.message
    assert not re.search(r"__[A-Z2-7]{26}_", caught.value.message)
    return caught.value


class TestStructure:
    async def test_cyclic_bases(self, build: Build) -> None:
        files = {"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a]\n"}
        assert "cycle detected" in (await failure(build, files, path="a")).message

    async def test_a_base_that_is_its_parent(self, build: Build) -> None:
        error = await failure(
            build, {"kustomization.yaml": "resources: [sub]\n", "sub/kustomization.yaml": "resources: [..]\n"}
        )
        assert "cycle detected" in error.message

    @pytest.mark.parametrize(
        "text",
        [
            "resources: [../../etc/passwd]\n",
            "resources: [../../../../../../etc]\n",
            "resources: [a.yaml]\npatches: [{path: ../../../secret.yaml}]\n",
            "configMapGenerator: [{name: c, files: [../../x]}]\n",
            "components: [../../x]\n",
        ],
    )
    async def test_paths_that_leave_the_source(self, build: Build, text: str) -> None:
        error = await failure(
            build, {"app/kustomization.yaml": text, "app/a.yaml": configmap("a"), "etc/passwd": "x"}, path="app"
        )
        assert "is not in or below the root of the source" in error.message

    async def test_absolute_paths(self, build: Build) -> None:
        error = await failure(build, {"kustomization.yaml": "resources: [/etc/passwd]\n"})
        assert "'../etc/passwd' is not in or below the root of the source" in error.message

    async def test_a_missing_resource_is_named(self, build: Build) -> None:
        error = await failure(build, {"app/kustomization.yaml": "resources: [gone.yaml]\n"}, path="app")
        assert error.kind == "build"
        assert error.message.startswith("kustomize build failed: accumulating resources")
        assert "app/gone.yaml: no such file or directory" in error.message

    @pytest.mark.parametrize("text", ["a: [", "\t- x", "kind: ConfigMap\n kind: x", "\x00\x01", "- a\n- b\n"])
    async def test_invalid_yaml_names_the_file(self, build: Build, text: str) -> None:
        assert "bad.yaml" in (await failure(build, {"bad.yaml": text})).message
        assert (
            "bad.yaml"
            in (await failure(build, {"kustomization.yaml": "resources: [bad.yaml]\n", "bad.yaml": text})).message
        )

    async def test_an_invalid_kustomization(self, build: Build) -> None:
        assert "kustomization.yaml" in (await failure(build, {"kustomization.yaml": "resources: {a: b}\n"})).message
        assert "kustomization.yaml" in (await failure(build, {"kustomization.yaml": "resources: [\n"})).message

    async def test_the_same_object_twice(self, build: Build) -> None:
        assert (
            "already registered id"
            in (await failure(build, {"a.yaml": configmap("a"), "b.yaml": configmap("a")})).message
        )

    async def test_an_unknown_patch_format(self, build: Build) -> None:
        error = await failure(build, {"a.yaml": configmap("a")}, patches=(Patch(patch="nonsense"),))
        assert "patch" in error.message


class TestNothingIsFetchedOrRun:
    @pytest.mark.parametrize(
        ("text", "field", "entry"),
        [
            ("resources: [a.yaml, 'https://example.com/x.yaml']", "resources[1]", "https://example.com/x.yaml"),
            ("resources: ['http://example.com/x']", "resources[0]", "http://example.com/x"),
            ("resources: ['github.com/org/repo//base?ref=v1']", "resources[0]", "github.com/org/repo//base?ref=v1"),
            ("resources: ['git@github.com:org/repo']", "resources[0]", "git@github.com:org/repo"),
            ("bases: ['ssh://git@host/repo']", "bases[0]", "ssh://git@host/repo"),
            ("components: ['https://github.com/org/repo//c']", "components[0]", "https://github.com/org/repo//c"),
            ("resources: [a.yaml]\npatches: [{path: 'https://h/p.yaml'}]", "patches[0].path", "https://h/p.yaml"),
            (
                "configMapGenerator: [{name: c, files: ['k=https://h/f']}]",
                "configMapGenerator[0].files[0]",
                "https://h/f",
            ),
            ("resources: [a.yaml]\ncrds: ['https://h/crd.yaml']", "crds[0]", "https://h/crd.yaml"),
            ("resources: [a.yaml]\nopenapi: {path: 'https://h/s.json'}", "openapi.path", "https://h/s.json"),
            ("resources: [a.yaml]\ntransformers: ['https://h/t.yaml']", "transformers[0]", "https://h/t.yaml"),
        ],
    )
    async def test_remote_entries(self, build: Build, text: str, field: str, entry: str) -> None:
        files = {
            "kustomization.yaml": "resources: [base]\n",
            "base/kustomization.yaml": text + "\n",
            "base/a.yaml": configmap("a"),
        }
        error = await failure(build, files)
        assert error.kind == "remote"
        assert f"base/kustomization.yaml: {field} names" in error.message
        assert entry in error.message
        assert "copy it into the repository" in error.message

    @pytest.mark.parametrize(
        "text",
        [
            "helmCharts: [{name: redis, repo: 'https://charts.example.com', version: 1.0.0}]",
            "helmChartInflationGenerator: [{chartName: redis, chartRepoUrl: 'https://charts.example.com'}]",
        ],
    )
    async def test_helm_charts(self, build: Build, text: str) -> None:
        error = await failure(build, {"app/kustomization.yaml": text + "\n"}, path="app")
        assert "app/kustomization.yaml: helmChart" in error.message
        assert 'chart "redis"' in error.message
        assert "HelmRelease" in error.message

    @pytest.mark.parametrize("how", ["exec: {path: ./run.sh}", "container: {image: example.com/fn:1}"])
    @pytest.mark.parametrize("field", ["generators", "transformers", "validators"])
    async def test_functions(self, build: Build, field: str, how: str) -> None:
        function = (
            "apiVersion: example.com/v1\nkind: Fn\nmetadata:\n  name: fn\n  annotations:\n"
            f"    config.kubernetes.io/function: '{{{how}}}'\n"
        )
        files = {
            "kustomization.yaml": f"resources: [a.yaml]\n{field}: [fn.yaml]\n",
            "a.yaml": configmap("a"),
            "fn.yaml": function,
        }
        error = await failure(build, files)
        assert f"kustomization.yaml: {field}[0] names a plugin or function (Fn)" in error.message

    async def test_an_address_in_data_is_no_remote_entry(self, build: Build) -> None:
        files = {"kustomization.yaml": "configMapGenerator: [{name: c, literals: ['u=https://example.com/x']}]\n"}
        (found,) = await build(files)
        assert found["data"] == {"u": "https://example.com/x"}


class TestSize:
    async def test_an_object_of_a_mebibyte_builds(self, build: Build) -> None:
        (found,) = await build({"a.yaml": configmap("a", f'{{k: "{"x" * (1 << 20)}"}}')}, target_namespace="n")
        assert len(found["data"]["k"]) == 1 << 20

    async def test_aliases_are_written_out(self, build: Build) -> None:
        (found,) = await build({"a.yaml": configmap("a", "{x: &v text, y: *v}")})
        assert found["data"] == {"x": "text", "y": "text"}

    async def test_aliases_that_explode(self, build: Build) -> None:
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nl0: &l0 [x, x]\n"
        text += "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
        error = await failure(build, {"a.yaml": text})
        assert error.kind == "limit"
        assert error.message == "a.yaml: its YAML aliases expand to more than 500000 values"
        assert (await failure(build, {"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": text})).kind == "limit"

    async def test_an_anchor_in_itself(self, build: Build) -> None:
        error = await failure(build, {"a.yaml": configmap("a", "&d {k: *d}")})
        assert "a YAML anchor contains itself" in error.message

    async def test_deep_nesting(self, build: Build) -> None:
        error = await failure(build, {"a.yaml": configmap("a", "[" * 20000 + "]" * 20000)})
        assert "a.yaml" in error.message

    async def test_limits(self, binary) -> None:
        pool = RendererPool(size=1, binary=binary, limits=Limits(file=1000, read=1500, output=600, entries=5))
        await pool.start()
        try:

            async def message(files: dict[str, str]) -> str:
                with pytest.raises(RenderError) as caught:
                    await pool.build(BuildRequest(), tree(files))
                assert caught.value.kind == "limit"
                return caught.value.message

            large = configmap("a", f'{{k: "{"x" * 1000}"}}')
            assert await message({"d/a.yaml": large}) == f"file d/a.yaml has {len(large)} bytes; the limit is 1000"
            many = {f"{n}.yaml": configmap(f"a{n}", f'{{k: "{"x" * 700}"}}') for n in range(3)}
            assert await message(many) == "the build reads more than the 1500 bytes allowed"
            out = {"a.yaml": configmap("a", f'{{k: "{"x" * 700}"}}')}
            assert await message(out) == "the build has more than 600 bytes of objects"
            wide = {f"d/{n}.txt": "" for n in range(6)}
            assert await message({"a.yaml": "", **wide}) == "folder d has 6 entries; the limit is 5"
            assert len((await pool.build(BuildRequest(), tree({"a.yaml": configmap("a")}))).objects) == 1
        finally:
            await pool.stop()


class TestSecretsStayOut:
    SECRET = "hunter2-correct-horse"
    ENCODED = base64.b64encode(SECRET.encode()).decode()

    @pytest.mark.parametrize(
        "files",
        [
            {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: SECRET, p: x}\n"},
            {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: ENCODED, q: !!int SECRET}\n"},
            {"s.yaml": "apiVersion: v1\nkind: Secret\nstringData: {p: SECRET}\n"},
            {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  p: SECRET\n bad: [\n"},
            {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: !!int SECRET}\n"},
            {"kustomization.yaml": "secretGenerator: [{name: s, literals: [p=SECRET, SECRET]}]\n"},
            {"kustomization.yaml": "secretGenerator: [{name: s, literals: ['token: SECRET']}]\n"},
            {"kustomization.yaml": "secretGenerator: [{name: s, literals: [!!int SECRET]}]\n"},
            {
                "kustomization.yaml": "resources: [s.yaml]\npatches: [{path: p.yaml, target: {kind: Secret}}]\n",
                "s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
                "p.yaml": "- {op: nonsense, path: /stringData/p, value: SECRET}\n",
            },
            {
                "kustomization.yaml": "resources: [s.yaml]\npatches:\n- patch: |\n    apiVersion: v1\n"
                "    kind: Secret\n    metadata: {name: other}\n    stringData: {p: SECRET}\n",
                "s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
            },
            {
                "kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: 'kind: [SECRET'}]\n",
                "s.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n",
            },
            {"kustomization.yaml": "patchesStrategicMerge: ['kind: [SECRET']\n"},
            {"kustomization.yaml": "transformers: ['kind: [SECRET']\n"},
            {"kustomization.yaml": "generators: ['kind: [SECRET']\n"},
            {"kustomization.yaml": "validators: ['kind: [SECRET']\n"},
        ],
    )
    async def test_in_what_fails_to_build(self, build: Build, files: dict[str, str]) -> None:
        prepared = {k: v.replace("SECRET", self.SECRET).replace("ENCODED", self.ENCODED) for k, v in files.items()}
        error = await failure(build, prepared)
        assert self.SECRET not in error.message
        assert self.ENCODED not in error.message

    async def test_in_patches_of_the_request(self, build: Build) -> None:
        patch = f"- {{op: replace, path: /stringData/p/q, value: {self.SECRET}}}"
        files = {"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"}
        error = await failure(build, files, patches=(Patch(patch=patch, target=Selector(kind="Secret")),))
        assert self.SECRET not in error.message

    async def test_in_values_that_do_not_fit(self, build: Build) -> None:
        manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        substitution = Substitution(vars={"v": self.SECRET, "tag": f'"\\q{self.SECRET}'})
        error = await failure(build, {"a.yaml": manifest + "x: ${tag}\n"}, substitution=substitution)
        assert self.SECRET not in error.message
        assert error.kind == "substitution"

    async def test_in_expressions_of_a_secret(self, build: Build) -> None:
        manifest = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: 'a${{{self.SECRET}'}}\n"
        error = await failure(build, {"a.yaml": manifest}, substitution=Substitution(vars={"v": "x"}))
        assert self.SECRET not in error.message
        assert "Secret" in error.message

    @pytest.mark.parametrize("address", ["https://SECRET@h/x.yaml", "http://u:SECRET@h/x", "ssh://git:SECRET@h/x"])
    async def test_in_addresses(self, build: Build, address: str) -> None:
        entry = address.replace("SECRET", self.SECRET)
        error = await failure(build, {"kustomization.yaml": f"resources: ['{entry}']\n"})
        assert error.kind == "remote"
        assert self.SECRET not in error.message
        assert "***@h/x" in error.message

    def test_in_representations(self) -> None:
        request = BuildRequest(substitution=Substitution(vars={"v": self.SECRET}))
        assert self.SECRET not in repr(request)


class TestDamagedSources:
    FILES = (
        (
            "kustomization.yaml",
            "resources: [d.yaml, l.yaml]\nnamespace: n\nimages: [{name: vllm/vllm-openai, newTag: v1}]\n",
        ),
        ("d.yaml", DEPLOYMENT),
        ("l.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: &a x}}\n"),
    )
    PIECES = (
        "null",
        "[]",
        "{",
        "~",
        "${v}",
        "${",
        "!!int a",
        ".inf",
        "- ",
        "&b ",
        "*a",
        "<<: ",
        "\t",
        "\0",
        "'",
        '"',
        "|\n",
    )

    @pytest.mark.parametrize("seed", range(5))
    async def test_every_answer_is_objects_or_a_clear_error(self, pool: RendererPool, seed: int) -> None:
        chance = random.Random(seed)
        answers = []
        for _ in range(60):
            files = dict(self.FILES)
            name = chance.choice(list(files))
            at = chance.randrange(len(files[name]))
            files[name] = files[name][:at] + chance.choice(self.PIECES) + files[name][at + chance.randrange(4) :]
            try:
                await pool.build(BuildRequest(substitution=Substitution(vars={"v": "x"})), tree(files))
                answers.append("built")
            except RenderError as err:
                answers.append(err.kind)
        assert (
            {"built", "build"}
            < set(answers)
            <= {"built", "build", "substitution", "decode", "invalid-object", "remote"}
        )
