"""A new revision that says the same in other words: when it is one, and that nothing else hides behind it."""

import copy
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.core.models import ChangeRecord, Commit, Ref, RenderedSet, changes
from agent.core.models.extract.declared import slug
from agent.core.models.meanings import Known, Meanings, Pods, meanings
from agent.core.models.ref import Digest, Identity
from agent.core.objects import ObjectKey
from agent.core.rollout import rewording
from agent.core.rollout.knative import Revisions, before_and_after
from agent.core.rollout.rewording import WORDS, reworded

OLD, NEW = "1" * 40, "2" * 40
SLOT = "container[server].model"
TAG, PIN = "registry.example/chat:v3", "registry.example/chat@sha256:" + "3" * 64
ADAPTER = '{"base_model_name":"%s","name":"sql","path":"%s"}'
CARD = {
    (SLOT, f"hf://acme/chat@{OLD}"): ("loaded", "a", OLD),
    (SLOT, f"hf://acme/chat@{NEW}"): ("loaded", "a", NEW),
    (SLOT, "hf://acme/chat@main"): ("loaded", "a", OLD),
}
"""Two commits of which only the card differs, and the branch that means the first of them."""
IMAGE = {
    ("volume[model]", f"oci://{TAG}"): ("manifest", "3" * 64, "b"),
    ("volume[model]", f"oci://{PIN}"): ("manifest", "3" * 64, "b"),
}


def known(told: dict[tuple[str, str], tuple[str, str, str]]) -> Known:
    return Known(
        {
            place: Ref(
                place[1], "any", place[1], True, Identity(revision=revision), Digest("sha256", value, scope, "sha256")
            )
            for place, (scope, value, revision) in told.items()
        }
    )


def deployment(*args: str, image: str = "vllm/vllm-openai:v0.9", volumes: list | None = None, **container: Any) -> dict:
    pod = {
        "containers": [{"name": "server", "image": image, "args": list(args), **container}],
        "volumes": volumes or [],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "models"},
        "spec": {"template": {"metadata": {"labels": {"app": "chat"}}, "spec": pod}},
    }


def config(text: str) -> dict:
    metadata = {"name": "settings", "namespace": "models"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": text}}


def volume(reference: str, **fields: str) -> list:
    return [{"name": "model", "image": {"reference": reference, **fields}}]


def script(text: str) -> dict:
    return deployment(command=["sh", "-c", text])


MOUNTED = {
    "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    "volumeMounts": [{"name": "settings", "mountPath": "/etc/vllm"}],
}
FROM_FILE = deployment("serve", "--config", "/etc/vllm/config.yaml", **MOUNTED)

LONG = "".join(f"key{number}: {number}\n" for number in range(2000))
PLAIN = deployment("--model=acme/chat")


def noted(obj: dict, **annotations: str) -> dict:
    found = copy.deepcopy(obj)
    found["spec"]["template"]["metadata"]["annotations"] = {
        f"weir.dev/{key}": text for key, text in annotations.items()
    }
    return found


def vouched(obj: dict) -> dict:
    annotations = {f"weir.dev/model-digest.{slug(SLOT)}": "sha256:" + "5" * 64}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


SAME = {
    "a commit that touches the card": (
        [deployment("--model=acme/chat", f"--revision={OLD}")],
        [deployment("--model=acme/chat", f"--revision={NEW}")],
        CARD,
    ),
    "a flag and its value apart": (
        [deployment("--model", "acme/chat", "--revision", OLD)],
        [deployment("--model", "acme/chat", "--revision", NEW)],
        CARD,
    ),
    "the branch's name left out": (
        [deployment("--model", "acme/chat", "--revision", "main")],
        [deployment("--model", "acme/chat")],
        {},
    ),
    "the default branch written as the commit it is": (
        [deployment("--model", "acme/chat", "--port", "80")],
        [deployment("--model", "acme/chat", "--revision", OLD, "--port", "80")],
        CARD,
    ),
    "in the words of a script": (
        [script(f"exec vllm serve acme/chat --revision {OLD} --port 80")],
        [script(f"exec vllm serve acme/chat --revision {NEW} --port 80")],
        CARD,
    ),
    "in a variable": (
        [deployment(image="ghcr.io/huggingface/text-generation-inference:3", env=[
            {"name": "MODEL_ID", "value": "acme/chat"}, {"name": "REVISION", "value": OLD}])],
        [deployment(image="ghcr.io/huggingface/text-generation-inference:3", env=[
            {"name": "MODEL_ID", "value": "acme/chat"}, {"name": "REVISION", "value": NEW}])],
        CARD,
    ),
    "in a config file": (
        [FROM_FILE, config(f"model: acme/chat\nrevision: '{OLD}'\nport: 80\n")],
        [FROM_FILE, config(f"model: acme/chat\nrevision: '{NEW}'\nport: 80\n")],
        CARD,
    ),
    "in words more at the end of a script": (
        [script("exec vllm serve acme/chat")],
        [script(f"exec vllm serve acme/chat --revision {OLD}")],
        CARD,
    ),
    "in a file that is long": (
        [FROM_FILE, config(f"model: acme/chat\n{LONG}revision: '{OLD}'\n")],
        [FROM_FILE, config(f"model: acme/chat\n{LONG}revision: '{NEW}'\n")],
        CARD,
    ),
    "an adapter in JSON": (
        [deployment("--model=acme/chat", f"--lora-modules={ADAPTER % ('a', 'acme/sql')}")],
        [deployment("--model=acme/chat", f"--lora-modules={ADAPTER % ('a', 'hf://acme/sql')}")],
        {},
    ),
    "a tag and the digest that it means": ([deployment(volumes=volume(TAG))], [deployment(volumes=volume(PIN))], IMAGE),
    "an image with its registry named": (
        [deployment("--model=acme/chat", image="vllm/vllm-openai:v0.9")],
        [deployment("--model=acme/chat", image="docker.io/vllm/vllm-openai:v0.9")],
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_the_same_in_other_words_is_no_new_revision(case: str) -> None:
    before, after, told = SAME[case]
    found = reworded(before, after, known(told))
    assert len(found) == 1, case
    assert found[0] in {SLOT, "volume[model]", "container[server].image", "container[server].adapter[sql]"}


@pytest.mark.parametrize("case", [case for case in SAME if SAME[case][2]])
def test_without_what_is_known_of_the_content_it_is_one(case: str) -> None:
    before, after, _ = SAME[case]
    assert reworded(before, after, known({})) == ()


OTHER = {
    "other content": (
        [deployment("--model=acme/chat", f"--revision={OLD}")],
        [deployment("--model=acme/chat", f"--revision={'4' * 40}")],
    ),
    "a known setting beside it": (
        [deployment("--model=acme/chat", f"--revision={OLD}", "--dtype=half")],
        [deployment("--model=acme/chat", f"--revision={NEW}", "--dtype=auto")],
    ),
    "an unknown flag beside it": (
        [deployment("--model=acme/chat", f"--revision={OLD}", "--max-num-seqs=4")],
        [deployment("--model=acme/chat", f"--revision={NEW}", "--max-num-seqs=8")],
    ),
    "an unknown flag that came with it": (
        [deployment("--model", "acme/chat")],
        [deployment("--model", "acme/chat", "--revision", OLD, "--enforce-eager")],
    ),
    "another word of the same JSON": (
        [deployment("--model=acme/chat", f"--lora-modules={ADAPTER % ('a', 'acme/sql')}")],
        [deployment("--model=acme/chat", f"--lora-modules={ADAPTER % ('b', 'hf://acme/sql')}")],
    ),
    "a word of an unknown flag that is the model's as well": (
        [deployment("--override", "docker.io/acme/a", "--model", f"acme/chat@{OLD}")],
        [deployment("--override", "acme/chat", "--model", f"acme/chat@{NEW}")],
    ),
    "an unknown flag that went with it": (
        [deployment("--model", "acme/chat", "--enforce-eager")],
        [deployment("--model", "acme/chat", f"--revision={OLD}")],
    ),
    "an unknown flag in the script": (
        [script(f"exec vllm serve acme/chat --revision {OLD} --max-num-seqs 4")],
        [script(f"exec vllm serve acme/chat --revision {NEW} --max-num-seqs 8")],
    ),
    "another command in the script": (
        [script(f"vllm serve acme/chat --revision {OLD}")],
        [script(f"sleep 1; vllm serve acme/chat --revision {NEW}")],
    ),
    "a variable beside it": (
        [deployment("--model=acme/chat", f"--revision={OLD}", env=[{"name": "A", "value": "1"}])],
        [deployment("--model=acme/chat", f"--revision={NEW}", env=[{"name": "A", "value": "2"}])],
    ),
    "a number beside it": (
        [deployment("--model=acme/chat", f"--revision={OLD}", ports=[{"containerPort": 80}])],
        [deployment("--model=acme/chat", f"--revision={NEW}", ports=[{"containerPort": 81}])],
    ),
    "another line of the config file": (
        [FROM_FILE, config(f"model: acme/chat\nrevision: '{OLD}'\nport: 80\n")],
        [FROM_FILE, config(f"model: acme/chat\nrevision: '{NEW}'\nport: 81\n")],
    ),
    "a config file that is used by nothing known": (
        [deployment("--model=acme/chat", f"--revision={OLD}"), config("a: b")],
        [deployment("--model=acme/chat", f"--revision={NEW}"), config("a: c")],
    ),
    "another server": (
        [deployment("--model=acme/chat", f"--revision={OLD}", image="vllm/vllm-openai:v0.9")],
        [deployment("--model=acme/chat", f"--revision={NEW}", image="vllm/vllm-openai:v0.10")],
    ),
    "a restart that somebody wants": (
        [deployment("--model=acme/chat")],
        [{**deployment("--model=acme/chat"), "spec": {"template": {
            **deployment("--model=acme/chat")["spec"]["template"],
            "metadata": {"labels": {"app": "chat"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}],
    ),
    "nothing but a space": (
        [deployment("--model=acme/chat", "--override=a b")],
        [deployment("--model=acme/chat", "--override=a  b")],
    ),
    "a known setting that is written in another way": (
        [deployment("--model=acme/chat", f"--revision={OLD}", "--trust-remote-code")],
        [deployment("--model=acme/chat", f"--revision={NEW}", "--trust-remote-code=true")],
    ),
    "another way to start it, no reference in other words": (
        [deployment("serve", "acme/chat")], [deployment("--model", "acme/chat")]
    ),
    "another way to start it beside other words": (
        [deployment(command=["vllm", "serve", "acme/chat", "--revision", OLD])],
        [deployment("serve", "acme/chat", "--revision", NEW)],
    ),
    "another place of what metadata vouch for, which both sides have as they are now": (
        [vouched(deployment("--model=s3://b/v1"))], [vouched(deployment("--model=s3://b/v2"))]
    ),
    "a digest that somebody vouches for, so that pods are replaced": (
        [PLAIN], [noted(PLAIN, **{f"model-digest.{slug(SLOT)}": "sha256:" + "5" * 64})]
    ),
    "another digest that somebody vouches for": (
        [noted(PLAIN, **{f"model-digest.{slug(SLOT)}": "sha256:" + "5" * 64})],
        [noted(PLAIN, **{f"model-digest.{slug(SLOT)}": "sha256:" + "6" * 64})],
    ),
    "no difference at all": ([deployment("--model=acme/chat")], [deployment("--model=acme/chat")]),
    "more words than anybody looks at": (
        [deployment("--model=acme/chat", f"--revision={OLD}", *(f"--a{n}=1" for n in range(WORDS)))],
        [deployment("--model=acme/chat", f"--revision={NEW}", *(f"--a{n}=2" for n in range(WORDS)))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER)
def test_whatever_else_differs_makes_it_a_new_revision(case: str) -> None:
    before, after = OTHER[case]
    assert reworded(before, after, known({**CARD, **IMAGE})) == (), case


@pytest.mark.parametrize(
    ("note", "same"),
    [({}, True), ({"autoscaling.knative.dev/max-scale": "5"}, False), ({"serving.knative.dev/creator": "jane"}, True)],
)
def test_revisions_of_knative_differ_in_how_they_are_scaled_too(note: dict[str, str], same: bool) -> None:
    def revision(commit: str, **annotations: str) -> dict:
        container = {"image": "vllm/vllm-openai:v0.9", "args": ["--model=acme/chat", f"--revision={commit}"]}
        return {"metadata": {"name": commit, "annotations": annotations}, "spec": {"containers": [container]}}

    metadata = {"name": "chat", "namespace": "models"}
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata}
    sides = before_and_after(Revisions(service, revision(NEW, **note), revision(OLD)))
    assert sides is not None
    told = {("container[unnamed].model", text): meaning for (_, text), meaning in CARD.items()}
    assert bool(reworded([sides[0]], [sides[1]], known(told))) is same


@pytest.mark.parametrize("line", ["a b: {}\n", "'{}', "])
def test_long_texts_are_not_compared_word_by_word(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes the square of their length, at each look, and nothing else is done meanwhile."""
    compared = []

    def watched(junk: None, ones: list[str], others: list[str], *, autojunk: bool) -> SequenceMatcher[str]:
        compared.append(max(len(ones), len(others)))
        return SequenceMatcher(junk, ones, others, autojunk=autojunk)

    monkeypatch.setattr(rewording, "SequenceMatcher", watched)
    sides = ["".join(line.format(2 * number + odd) for number in range(5000)) for odd in (0, 1)]
    before = [deployment("--model=acme/chat", f"--revision={OLD}"), config(sides[0])]
    after = [deployment("--model=acme/chat", f"--revision={NEW}"), config(sides[1])]
    assert reworded(before, after, known(CARD)) == ()
    assert compared
    assert max(compared) <= rewording.SPAN


def test_files_are_not_read_again_and_again_for_ever() -> None:
    """Each trial reads all of them."""
    sides = [
        [FROM_FILE, config(f"model: acme/chat\nrevision: '{one}'\n#{'x' * rewording.BYTES}")] for one in (OLD, NEW)
    ]
    assert reworded(*sides, known(CARD)) == ()


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


FULL = deployment(
    "--model=acme/chat", f"--revision={NEW}", "--port=80", "--trust-remote-code",
    env=[{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    resources={"limits": {"nvidia.com/gpu": "1", "memory": "4Gi"}}, workingDir="/srv", ports=[{"containerPort": 80}],
    readinessProbe={"httpGet": {"path": "/health", "port": 80}}, volumes=volume(PIN, pullPolicy="Always"),
)  # fmt: skip
CALM = copy.deepcopy(FULL)
CALM["spec"]["template"]["spec"]["containers"][0]["args"][1] = f"--revision={OLD}"
TEMPLATE = [path for path in leaves(FULL) if path[0] == "spec" and "args" not in path]


@given(st.sampled_from(TEMPLATE), st.sampled_from(["x", "0", "é"]))
def test_an_edit_anywhere_else_is_never_hidden(place: tuple, text: str) -> None:
    after = copy.deepcopy(FULL)
    node: Any = after
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = f"{node[place[-1]]}{text}" if isinstance(node[place[-1]], str) else 1234
    assert reworded([CALM], [FULL], known(CARD)), "what is edited is found to be the same"
    assert reworded([CALM], [after], known(CARD)) == ()


PLACE = ("volume[model]", "oci://a:1")
EARLIER, LOOKED, LATER = (datetime(2026, 11, 30, hour, tzinfo=UTC) for hour in (1, 2, 3))


def told(
    value: str, *, op: Any = "changed", before: str | None = "r1", side: str = "new", pinned: Any = False
) -> ChangeRecord:
    """What was told of the tag: the digest that it means, none if *value* is empty, as looked up at LOOKED."""
    (change,) = changes(RenderedSet([deployment(volumes=volume(TAG))]), RenderedSet([deployment(volumes=volume(PIN))]))
    digest = Digest("sha256", value, "manifest", "sha256") if value else None
    tag = Ref("a:1", "oci", PLACE[1], pinned, Identity(resolved_at=LOOKED.strftime("%Y-%m-%dT%H:%M:%SZ")), digest)
    return replace(change, op=op, commit=Commit(before, "r2"), **{"old": None, "new": None, side: tag})


def said(*records: ChangeRecord, first: datetime | None = None, last: datetime | None = None) -> Meanings:
    return meanings(((record, LOOKED) for record in records), Pods(first, last))


def test_a_tag_that_has_meant_two_things_means_neither() -> None:
    assert said(told("x"), told("x")).keys() == {PLACE}
    assert said(told("x"), told("y"), told("x")) == {}
    assert said(told("x"), told("x", op="respelled", side="old"), told("y", op="floated")) == {}


@pytest.mark.parametrize(
    ("record", "since", "is_known"),
    [
        (told("x"), None, True),
        (told("x", before=None), None, False),
        (told("x", op="added"), None, False),
        (told("x", op="respelled"), None, False),
        (told("x", side="old"), None, False),
        (told("x", op="added"), LATER, True),
        (told("x", op="added"), LOOKED, True),
        (told("x", op="added"), EARLIER, False),
        (told("x", op="respelled", side="old"), EARLIER, False),
        (told("x", op="respelled", side="old", pinned=True), None, True),
    ],
)
def test_a_tag_means_what_it_meant_before_pods_could_be_started_with_it(
    record: ChangeRecord, since: datetime | None, is_known: bool
) -> None:
    """Pods that ran before anybody asked what their tag means may run what it meant earlier."""
    assert (said(record, first=since).keys() == {PLACE}) is is_known


def test_a_tag_of_which_it_was_not_known_once_what_it_means_means_nothing() -> None:
    assert said(told("x"), told("", side="old"), first=LATER) == {}


def test_a_declared_digest_is_not_overruled_by_what_is_known() -> None:
    declared = Ref("a:1", "oci", PLACE[1], False, None, Digest("sha256", "z", "files", "sha256"))
    says = Known(said(told("x")))
    assert says("new", ObjectKey("", "Pod", "", "p"), PLACE[0], declared) is declared


@pytest.mark.parametrize(("last", "is_known"), [(None, True), (LOOKED, True), (EARLIER, True), (LATER, False)])
def test_a_tag_that_git_has_ceased_to_name_says_nothing_of_pods_that_were_started_since(
    last: datetime | None, is_known: bool
) -> None:
    """Nobody looks any more where it goes, and they may have been started with something else."""
    gone = told("x", op="respelled", side="old")
    assert (said(told("x"), gone, last=last).keys() == {PLACE}) is is_known
    stays = replace(gone, new=gone.old)
    assert said(told("x"), stays, last=last).keys() == {PLACE}, "written in another way"
