"""Programs are taken from where the ecosystem puts them, else built once into the cache."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from testbed.binaries import CRD_SOURCES, BuildError, CrdSource, Module, built, crd_files, ensure


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def module(tmp_path: Path) -> Module:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "go.mod").write_text("module example.com/small\n\ngo 1.26\n")
    (folder / "main.go").write_text("package main\n\nfunc main() {}\n")
    return Module(folder, {"tiny": "example.com/small"}, usual="1 s")


def test_assets_of_the_ecosystem_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "etcd"
    given.write_text("#!/bin/sh\n")
    given.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    found = ensure("etcd", "kube-controller-manager")
    assert found["etcd"] == given
    # envtest has no controller manager in its folder; that one comes from the cache.
    assert found["kube-controller-manager"].parent != tmp_path


def test_an_unknown_program_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown program etdc; known: etcd"):
        ensure("etdc")


def test_many_ask_and_one_builds(cache: Path, module: Module) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        entries = set(pool.map(lambda _: built(module, said.append), range(4)))
    (entry,) = entries
    assert (entry / "tiny").stat().st_mode & 0o111
    assert [line for line in said if line.endswith(": built")] == ["tiny: built"]


def test_what_decides_the_content_decides_the_entry(cache: Path, module: Module) -> None:
    first = built(module)
    (module.path / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    second = built(module)
    assert first != second
    assert first.exists()


def test_a_failed_build_says_why_and_leaves_nothing(cache: Path, module: Module) -> None:
    (module.path / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    with pytest.raises(BuildError, match="undefined: undefined"):
        built(module)
    assert list((cache / "bin").iterdir()) == []


@pytest.mark.parametrize("source", CRD_SOURCES)
def test_definitions_are_nothing_but_definitions(source: CrdSource) -> None:
    documents = [
        document
        for path in crd_files(source)
        for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
        if document
    ]
    assert {document["kind"] for document in documents} == {"CustomResourceDefinition"}
