"""The command itself: revisions, repositories, output, exit status, and what it does without."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.plan.plan_repository import PlanRepository, deployment, dvc, kustomization, service

SHA = "a" * 40


@pytest.fixture
def three(repository: PlanRepository) -> PlanRepository:
    """Three commits, each with another model, the first with tag v1; a branch that left after the first."""
    for model in ("one", "two", "three"):
        repository.commit({"app/s.yaml": service(f"s3://bucket/{model}")})
        if model == "one":
            repository.git("tag", "-a", "v1", "-m", "first")
    repository.git("checkout", "--quiet", "-b", "topic", "v1")
    repository.commit({"x.dvc": dvc("a")})
    repository.git("checkout", "--quiet", "main")
    return repository


@pytest.mark.parametrize(
    ("arguments", "old", "new"),
    [
        ((), "two", "three"),
        (("v1",), "one", "three"),
        (("v1", "HEAD"), "one", "three"),
        (("HEAD", "v1"), "three", "one"),
        (("v1..HEAD~1",), "one", "two"),
        (("HEAD~1..",), "two", "three"),
        (("topic...main",), "one", "three"),
        (("v1^{tree}", "main^{tree}"), "one", "three"),
        (("main~2", "HEAD^{/chan}"), "one", "three"),
        (("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "v1"), None, "one"),
    ],
)
def test_revisions_are_what_git_takes_them_for(
    three: PlanRepository, arguments: tuple[str, ...], old: str | None, new: str
) -> None:
    (record,) = [change for change in three.plan(*arguments).changes if change["kind"] == "model"]
    assert record["old"] == old or record["old"]["canonical"] == f"s3://bucket/{old}"
    assert record["new"]["canonical"] == f"s3://bucket/{new}"


@pytest.mark.parametrize("revision", ["HEAD", "v1", "HEAD~1"])
def test_a_revision_and_itself_have_no_changes(three: PlanRepository, revision: str) -> None:
    output = three.plan(revision, revision, "--fail-on=changes,errors")
    assert (output.status, output.document) == (0, {"changes": [], "errors": []})


def test_the_first_commit_adds_everything(repository: PlanRepository) -> None:
    repository.commit({"app/s.yaml": service("s3://b/m"), "x.dvc": dvc("a")})
    output = repository.plan()
    assert {(change["kind"], change["op"]) for change in output.changes} == {("model", "added"), ("data", "added")}
    assert output.changes[0]["commit"]["old"] == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize(
    "arguments", [("nope",), ("HEAD", "nope"), ("nope..HEAD",), ("HEAD:README",), ("",), ("HEAD", ""), ("HEAD~99",)]
)
def test_an_unknown_revision_is_one_line_and_a_failure(three: PlanRepository, arguments: tuple[str, ...]) -> None:
    output = three.plan(*arguments)
    assert (output.status, output.out) == (1, "")
    assert output.err.startswith("weir plan: unknown revision")
    assert output.err.count("\n") == 1


def test_no_repository_is_one_line_and_a_failure(repository: PlanRepository, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", Path("/proc")):
        output = repository.plan(where=place)
        assert (output.status, output.out) == (1, "")
        assert output.err.count("\n") == 1
        assert "repository" in output.err


def test_a_repository_with_sha_256_names_is_refused_in_one_line(repository: PlanRepository, tmp_path: Path) -> None:
    repository.git("init", "--quiet", "--object-format=sha256", str(tmp_path / "other"))
    output = repository.plan(where=tmp_path / "other")
    assert (output.status, output.out, output.err.count("\n")) == (1, "", 1)
    assert "unknown object format 'sha256'" in output.err


def test_a_repository_without_commits_is_one_line_and_a_failure(repository: PlanRepository) -> None:
    output = repository.plan()
    assert (output.status, output.out, output.err) == (1, "", "weir plan: unknown revision 'HEAD'\n")


def test_no_work_tree_is_needed(three: PlanRepository, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    three.git("clone", "--quiet", "--bare", str(three.folder), str(bare))
    assert three.plan(where=bare).out == three.plan().out


def test_the_work_tree_is_not_looked_at(three: PlanRepository) -> None:
    before = three.plan().out
    three.write({"app/s.yaml": "nonsense: [", "app/kustomization.yaml": kustomization("nothing.yaml")})
    three.git("add", "app/kustomization.yaml")
    assert three.plan(where=three.folder / "app").out == before


def test_a_shallow_clone_says_what_it_lacks(three: PlanRepository, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    three.git("clone", "--quiet", "--depth=1", f"file://{three.folder}", str(shallow))
    for arguments in ((), ("HEAD~1",)):
        output = three.plan(*arguments, where=shallow)
        assert (output.status, output.out) == (1, "")
        assert "the clone is shallow: fetch more history" in output.err
    assert three.plan("HEAD", "HEAD", where=shallow).status == 0


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ("changes", 3), ("model", 3), ("rollout", 3), ("changed", 3), ("unpinned", 3), ("errors,model", 3),
        ("errors", 0), ("data", 0), ("gate", 0), ("removed,added", 0),
    ],
)  # fmt: skip
def test_findings_become_an_exit_status_on_demand(three: PlanRepository, conditions: str, status: int) -> None:
    output = three.plan(f"--fail-on={conditions}")
    assert output.status == status
    assert len(output.changes) == 1
    assert ("--fail-on" in output.err) == (status == 3)


def test_a_pinned_reference_that_floats_now_fails_the_gate(repository: PlanRepository) -> None:
    repository.history({"s.yaml": service(f"hf://org/m:{SHA}")}, {"s.yaml": service("hf://org/m:main")})
    output = repository.plan("--fail-on=gate")
    assert output.status == 3
    assert output.the("model")["action"] == "gate"


def test_unreadable_files_fail_on_demand(repository: PlanRepository) -> None:
    repository.history({"x.dvc": dvc("a")}, {"x.dvc": "outs: ["})
    assert repository.plan().status == 0
    assert repository.plan("--fail-on=errors").status == 3


@pytest.mark.parametrize("arguments", [("--fail-on=nonsense",), ("--fail-on=",), ("a", "b", "c"), ("-o", "xml")])
def test_wrong_usage_is_told_by_its_own_status(three: PlanRepository, arguments: tuple[str, ...]) -> None:
    output = three.plan(*arguments) if arguments[0] != "-o" else three.plan(output="xml")
    assert (output.status, output.out) == (2, "")


def test_text_reads_like_a_diff(repository: PlanRepository) -> None:
    repository.history(
        {"app/d.yaml": deployment("vllm", "serve", "org/one"), "x.dvc": dvc("a")},
        {
            "app/d.yaml": deployment("vllm", "serve", "org/two", "--revision", SHA),
            "x.dvc": dvc("b"),
            "y.dvc": "outs: [",
        },
    )
    output = repository.plan(output="text")
    old, new = (repository.git("rev-parse", "--short=10", name) for name in ("HEAD~1", "HEAD"))
    assert output.out == (
        f"{old}..{new}  1 model changed, 1 data reference changed\n"
        "To be expected: 1 rollout, 1 job, 1 alert\n"
        "\n"
        "  Deployment ml/chat  app/d.yaml\n"
        "    ~ model container[vllm].model  rollout  line 13\n"
        "        - hf://org/one@main\n"
        "        + hf://org/two@aaaaaaaaaaaa…\n"
        "        other model content\n"
        "\n"
        "Files\n"
        "\n"
        "  x.dvc\n"
        "    ~ data out[train.csv]  job  line 5\n"
        "        - dvc:md5:aaaaaaaaaaaa…\n"
        "        + dvc:md5:bbbbbbbbbbbb…\n"
        "        other data: retrain or re-evaluate, do not roll out\n"
        "\n"
        "  y.dvc\n"
        "    ! data parse[file]\n"
        "        y.dvc is not YAML (ParserError)\n"
        "\n"
        "Could not be read (nothing is known about what is in there):\n"
        "  ! y.dvc: is not YAML (ParserError)\n"
    )


def test_markdown_is_a_comment_for_a_merge_request(three: PlanRepository) -> None:
    lines = three.plan(output="markdown").out.splitlines()
    assert lines[0] == "<!-- weir-plan -->"
    assert lines[1] == "### Weir plan: 1 model changed"
    assert "**1 rollout**" in lines[3]
    assert "| changed | `InferenceService ml/sentiment`<br>`app/s.yaml:7` |" in lines[7]


def test_markdown_stays_below_what_a_comment_may_hold(repository: PlanRepository) -> None:
    repository.history({"x": ""}, {f"data/{i:04}.dvc": dvc("a", f"{i}" * 40) for i in range(1000, 1400)})
    output = repository.plan(output="markdown").out
    assert 50_000 < len(output) < 65_000
    assert "more lines: run `weir plan` to see all." in output
    assert len(repository.plan().changes) == 400


def test_a_process_of_its_own_needs_neither_cluster_nor_network(three: PlanRepository, tmp_path: Path) -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from agent.cli import main\n"
        f"status = main(['plan', '--repo', {str(three.folder)!r}, '-o', 'json'])\n"
        "wrong = {'kubernetes_asyncio', 'prometheus_client', 'aiohttp', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(f'imported {wrong}' if wrong else status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(json.loads(done.stdout)["changes"]) == 1


def test_a_reader_that_has_seen_enough_is_no_error(repository: PlanRepository) -> None:
    repository.history({"x": ""}, {f"data/{i:04}.dvc": dvc("a", f"{i}" * 40) for i in range(300)})
    command = f"{sys.executable} -m agent.cli plan --repo {repository.folder} -o json"
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {command} | head -c 10"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_recipes_of_the_documentation_are_yaml_and_use_options_that_exist(three: PlanRepository) -> None:
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()
    recipes = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(recipes) == 3
    for recipe in recipes:
        text = json.dumps(yaml.safe_load(recipe))
        options = set(re.findall(r" (--(?:output|fail-on|repo)) ", text))
        assert {"--output", "--fail-on"} <= options
    conditions = set(re.findall(r"(?:--fail-on |default: )(gate\S*)", page))
    assert conditions == {"gate,errors"}
    assert three.plan("--fail-on", "gate,errors").status == 0
