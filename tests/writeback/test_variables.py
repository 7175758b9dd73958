"""A reference that is made of variables: put back where the variable stands, if that is in the same repository."""

from collections.abc import Mapping

import pytest

from agent.controllers.writeback.locating import Moved, Unlocatable
from agent.controllers.writeback.variables import Origin
from agent.core.objects import ObjectKey
from tests.writeback.writeback_repository import BAD, GOOD, Rollback, deployment, kustomization

OLD, NEW = "1" * 40, "2" * 40
SERVED = deployment("hf://acme/chat@${revision}")
CHILD = """\
# The chat model, by revision.
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: chat, namespace: flux-system}
spec:
  interval: 1m
  prune: true
  path: ./apps
  sourceRef: {kind: GitRepository, name: apps}
  postBuild:
    substitute:
      revision: "REVISION"   # evaluated in June
"""
SPEC = ObjectKey("kustomize.toolkit.fluxcd.io", "Kustomization", "flux-system", "chat")
SETTINGS = ObjectKey("", "ConfigMap", "flux-system", "settings")
GENERATOR = """\
namespace: flux-system
configMapGenerator:
  - name: settings
    literals: [region=eu, revision=REVISION]
generatorOptions: {disableNameSuffixHash: true}
"""


def origin(key: ObjectKey, **changes: object) -> Origin:
    given = {"applied_by": kustomization("cluster", "./cluster"), "values": {"revision": NEW}, **changes}
    return Origin(key=key, **given)  # type: ignore[arg-type]


def in_its_own_spec(rollback: Rollback, revision: str = NEW) -> Mapping[str, str]:
    rollback.spec = {"postBuild": {"substitute": {"revision": NEW}}}
    rollback.origins = [origin(SPEC)]
    rollback.neighbours = [kustomization("cluster", "./cluster")]
    return {"cluster/chat.yaml": CHILD.replace("REVISION", revision), "apps/chat.yaml": SERVED}


def in_a_config_map(rollback: Rollback) -> Mapping[str, str]:
    rollback.spec = {"postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "settings"}]}}
    rollback.origins = [origin(SETTINGS)]
    rollback.neighbours = [kustomization("cluster", "./cluster")]
    return {"cluster/kustomization.yaml": GENERATOR.replace("REVISION", NEW), "apps/chat.yaml": SERVED}


async def test_in_the_kustomization_that_git_has(rollback: Rollback) -> None:
    rollback.git.commit(in_its_own_spec(rollback))
    written = await rollback.write(path="./apps")
    assert (written.state, written.commit) == ("committed", rollback.git.head())
    assert rollback.changed() == ["cluster/chat.yaml"]
    assert rollback.git.read("cluster/chat.yaml").decode() == CHILD.replace("REVISION", OLD)


async def test_in_a_config_map_that_git_generates(rollback: Rollback) -> None:
    rollback.git.commit(in_a_config_map(rollback))
    await rollback.write(path="./apps")
    assert rollback.changed() == ["cluster/kustomization.yaml"]
    assert rollback.git.read("cluster/kustomization.yaml").decode() == GENERATOR.replace("REVISION", OLD)


async def test_git_may_be_ahead_of_the_cluster_s_variables(rollback: Rollback) -> None:
    head = rollback.git.commit(in_its_own_spec(rollback, "3" * 40))
    with pytest.raises(Moved):
        await rollback.write(path="./apps")
    assert rollback.git.head() == head


async def test_a_variable_that_another_object_of_its_file_has_too_is_left(rollback: Rollback) -> None:
    """One edit of an anchor that two objects share would change both."""
    files = dict(in_a_config_map(rollback))
    other = "  - name: others\n    literals: [revision=REVISION]\n".replace("REVISION", NEW)
    files["cluster/kustomization.yaml"] = files["cluster/kustomization.yaml"].replace(
        "generatorO", f"{other}generatorO"
    )
    rollback.git.commit(files)
    await rollback.write(path="./apps")
    left = rollback.git.read("cluster/kustomization.yaml").decode()
    assert (left.count(OLD), left.count(NEW)) == (1, 1), "the one that the target is made of"


async def test_a_config_map_that_another_kustomization_uses_is_not_touched(rollback: Rollback) -> None:
    files = dict(in_a_config_map(rollback))
    files["other/other.yaml"] = SERVED.replace("name: chat\n", "name: other\n")
    head = rollback.git.commit(files)
    rollback.neighbours.append(kustomization("other", "./other", **rollback.spec))
    with pytest.raises(Unlocatable, match="which Kustomization flux-system/other uses as well"):
        await rollback.write(path="./apps")
    assert rollback.git.head() == head


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (
            "which Kustomization fleet/cluster applies from GitRepository fleet/cluster",
            (
                f"{BAD} comes from the variable revision of ConfigMap flux-system/settings, which Kustomization "
                f"fleet/cluster applies from GitRepository fleet/cluster: put {GOOD} back there by hand"
            ),
        ),
        ("", "no single edit of the files of Kustomization flux-system/chat"),
    ],
)
async def test_what_stands_elsewhere_is_said(rollback: Rollback, problem: str, says: str) -> None:
    rollback.spec = {"postBuild": {"substitute": {"revision": NEW}}}
    rollback.origins = [origin(SETTINGS, applied_by=None, problem=problem)]
    head = rollback.git.commit({"apps/chat.yaml": SERVED})
    with pytest.raises(Unlocatable) as refused:
        await rollback.write(path="./apps")
    assert str(refused.value).startswith(says)
    assert rollback.git.head() == head
