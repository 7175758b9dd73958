"""Plays the steps of a Dockerfile in ordinary folders, as far as that goes without containers.

Each stage gets a folder. COPY copies into it, RUN runs the command with bash, and paths that the image would have at
its root are rewritten to lie in the folder. What the base images bring is played by this machine: Go by the toolchain
of the tests, Python by a fresh virtual environment. USER, EXPOSE and the like are only remembered, and so is a RUN that
would change the system itself: packages and accounts of this machine are not the image's.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTIONS = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}

SYSTEM = re.compile(r"(?<![\w/.-])(?:apt-get|apt|dpkg|apk|dnf|yum|useradd|adduser|groupadd|addgroup|chown)(?![\w.-])")

Instruction = tuple[str, str]


class ReplayError(Exception):
    """A step failed; the text has the step and the end of its output."""


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile: continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            if name not in INSTRUCTIONS:
                raise ReplayError(f"{name} is not known here")
            yield name, rest.strip()


@dataclass
class Stage:
    """One stage: the image that it starts from, its folder, and what its instructions have set."""

    image: str
    name: str
    root: Path
    env: dict[str, str]
    workdir: str = "/"
    remembered: dict[str, str] = field(default_factory=dict)


@dataclass
class Replay:
    """`context` is the build context, `scratch` an empty folder, `goroot` the Go installation to play golang's with.

    `env` is the environment that all commands get; it has to hold PATH and HOME. `fixed` are variables that no
    instruction may change, for caches of this machine.
    """

    context: Path
    scratch: Path
    goroot: Path
    env: dict[str, str]
    fixed: dict[str, str] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)

    def run(self, text: str) -> list[Stage]:
        """Play all instructions. Raises ReplayError."""
        for name, rest in instructions(text):
            getattr(self, f"_{name.lower()}", self._remember(name))(rest)
        return self.stages

    def place(self, stage: Stage, path: str) -> Path:
        """Where a path of the stage's image lies on this machine."""
        absolute = path if path.startswith("/") else f"{stage.workdir.rstrip('/')}/{path}"
        if absolute == "/usr/local/go" or absolute.startswith("/usr/local/go/"):
            return self.goroot / absolute.removeprefix("/usr/local/go").lstrip("/")
        return stage.root / os.path.normpath(absolute).lstrip("/")

    def rewrite(self, stage: Stage, text: str) -> str:
        """A command with the image's paths replaced by ours."""
        return re.sub(
            r"(?<![\w./@:-])/(?:usr/local/go|opt/weir|src|out|wheels|go)(?![\w.-])",
            lambda match: str(self.place(stage, match.group())),
            text,
        )

    def _arg(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.arguments[name] = value

    def _from(self, rest: str) -> None:
        image, *alias = re.split(r"\s+AS\s+", rest)
        name = alias[0] if alias else str(len(self.stages))
        image = re.sub(r"\$\{(\w+)\}", lambda match: self.arguments[match[1]], image)
        root = self.scratch / name
        root.mkdir(parents=True)
        stage = Stage(image, name, root, dict(self.env))
        if image.startswith("golang:"):
            stage.env["PATH"] = f"{self.goroot / 'bin'}:{stage.env['PATH']}"
        else:
            subprocess.run([sys.executable, "-m", "venv", root / "python"], check=True, timeout=300)
            stage.env["PATH"] = f"{root / 'python/bin'}:{stage.env['PATH']}"
        self.stages.append(stage)

    def _env(self, rest: str) -> None:
        stage = self.stages[-1]
        for assignment in shlex.split(rest):
            name, _, value = assignment.partition("=")
            value = re.sub(r"\$\{(\w+)\}", lambda match: stage.env.get(match[1], ""), self.rewrite(stage, value))
            stage.env[name] = value

    def _workdir(self, rest: str) -> None:
        self.stages[-1].workdir = rest

    def _copy(self, rest: str) -> None:
        stage, words = self.stages[-1], rest.split()
        origin: Stage | None = None
        if words[0].startswith("--from="):
            wanted = words.pop(0).removeprefix("--from=")
            origin = next(other for other in self.stages if other.name == wanted)
        *sources, target = words
        into = len(sources) > 1 or target.endswith("/")
        for source in sources:
            path = self.place(origin, source) if origin else self.context / source
            goal = self.place(stage, target)
            if path == goal:  # what a base image brings is the same on both sides
                continue
            if path.is_dir():
                shutil.copytree(path, goal, symlinks=True, dirs_exist_ok=True)
            else:
                goal = goal / path.name if into else goal
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, goal)

    def _run(self, rest: str) -> None:
        stage = self.stages[-1]
        if SYSTEM.search(rest):
            stage.remembered["RUN"] = f"{stage.remembered.get('RUN', '')}{rest}\n"
            return
        folder = self.place(stage, stage.workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (stage.root / "out").mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-euc", self.rewrite(stage, rest)],
            cwd=folder,
            env=stage.env | self.fixed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise ReplayError(f"RUN {rest}\n" + "\n".join(done.stdout.splitlines()[-30:]))

    def _remember(self, name: str):
        def keep(rest: str) -> None:
            self.stages[-1].remembered[name] = rest

        return keep


def ignored(rules: list[str], path: str) -> bool:
    """Whether a .dockerignore leaves a file out: the last rule that matches the file or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    result = False
    for rule in rules:
        pattern = re.escape(rule.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, name) for name in above):
            result = not rule.startswith("!")
    return result
