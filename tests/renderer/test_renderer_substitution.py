"""Post-build variable substitution, as the Flux Kustomization documentation and its envsubst library define it."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.renderer import BuildRequest, Limits, RendererPool, RenderError, Substitution
from tests.renderer.sources import Build, configmap, tree

VARS = {
    "v": "hello",
    "path": "a/b/a",
    "empty": "",
    "n": "3",
    "yes": "true",
    "quoted": '"',
    "tagged": "!!str 123",
    "lines": "x\ny\n",
    "back": "-2",
    "words": "über",
}


async def value_of(pool: RendererPool, text: str, variables: dict[str, str] | None = None, **options: Any) -> Any:
    """What becomes of a value written as the text, unquoted."""
    manifest = f"apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: t}}\nspec:\n  x: {text}\n"
    substitution = Substitution(vars=VARS if variables is None else variables, **options)
    rendered = await pool.build(BuildRequest(substitution=substitution), tree({"t.yaml": manifest}))
    return json.loads(rendered.objects[0])["spec"]["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${v}", "hello"),
        ("a-${v}-b", "a-hello-b"),
        ("$v stays", "$v stays"),
        ("$${v}", "${v}"),
        ("a$$b", "a$b"),
        (r"c:\dir ${v}", r"c:\dir hello"),
        ("${#v}", 5),
        ("${v^}", "Hello"),
        ("${v^^}", "HELLO"),
        ("${v,,}", "hello"),
        ("${v:1}", "ello"),
        ("${v:1:2}", "el"),
        ("${v:x}", "hello"),
        ("${path#*/}", "b/a"),
        ("${path##*/}", "a"),
        ("${path%/*}", "a/b"),
        ("${path%%/*}", "a"),
        ("${path/a/z}", "z/b/a"),
        ("${path//a/z}", "z/b/z"),
        (r"${path//\//-}", "a-b-a"),
        ("${path/#a/z}", "z/b/a"),
        ("${path/%a/z}", "a/b/z"),
        ("${unset:-d}", "d"),
        ("${unset:=d}", "d"),
        ("${unset=d}", "d"),
        ("${empty:-d}", "d"),
        ("${unset:-${v}-x}", "hello-x"),
        ("${n}", 3),
        ('"${n}"', 3),
        ("${yes}", True),
        ("${quoted}${n}${quoted}", "3"),
        ("${tagged}", "123"),
        ("${lines}", "xy"),
        ("${empty}", None),
        ("${words^}", "Über"),
        ("${path^^}", "A/B/A"),
        ("${v:0:0}x", "x"),
        ("${v:9}x", "x"),
        ("${v:1:99}", "ello"),
        ("${v:${back}}", "lo"),
        ("${v:${n}:1}", "l"),
        ("${words:2}", "ber"),  # bytes, not characters
        ('"${v: -2}"', "hello"),  # no number: the value as it is
        ("${v:1:x}", "hello"),
        ("${v#h?}", "llo"),
        ("${v%l*}", "hel"),
        ("${v%%l*}", "he"),
        ("${path/a/}", "/b/a"),
        ("${v/./x}", "hello"),  # the pattern is text
        ("${v//*/x}", "hello"),
        (r"${path/\//\\}", "a\\b/a"),
        ("${unset:-}x", "x"),
        ("${v:-d}", "hello"),
        ("${unset:-a ${n} b}", "a 3 b"),
        ("${unset:=${gone:=${v}}}", "hello"),
        ("${v:+x}", "hello"),  # as ":-", whatever a shell makes of it
        ("${unset:+x}", "x"),
        ("${unset:?x}", "x"),
        ("${v:?x}", "hello"),
        ("$${v:-${n}}", "${v:-3}"),
        ("$$$${v}", "$${v}"),
        ("$$${v}", "$hello"),
        ("$", "$"),
        ("${v}}", "hello}"),
    ],
)
async def test_expressions(pool: RendererPool, text: str, value: object) -> None:
    assert await value_of(pool, text) == value


@pytest.mark.parametrize("text", ["${unset}", "${unset^^}", "${#unset}", "x${unset/a/b}"])
async def test_strict_needs_a_value_or_a_default(pool: RendererPool, text: str) -> None:
    with pytest.raises(RenderError) as caught:
        await value_of(pool, text)
    assert caught.value.kind == "substitution"
    assert caught.value.message.startswith(
        "post build failed for 'Thing.v1.example.com/t': envsubst error: variable substitution failed: "
        'variable not set (strict mode): "unset"'
    )
    expression = text.removeprefix("x")
    assert caught.value.message.endswith(f"(spec.x: {expression})")


@pytest.mark.parametrize("operator", ["=d", ":=d", ":-d", ":+d", ":?d"])
async def test_a_default_is_enough_for_strict(pool: RendererPool, operator: str) -> None:
    assert await value_of(pool, f"${{unset{operator}}}", {"v": "x"}) == "d"


OPERATORS = ["^", "^^", ",", ",,", ":1", ":1:1", "#a", "##a", "%a", "%%a", "/a/b", "//a/b", "/#a/b", "/%a/b"]


@pytest.mark.parametrize("operator", OPERATORS)
async def test_every_other_operator_needs_a_value(pool: RendererPool, operator: str) -> None:
    with pytest.raises(RenderError, match='variable not set \\(strict mode\\): "unset"'):
        await value_of(pool, f"'${{unset{operator}}}'")
    assert await value_of(pool, f"'a${{unset{operator}}}'", strict=False) == "a"


async def test_not_strict_means_empty(pool: RendererPool) -> None:
    assert await value_of(pool, "a${unset}b", strict=False) == "ab"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${v", "missing closing brace"),
        ("${v+x}", "missing closing brace"),
        ("${}", "unable to parse variable name"),
        ("${v:?x y", "unable to parse substitution within function"),
        ("${v?x}", "missing closing brace"),
        ("${v-x}", "missing closing brace"),
        ("${ v}", "unable to parse variable name"),
        ("${v/e}", "bad substitution"),
        ("${v:0:-1}", "unable to take a substring of negative length"),
    ],
)
async def test_what_does_not_parse_is_shown_where_it_is(pool: RendererPool, text: str, message: str) -> None:
    with pytest.raises(RenderError, match=message) as caught:
        await value_of(pool, f"'{text}'")
    assert caught.value.kind == "substitution"
    assert "(spec.x: ${" in caught.value.message


async def test_an_expression_in_a_list_is_found(build: Build) -> None:
    manifest = configmap("a", '{k: "${ok:=1}"}') + "list: [{name: ok}, {name: 'x-${gone}'}]\n"
    with pytest.raises(RenderError, match=r"\(list\[1\]\.name: \$\{gone\}\)"):
        await build({"a.yaml": manifest}, substitution=Substitution(vars={"a": "b"}))


async def test_without_variables_nothing_is_touched_unless_always(pool: RendererPool) -> None:
    assert await value_of(pool, "${x:=1}", {}) == "${x:=1}"
    assert await value_of(pool, "${x:=1}", {}, always=True) == 1


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_objects_may_opt_out(build: Build, field: str) -> None:
    key = "kustomize.toolkit.fluxcd.io/substitute"
    files = {
        "a.yaml": configmap("a", '{k: "${v}"}', f"  {field}: {{{key}: disabled}}\n"),
        "b.yaml": configmap("b", '{k: "${v}"}', f"  {field}: {{{key}: Disabled}}\n"),
    }
    a, b = await build(files, substitution=Substitution(vars={"v": "x"}))
    assert (a["data"]["k"], b["data"]["k"]) == ("${v}", "x")


@pytest.mark.parametrize("name", ["a-b", "1a", "a.b", "", "é", "a b"])
async def test_names_are_checked(pool: RendererPool, name: str) -> None:
    with pytest.raises(RenderError) as caught:
        await value_of(pool, "1", {name: "x"})
    assert caught.value.kind == "substitution"
    assert caught.value.message == (
        "post build failed for 'Thing.v1.example.com/t': envsubst error: "
        f"'{name}' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"
    )


async def test_a_wrong_name_does_no_harm_where_nothing_is_substituted(build: Build) -> None:
    metadata = "  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\n"
    files = {"a.yaml": configmap("a", '{k: "${v}"}', metadata)}
    (found,) = await build(files, substitution=Substitution(vars={"a-b": "x"}))
    assert found["data"] == {"k": "${v}"}


async def test_names_and_keys_are_substituted_too(build: Build) -> None:
    files = {"a.yaml": configmap("'app-${v}'", '{"${v}": 1}')}
    (found,) = await build(files, substitution=Substitution(vars={"v": "x"}))
    assert found["metadata"]["name"] == "app-x"
    assert found["data"] == {"x": 1}


async def test_an_object_that_loses_its_name_is_an_error_not_a_silent_loss(build: Build) -> None:
    files = {"a.yaml": configmap("'${v}'")}
    with pytest.raises(RenderError) as caught:
        await build(files, substitution=Substitution(vars={"v": ""}))
    assert caught.value.kind == "invalid-object"


async def test_common_metadata_is_not_substituted(build: Build) -> None:
    (found,) = await build(
        {"a.yaml": configmap("a")}, common_labels={"l": "${v}"}, substitution=Substitution(vars={"v": "x"})
    )
    assert found["metadata"]["labels"] == {"l": "${v}"}


async def test_two_objects_that_become_one_are_an_error(build: Build) -> None:
    files = {"a.yaml": configmap("app"), "b.yaml": configmap("'${v}'")}
    with pytest.raises(RenderError) as caught:
        await build(files, substitution=Substitution(vars={"v": "app"}))
    assert caught.value.kind == "substitution"
    assert "ConfigMap" in caught.value.message


async def test_large_integers_keep_all_their_digits(build: Build) -> None:
    big = 2**53 + 1
    manifest = (
        f"apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: t}}\nspec:\n  own: {big}\n  given: ${{big}}\n"
    )
    (found,) = await build({"t.yaml": manifest}, substitution=Substitution(vars={"big": str(big)}))
    assert found["spec"] == {"own": big, "given": big}


async def test_values_that_grow_without_bound_name_the_object(binary: Path) -> None:
    pool = RendererPool(size=1, binary=binary, limits=Limits(output=10_000))
    await pool.start()
    try:
        with pytest.raises(RenderError) as caught:
            await value_of(pool, "${v}" * 20, {"v": "x" * 1000})
        assert caught.value.kind == "limit"
        assert caught.value.message.startswith("post build failed for 'Thing.v1.example.com/t': ")
        assert "its variables put more than 10000 bytes into it (spec.x: ${v}${v}" in caught.value.message
        assert await value_of(pool, "${v}" * 5, {"v": "x" * 1000}) == "x" * 5000
    finally:
        await pool.stop()


@pytest.mark.parametrize(
    "text",
    ["'" + "${a:-" * 1_000_000 + "}" * 1_000_000 + "'", "'${v//x/" + "y" * 100_000 + "}'"],
    ids=["nested without end", "replaced by more"],
)
async def test_a_bomb_is_defused(pool: RendererPool, text: str) -> None:
    with pytest.raises(RenderError, match="the build needs more than the 536870912 bytes of memory allowed"):
        await value_of(pool, text, {"v": "x" * 100_000})
    assert await value_of(pool, "${v}") == "hello"


async def test_a_value_that_is_yaml_of_its_own_cannot_explode(build: Build) -> None:
    levels = ["&l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"&l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    files = {"a.yaml": configmap("a", "${v}")}
    with pytest.raises(RenderError, match=r"post build failed for 'ConfigMap.*/a': .*excessive aliasing"):
        await build(files, substitution=Substitution(vars={"v": f"[{', '.join(levels)}]"}))
