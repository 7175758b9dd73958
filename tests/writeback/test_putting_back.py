"""Where a rejected reference stands in Git, and what is left alone when that cannot be told."""

import pytest

from agent.controllers.writeback.locating import Moved, Unlocatable
from agent.core.objects import ObjectKey
from tests.writeback.writeback_repository import (
    BAD,
    GOOD,
    Rollback,
    deployment,
    kustomization,
    rejected,
    rejected_image,
)

SERVER_OLD, SERVER_NEW = "acme/server:1.10", "acme/server:v2"


async def test_in_the_object_itself(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD), "README.md": f"we moved to {BAD}\n"})
    written = await rollback.write()
    assert (written.state, written.commit) == ("committed", rollback.git.head())
    assert rollback.git.read("chat.yaml").decode() == deployment(GOOD)
    assert rollback.changed() == ["chat.yaml"]


async def test_in_an_entry_of_images_with_the_quotes_that_a_number_needs(rollback: Rollback) -> None:
    text = "resources: [chat.yaml]   # one\nimages:\n  - name: server\n    newName: acme/server\n    newTag: {} # bot\n"
    rollback.git.commit({"kustomization.yaml": text.format("v2"), "chat.yaml": deployment(GOOD, "server")})
    await rollback.write(rejected_image(SERVER_NEW, SERVER_OLD))
    assert rollback.git.read("kustomization.yaml").decode() == text.format('"1.10"')
    assert rollback.changed() == ["kustomization.yaml"]


async def test_in_a_patch_over_a_base(rollback: Rollback) -> None:
    patch = "- op: replace\n  path: /spec/template/spec/containers/0/args/0\n  value: --model={}  # v\n"
    files = {
        "base/kustomization.yaml": "resources: [chat.yaml]\n",
        "base/chat.yaml": deployment("hf://acme/default@" + "0" * 40),
        "prod/kustomization.yaml": "resources: [../base]\npatches: [{path: model.yaml, target: {kind: Deployment}}]\n",
        "prod/model.yaml": patch.format(BAD),
    }
    rollback.git.commit(files)
    await rollback.write(path="./prod")
    assert rollback.git.read("prod/model.yaml").decode() == patch.format(GOOD)
    assert rollback.changed() == ["prod/model.yaml"]


async def test_in_the_literals_of_a_generator(rollback: Rollback) -> None:
    head = "resources: [chat.yaml]\nnamespace: models\n"
    text = head + "configMapGenerator:\n  - name: settings\n    literals:\n      - MODEL_ID={}\n"
    env = "          env: [{name: MODEL_ID, valueFrom: {configMapKeyRef: {name: settings, key: MODEL_ID}}}]\n"
    served = deployment("", "vllm/vllm-openai:v1").replace(
        '          args: ["--model="]   # asked for by the search team\n', env
    )
    rollback.git.commit({"kustomization.yaml": text.format("acme/two"), "chat.yaml": served})
    entry = rejected("acme/two", "acme/one", digest="hf://acme/two@main", restore_digest="hf://acme/one@main")
    await rollback.write(entry)
    assert rollback.git.read("kustomization.yaml").decode() == text.format("acme/one")


KNATIVE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: chat, namespace: models}
spec:
  template:
    spec:
      containers:
        - image: acme/server:v1   # Knative names it
          args: [--model=REFERENCE]
"""


async def test_in_a_knative_service_whose_container_has_its_name_from_knative(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": KNATIVE.replace("REFERENCE", BAD)})
    target = ObjectKey("serving.knative.dev", "Service", "models", "chat")
    written = await rollback.write(rejected(slot="container[user-container].model"), target=target)
    assert written.state == "committed"
    assert rollback.git.read("chat.yaml").decode() == KNATIVE.replace("REFERENCE", GOOD)


async def test_a_model_and_an_image_go_back_together(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD, SERVER_NEW)})
    await rollback.write(rejected(), rejected_image(SERVER_NEW, SERVER_OLD))
    assert rollback.git.read("chat.yaml").decode() == deployment(GOOD, SERVER_OLD)
    assert rollback.commit().message.startswith("Put back 2 references on chat\n")


async def test_what_else_the_rejected_commit_did_stays(rollback: Rollback) -> None:
    more = "          resources: {limits: {memory: 2Gi}}\n"
    rollback.git.commit({"chat.yaml": deployment(BAD) + more})
    await rollback.write()
    assert rollback.git.read("chat.yaml").decode() == deployment(GOOD) + more


async def test_one_that_moved_on_is_left(rollback: Rollback) -> None:
    newer = "hf://acme/chat@" + "3" * 40
    head = rollback.git.commit({"chat.yaml": deployment(newer)})
    with pytest.raises(Moved):
        await rollback.write()
    assert rollback.git.head() == head


OTHER = deployment(BAD).replace("name: chat\n", "name: other\n")


@pytest.mark.parametrize(
    ("files", "entry", "says"),
    [
        ({"chat.yaml": deployment(BAD), "b.yaml": OTHER}, rejected(), ""),
        ({"other.yaml": OTHER}, rejected(), "does not make Deployment chat"),
        ({"chat.yaml": deployment(BAD)}, rejected(good=""), "was empty before"),
        ({"chat.yaml": deployment(BAD)}, rejected(restore_digest="hf://acme/another"), "no single edit"),
        ({"chat.yaml": deployment(BAD) + f"# {BAD}\n" * 30}, rejected(), "in many places"),
    ],
    ids=["of-two-objects-one", "target-is-gone", "nothing-before", "no-edit-does-it", "many-places"],
)  # fmt: skip
async def test_nothing_is_written_without_certainty(
    rollback: Rollback, files: dict[str, str], entry: object, says: str
) -> None:
    head = rollback.git.commit(files)
    if not says:
        await rollback.write(entry)
        assert rollback.changed() == ["chat.yaml"]
        return
    with pytest.raises(Unlocatable, match=says):
        await rollback.write(entry)
    assert rollback.git.head() == head


async def test_a_reference_that_brings_fields_of_its_own_is_not_put_in(rollback: Rollback) -> None:
    """Whoever may change the Canary's annotations does not get to write manifests."""
    head = rollback.git.commit({"chat.yaml": deployment(BAD)})
    smuggled = f'{GOOD}"]\n          securityContext: {{privileged: true}} #'
    with pytest.raises(Unlocatable, match="no single edit"):
        await rollback.write(rejected(good=smuggled, restore_digest=GOOD))
    assert rollback.git.head() == head


SHARED = """\
apiVersion: v1
kind: List
items:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: chat, namespace: models}
    spec: {template: {spec: {containers: [{name: server, image: a, args: &args ["--model=REFERENCE"]}]}}}
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: other, namespace: models}
    spec: {template: {spec: {containers: [{name: server, image: a, args: *args}]}}}
"""


async def test_an_anchor_that_another_object_uses_is_not_touched(rollback: Rollback) -> None:
    head = rollback.git.commit({"all.yaml": SHARED.replace("REFERENCE", BAD)})
    with pytest.raises(Unlocatable, match="no single edit"):
        await rollback.write()
    assert rollback.git.head() == head


async def test_a_base_that_others_build_from_is_not_touched(rollback: Rollback) -> None:
    files = {
        "base/kustomization.yaml": "resources: [chat.yaml]\n",
        "base/chat.yaml": deployment(BAD),
        "prod/kustomization.yaml": "resources: [../base]\n",
        "staging/kustomization.yaml": "resources: [../base]\nnameSuffix: -staging\n",
    }
    head = rollback.git.commit(files)
    rollback.neighbours = [kustomization("staging", "./staging")]
    with pytest.raises(Unlocatable, match=r"base/chat\.yaml, which Kustomization flux-system/staging uses as well"):
        await rollback.write(path="./prod")
    assert rollback.git.head() == head
    rollback.neighbours = [kustomization("other", "./other")]
    await rollback.write(path="./prod")
    assert rollback.git.read("base/chat.yaml").decode() == deployment(GOOD)
