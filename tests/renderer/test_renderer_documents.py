"""YAML texts as JSON documents, read as Kubernetes reads YAML."""

import json

import pytest

from agent.adapters.renderer import RendererPool, RenderError


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("", []),
        ("# nothing\n---\n---\n", []),
        ("a: 1\n", [{"a": 1}]),
        ("a: 1\n---\nb: [x, yes, '1', 1.5, null]\n", [{"a": 1}, {"b": ["x", True, "1", 1.5, None]}]),
        ("---\na: 1\n--- \nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
        ("a: |\n  ---\n  text\n", [{"a": "---\ntext\n"}]),
        ("--- # comment\na: 1\n--- {b: 2}\n", [{"a": 1}, {"b": 2}]),
        ("%YAML 1.1\n---\na: 1\n", [{"a": 1}]),
        ("a: 1\n...\n", [{"a": 1}]),
        ("a: 1\r\n---\r\nb: 2\r\n", [{"a": 1}, {"b": 2}]),
        ('{"a": 9007199254740993}', [{"a": 9007199254740993}]),
        ("- 1\n- 2\n", [[1, 2]]),
        ("1: x\ntrue: z\n", [{"1": "x", "true": "z"}]),
        ("---x\n", ["---x"]),
    ],
)
async def test_documents(pool: RendererPool, text: str, documents: list[object]) -> None:
    assert [json.loads(d) for d in await pool.documents(text.encode())] == documents


@pytest.mark.parametrize(("text", "which"), [("a: [", 1), ("a: 1\n---\nb: {\n", 2), ("a: &x [*x]\n", 1)])
async def test_what_is_no_yaml(pool: RendererPool, text: str, which: int) -> None:
    with pytest.raises(RenderError, match=f"^document {which}: ") as caught:
        await pool.documents(text.encode())
    assert caught.value.kind == "decode"


async def test_aliases_that_explode(pool: RendererPool) -> None:
    text = "l0: &l0 [x, x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(RenderError):
        await pool.documents(text.encode())
