"""From two builds to change records."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from agent.core.models import ChangeRecord, Digest, FileChange, Identity, Ref, RenderedSet, changes
from agent.core.models.extract.pointers import Blob
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import (
    DIGEST_A,
    DIGEST_B,
    A,
    B,
    C,
    compare,
    config_map,
    container,
    deployment,
    obj,
    only,
    secret,
    vllm,
)


def service(uri: str, name: str = "chat") -> dict[str, Any]:
    return obj("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"model": {"storageUri": uri}}}, name)


def by_slot(records: list[ChangeRecord]) -> Mapping[str, ChangeRecord]:
    assert len({record.slot for record in records}) == len(records)
    return {record.slot: record for record in records}


def test_a_changed_model() -> None:
    record = only(compare([service("hf://org/m:a1")], [service("hf://org/m:b2")]))
    assert record.describe() == "model predictor.model of InferenceService chat: hf://org/m@a1 -> hf://org/m@b2"
    assert (record.kind, record.op, record.action, record.cause) == ("model", "changed", "rollout", "commit")
    assert record.object.version == "v1beta1"
    assert record.location.json_path == "$.spec.predictor.model.storageUri"
    assert record.impact.kustomizations == ("flux-system/apps",)
    # Neither branch nor tag says what the content is.
    assert record.old is not None
    assert record.new is not None
    assert record.old.unresolved == record.new.unresolved == "offline"
    assert record.reason.code == "unresolved"


def test_pins_are_resolved_by_their_text() -> None:
    record = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))
    assert record.old is not None
    assert record.new is not None
    assert (record.old.unresolved, record.new.unresolved) == (None, None)
    assert record.new.identity == Identity(revision=B)
    assert record.reason.code == "content"


def test_a_model_and_its_revision_are_one_record() -> None:
    record = only(compare([vllm("org/m", "--revision", A)], [vllm("org/n", "--revision", B)]))
    assert record.slot == "container[vllm].model"


SAME = [
    (vllm("org/m"), vllm("--model", "org/m", "--revision", "main")),
    (service("s3://b/m"), service("s3://b/m/")),
    (service("oci+native://reg.example/m:v1"), service("oci://reg.example/m:v1")),
    (deployment(container(image="nginx")), deployment(container(image="docker.io/library/nginx:latest"))),
    (deployment(container(image=f"nginx:1@{DIGEST_A}")), deployment(container(image=f"nginx:2@{DIGEST_A}"))),
    (service("https://h.example/m?a=1&b=2"), service("https://h.example/m?b=2&a=1")),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_the_same_in_other_words_is_respelled(old: Any, new: Any) -> None:
    record = only(compare([old], [new]))
    assert (record.op, record.action, record.reason.code) == ("respelled", "apply", "cosmetic-restart")
    assert " is now written " in record.describe()


def test_with_a_canary_other_words_restart_nothing() -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    canary = obj("flagger.app/v1beta1", "Canary", {"targetRef": target}, "watch")
    record = only(compare([vllm("org/m"), canary], [vllm("org/m", "--revision", "main"), canary]))
    assert (record.op, record.action, record.reason.code) == ("respelled", "apply", "respelled")


ADAPTER = '{"name": "sql", "path": "org/sql", "base_model_name": "%s"}'


@pytest.mark.parametrize(
    ("base", "flags", "fits"),
    [
        ("org/m", [], True),
        ("https://huggingface.co/org/m", [], True),
        ("chat", ["--served-model-name", "other", "chat"], True),
        ("org/n", [], False),
        ("chat", [], False),
    ],
)
def test_an_adapter_of_another_base_is_for_a_gate(base: str, flags: list[str], fits: bool) -> None:
    old, new = vllm("org/m", *flags), vllm("org/m", *flags, "--lora-modules", ADAPTER % base)
    record = only(compare([old], [new]))
    assert (record.slot, record.reason.code == "adapter-base", record.action == "gate") == (
        "container[vllm].adapter[sql]",
        not fits,
        not fits,
    )
    assert only(compare([new], [old])).action != "gate", "it goes"


def test_nothing_is_said_of_a_base_where_the_model_is_not_known() -> None:
    old = deployment(container(image="vllm/vllm-openai:v1", args=["--model", "$(NOWHERE)"]))
    new = deployment(
        container(image="vllm/vllm-openai:v1", args=["--model", "$(NOWHERE)", "--lora-modules", ADAPTER % "a/b"])
    )
    assert [one.action for one in compare([old], [new]) if one.kind == "adapter"] != ["gate"]


def test_other_places_of_the_same_words_are_silent() -> None:
    assert compare([vllm("--model", "org/m", "--port", "1")], [vllm("--port", "1", "--model=org/m")]) == []


def test_other_flags_are_reported_but_change_no_answers() -> None:
    record = only(compare([vllm("org/m", "--port", "1")], [vllm("org/m", "--port", "2")]))
    assert (record.kind, record.slot, record.action) == ("config", "container[vllm].--port", "apply")


def test_flags_that_look_like_credentials_are_reported_without_their_value() -> None:
    record = only(compare([vllm("org/m", "--api-key", "hunter1")], [vllm("org/m", "--api-key", "hunter2")]))
    assert (record.kind, record.op, record.action) == ("credential", "changed", "apply")
    assert "hunter" not in repr(record)


def test_settings_in_a_configuration_file_of_vllm() -> None:
    def build(text: str) -> list[Any]:
        mounts = [{"name": "c", "mountPath": "/etc/vllm"}]
        server = container("v", "vllm/vllm-openai:v1", args=["--config", "/etc/vllm/c.yaml"], volumeMounts=mounts)
        volumes = [{"name": "c", "configMap": {"name": "settings"}}]
        return [deployment(server, volumes=volumes), config_map({"c.yaml": text})]

    old = build(f"model: org/m\nrevision: {A}\nmax_model_len: 10\ntrust-remote-code: true\n")
    new = build(f"model: org/m\nrevision: {B}\nmax_model_len: 20\ntrust-remote-code: true\n")
    slots = {record.slot for record in compare(old, new) if record.object.kind == "Deployment"}
    assert slots == {"container[v].model", "container[v].--max-model-len", "volume[c]"}
    broken = compare(old, build("- a"))
    assert {r.op for r in broken if r.object.kind == "Deployment"} == {"parse-error"}


def test_traffic_of_a_canaried_object_belongs_to_the_rollout() -> None:
    def build(percent: int) -> Any:
        return obj("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"canaryTrafficPercent": percent}})

    target = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "chat"}
    canary = obj("flagger.app/v1beta1", "Canary", {"targetRef": target}, "watch")
    assert only(compare([build(5)], [build(10)])).action == "apply"
    assert only(compare([build(5), canary], [build(10), canary])).reason.code == "rollout-owned"


def test_what_may_hide_behind_an_unreadable_object_is_not_removed() -> None:
    old = [service("hf://org/m:a1"), service("hf://org/n:a1", "other")]
    nameless = {"kind": "InferenceService", "metadata": {"name": "chat"}}
    assert [(r.op, r.object.name) for r in compare(old, [nameless])] == [
        ("removed", "other"), ("parse-error", "InferenceService/chat")]  # fmt: skip
    assert [r.op for r in compare(old, [], incomplete=True)] == []


def test_nothing_changed() -> None:
    objects = [vllm("org/m"), service("s3://b/m"), config_map({"a": "b"})]
    assert compare(objects, reversed(objects)) == []


def test_a_first_build_adds_everything() -> None:
    records = compare(None, [service("hf://org/m:a1")])
    assert {(r.op, r.action) for r in records} == {("added", "apply")}


@pytest.mark.parametrize("other", ["added", "removed"])
def test_whole_objects_come_and_go(other: str) -> None:
    one = [service("hf://org/m:a1")]
    record = only(compare(*(([], one) if other == "added" else (one, []))))
    assert (record.op, record.action) == (other, "apply")
    assert (record.old is None) == (other == "added")


def test_a_setting_that_appears_in_a_standing_object_changes_answers() -> None:
    record = only(compare([vllm("org/m")], [vllm("org/m", "--quantization", "awq")]))
    assert (record.kind, record.op, record.action) == ("quantization", "added", "rollout")


@pytest.mark.parametrize(
    ("allowed", "action"), [("True", "hot-reload"), ("1", "hot-reload"), ("0", "rollout"), (None, "rollout")]
)
def test_adapters_load_while_the_server_runs_if_it_allows_that(allowed: str | None, action: str) -> None:
    env = [{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": allowed}] if allowed else []
    old = vllm("org/m", "--lora-modules", "a=org/a", env=env)
    new = vllm("org/m", "--lora-modules", "a=org/a2", "b=org/b", env=env)
    records = by_slot(compare([old], [new]))
    assert {(r.slot, r.op, r.action) for r in records.values()} == {
        ("container[vllm].adapter[a]", "changed", action),
        ("container[vllm].adapter[b]", "added", action),
    }


def test_a_pin_that_is_given_up_asks_a_gate() -> None:
    record = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m")]))
    assert (record.op, record.action, record.reason.code) == ("changed", "gate", "unpinned")


def test_a_renamed_object_moves_with_its_settings() -> None:
    old, new = (vllm("org/m", "--revision", A, "--dtype", "half", name=name) for name in ("chat", "talk"))
    records = by_slot(compare([old], [new]))
    assert records["container[vllm].model"].op == "moved"
    assert records["container[vllm].--dtype"].op == "moved"
    assert {record.object.name for record in records.values()} == {"talk"}


def test_a_floating_reference_does_not_move() -> None:
    old, new = service("s3://b/m"), service("s3://b/m", "talk")
    assert sorted(record.op for record in compare([old], [new])) == ["added", "removed"]


def test_a_moved_reference_is_used_once() -> None:
    pinned = f"hf://org/m:{A}"
    records = compare([service(pinned)], [service(pinned, "one"), service(pinned, "two")])
    assert sorted(record.op for record in records) == ["added", "moved"]


def test_content_of_config_maps_reaches_those_who_use_them() -> None:
    user = deployment(container("c", envFrom=[{"configMapRef": {"name": "settings"}}]))
    other = deployment(container("c"), name="other")
    records = compare([user, other, config_map({"MODEL_URI": "s3://b/a"})],
                      [user, other, config_map({"MODEL_URI": "s3://b/b"})])  # fmt: skip
    found = {(r.object.kind, r.object.name, r.kind, r.slot) for r in records}
    assert ("Deployment", "chat", "model", "container[c].model") in found
    assert ("ConfigMap", "settings", "config", "data[MODEL_URI]") in found
    assert "other" not in {name for _, name, _, _ in found}


def test_generated_names_are_paired_without_their_hash() -> None:
    def build(value: str, suffix: str) -> list[Any]:
        pod = container("c", envFrom=[{"configMapRef": {"name": f"settings-{suffix}"}}])
        return [deployment(pod), config_map({"KEY": value}, f"settings-{suffix}")]

    records = compare(build("1", "2456789bcd"), build("2", "hkmt456789"))
    assert {(r.object.kind, r.op, r.slot) for r in records} == {
        ("ConfigMap", "changed", "data[KEY]"),
        ("Deployment", "changed", "container[c].envFrom[settings]"),
    }


def test_two_generated_names_of_one_base_are_kept_apart() -> None:
    both = [config_map({"a": "1"}, "c-2456789bcd"), config_map({"a": "2"}, "c-hkmt456789")]
    assert compare(both, both) == []
    assert len(RenderedSet(both)) == 2


def test_secrets_change_without_showing_anything() -> None:
    old, new = secret({"token": "aHVudGVyMQ==", "same": "x"}), secret({"token": "aHVudGVyMg==", "same": "x"})
    record = only(compare([old], [new]))
    assert (record.kind, record.op, record.action, record.cause) == ("credential", "changed", "apply", "secret")
    assert record.slot == "data[token]"
    shown = msgspec.json.encode(record).decode() + record.describe()
    assert "aHVudGVy" not in shown
    assert "hunter" not in shown


def test_images_and_image_volumes() -> None:
    def build(image: str, weights: str) -> Any:
        volumes = [{"name": "weights", "image": {"reference": weights}}]
        return deployment(container("c", image), volumes=volumes)

    records = by_slot(compare([build("app:1", "m:1")], [build("app:2", f"m@{DIGEST_B}")]))
    assert records["container[c].image"].kind == "code-image"
    assert records["volume[weights]"].kind == "model"
    assert records["volume[weights]"].new == Ref(
        f"m@{DIGEST_B}",
        "oci",
        f"oci://docker.io/library/m@{DIGEST_B}",
        True,
        Identity(revision=DIGEST_B),
        Digest("sha256", "b" * 64, "manifest", "sha256"),
    )


def test_unreadable_objects_hide_nothing_else() -> None:
    good_old, good_new = service("hf://org/m:a1"), service("hf://org/m:b2")
    bad = service("x", "bad")
    broken = service(["x"], "bad")  # type: ignore[arg-type] - malformed on purpose
    records = compare([good_old, bad], [good_new, broken, {"kind": "X"}, 7, None])
    assert sorted((r.op, r.object.name) for r in records) == [
        ("changed", "chat"),
        ("parse-error", "X/without a name"),
        ("parse-error", "bad"),
        ("parse-error", "int"),
    ]


def test_lists_are_opened() -> None:
    new = {"apiVersion": "v1", "kind": "List", "items": [service("hf://org/m:b2")]}
    assert only(compare([service("hf://org/m:a1")], [new])).op == "changed"


def test_ids_are_stable_unique_and_tell_overlays_apart() -> None:
    old = [vllm("org/m", "--dtype", "half"), service("s3://b/a"), secret({"k": "1"})]
    new = [vllm("org/n", "--dtype", "auto"), service("s3://b/b"), secret({"k": "2"})]
    files = [FileChange("x.dvc", Blob(b"outs:\n- {path: x, md5: aa}"), Blob(b"outs:\n- {path: x, md5: bb}"))]
    first, second = compare(old, new, files), compare(reversed(old), reversed(new), files)
    assert first == second
    assert len({record.id for record in first}) == len(first) == 5
    elsewhere = changes(RenderedSet(old), RenderedSet(new), files, None, "flux-system/other")
    assert not {record.id for record in first} & {record.id for record in elsewhere}


def test_an_id_does_not_depend_on_the_way_it_is_written() -> None:
    one = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))
    two = only(compare([vllm("--model=org/m", f"--revision={A}")], [vllm("--model=org/m", f"--revision={B}")]))
    assert one.id == two.id


def test_records_have_the_documented_fields() -> None:
    record = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", "main")]))
    plain = msgspec.json.decode(msgspec.json.encode(record))
    assert list(plain) == [
        "id", "kind", "op", "object", "slot", "location", "old", "new", "cause", "commit", "direction", "impact",
        "action", "reason",
    ]  # fmt: skip
    assert plain["old"]["pinned"] is True
    assert plain["new"]["pinned"] is False
    assert plain["new"]["identity"] == {"unresolved": "offline"}
    assert plain["location"]["jsonPath"] == "$.spec.template.spec.containers[0].args[0]"
    assert plain["commit"] == {"old": "main@sha1:1111", "new": "main@sha1:2222"}
    assert msgspec.json.decode(msgspec.json.encode(record), type=ChangeRecord) == record


def known(*canonicals: str) -> Any:
    return lambda _key, _slot, ref: "main@sha1:0000" if ref is not None and ref.canonical in canonicals else None


def test_directions() -> None:
    back, on = compare([vllm("org/m", "--revision", B)], [vllm("org/m", "--revision", A)]), known(f"hf://org/m@{A}")
    assert only(back).direction == "unknown"  # without a ledger nobody knows
    revert = only(compare([vllm("org/m", "--revision", B)], [vllm("org/m", "--revision", A)], history=on))
    assert (revert.direction, revert.reason.code) == ("revert-to:main@sha1:0000", "revert")
    onward = only(compare([vllm("org/m", "--revision", B)], [vllm("org/m", "--revision", C)], history=on))
    assert onward.direction == "forward"


def resolver(content: Mapping[str, str]) -> Any:
    def resolve(_side: str, _key: ObjectKey, _slot: str, ref: Ref) -> Ref:
        if ref.canonical not in content:
            return ref
        digest = Digest("sha256", content[ref.canonical], "files", "sha256")
        return Ref(ref.spelling, ref.scheme, ref.canonical, ref.pinned, Identity(revision=ref.canonical), digest)

    return resolve


@pytest.mark.parametrize(
    ("old", "new", "scope", "strength", "op"),
    [
        ("https://h.example/v1/a.bin", "https://h.example/v2/a.bin", "object", "etag", "changed"),
        ("https://h.example/v1/a.bin", "https://h.example/v2/a.bin", "object", "mtime", "changed"),
        ("https://h.example/v1/a.bin", "https://h.example/v2/a.bin", "object", "sha256", "respelled"),
        ("s3://b/v1", "s3://b/v2", "listing", "generation", "changed"),
        ("https://h.example/a.bin?v=1", "https://h.example/a.bin?v=2", "object", "etag", "changed"),
        ("s3://b/m?versionId=1", "s3://b/m?versionId=2", "object", "etag", "respelled"),
    ],
)
def test_validators_of_two_addresses_may_be_equal_by_chance(
    old: str, new: str, scope: Any, strength: Any, op: str
) -> None:
    """Files of one size and one time have one ETag on many servers, whatever is in them."""

    def resolve(_side: str, _key: ObjectKey, _slot: str, ref: Ref) -> Ref:
        return msgspec.structs.replace(
            ref, digest=Digest(strength, "5e0be100-400", scope, strength), identity=Identity()
        )

    record = only(compare([service(old)], [service(new)], resolve=resolve))
    assert record.op == op


def test_what_a_resolver_knows_decides() -> None:
    content = {f"hf://org/m@{A}": "11", f"hf://org/m@{B}": "11", f"hf://org/m@{C}": "22"}
    card = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)], resolve=resolver(content)))
    assert (card.op, card.action) == ("metadata-only", "none")
    weights = only(
        compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", C)], resolve=resolver(content))
    )
    assert (weights.op, weights.action) == ("changed", "rollout")


def test_impact_names_canaries_and_services() -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    canary = obj("flagger.app/v1beta1", "Canary", {"targetRef": target}, "watch")
    record = only(compare([vllm("org/m"), canary], [vllm("org/n"), canary]))
    assert record.impact.canaries == ("Canary/ml/watch",)
    assert only(compare([vllm("org/m")], [vllm("org/n")], canaries=[canary])).impact.canaries == ("Canary/ml/watch",)

    def runtime(image: str) -> Any:
        return obj("serving.kserve.io/v1alpha1", "ServingRuntime", {"containers": [container("k", image)]}, "fast")

    user = obj("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"model": {"runtime": "fast"}}})
    record = only(compare([runtime("s:1"), user], [runtime("s:2"), user]))
    assert (record.kind, record.action) == ("runtime", "rollout")
    assert record.impact.objects == ("InferenceService/ml/chat",)


def test_a_job_cannot_be_edited() -> None:
    def job(revision: str) -> Any:
        pod = {"containers": [container("vllm", "vllm/vllm-openai:v1", args=["org/m", "--revision", revision])]}
        return obj("batch/v1", "Job", {"template": {"spec": pod}})

    assert only(compare([job(A)], [job(B)])).action == "recreate"


def annotated(uri: str, **notes: str) -> Any:
    manifest = service(uri)
    manifest["metadata"]["annotations"] = {f"weir.dev/{key.replace('__', '.')}": value for key, value in notes.items()}
    return manifest


def test_annotations_declare_references_and_digests() -> None:
    old = annotated("pvc://claim/m", **{"model-digest.predictor-model": DIGEST_A, "model-ref.extra": "s3://b/x"})
    new = annotated("pvc://claim/m", **{"model-digest.predictor-model": DIGEST_B, "model-ref.extra": "s3://b/y"})
    records = by_slot(compare([old], [new]))
    assert records["predictor.model"].op == "changed"
    assert records["extra"].new is not None
    assert records["extra"].new.canonical == "s3://b/y"


def test_a_forgotten_digest_does_not_hide_that_a_pin_moved() -> None:
    old, new = (annotated(f"hf://org/m:{rev}", **{"model-digest.predictor-model": DIGEST_A}) for rev in (A, B))
    assert (only(compare([old], [new])).op, only(compare([old], [new])).action) == ("changed", "rollout")


def test_a_declared_reference_keeps_the_kind_of_its_slot() -> None:
    def build(uri: str) -> Any:
        notes = {"weir.dev/model-ref.model": uri}
        spec = {"url": "hf://org/m", "cacheProfile": "c"}
        return obj("kubeai.org/v1", "Model", spec, metadata={"name": "chat", "annotations": notes})

    record = only(compare([build("s3://b/1")], [build("s3://b/2")]))
    assert (record.slot, record.action) == ("model", "recreate")


def test_a_declared_reference_stands_in_for_the_field() -> None:
    old, new = (annotated("pvc://claim/m", **{"model-ref.predictor-model": f"hf://org/m@{rev}"}) for rev in (A, B))
    record = only(compare([old], [new]))
    assert (record.slot, record.new and record.new.canonical) == ("predictor.model", f"hf://org/m@{B}")


@pytest.mark.parametrize(
    ("notes", "uris", "expected"),
    [
        ({"model-role": "adapter"}, ("s3://b/a", "s3://b/b"), ("adapter", "changed", "rollout", "unresolved")),
        ({"model-role.predictor-model": "data"}, ("s3://b/a", "s3://b/b"), ("data", "changed", "job", "data")),
        ({"model-role": "adapter", "model-role.predictor-model": "data", "on-data-change": "gate"},
         ("s3://b/a", "s3://b/b"), ("data", "changed", "gate", "on-data-change")),
        ({"model-role": "data", "on-data-change": "none"}, ("s3://b/a", "s3://b/b"),
         ("data", "changed", "none", "ignored")),
        ({"model-role": "data", "on-data-change": "alert"}, ("s3://b/a", "s3://b/a/"),
         ("data", "respelled", "apply", "cosmetic-restart")),
        ({"on-data-change": "alert"}, ("s3://b/a", "s3://b/b"), ("model", "changed", "rollout", "unresolved")),
    ],
)  # fmt: skip
def test_annotations_say_the_kind_and_what_follows_other_data(
    notes: dict[str, str], uris: tuple[str, str], expected: tuple[str, ...]
) -> None:
    record = only(compare(*([annotated(uri, **notes)] for uri in uris)))
    assert (record.kind, record.op, record.action, record.reason.code) == expected


@pytest.mark.parametrize("note", ["model-role", "model-role.predictor-model", "on-data-change"])
def test_annotations_with_unknown_values_are_named(note: str) -> None:
    record = only([r for r in compare([], [annotated("s3://b/a", **{note: "nonsense"})]) if r.op == "parse-error"])
    assert record.location.json_path == f"$.metadata.annotations['weir.dev/{note}']"
    assert "use one of" in record.reason.message


def test_annotations_can_silence_a_slot() -> None:
    old, new = (annotated(uri, **{"ignore-change": "predictor-model"}) for uri in ("s3://b/a", "s3://b/b"))
    record = only(compare([old], [new]))
    assert (record.op, record.action, record.reason.code) == ("changed", "none", "ignored")


def test_declared_data_is_gated() -> None:
    old, new = (annotated("s3://b/m", **{"data-digest": digest}) for digest in (DIGEST_A, DIGEST_B))
    record = only(compare([old], [new]))
    assert (record.kind, record.action, record.reason.code) == ("data", "gate", "data-digest")


def test_ten_thousand_unchanged_objects_are_quick() -> None:
    def build() -> list[Any]:
        return [vllm("org/m", "--revision", A, name=f"n{index}") for index in range(10_000)]

    old, new = build(), build()
    started = time.process_time()
    assert compare(old, new) == []
    assert time.process_time() - started < 10  # a tenth of a second; far more only if it grew with the square


def test_encoded_objects_give_the_same_records() -> None:
    user = deployment(container("c", envFrom=[{"configMapRef": {"name": "settings"}}]))
    nested = {"apiVersion": "v1", "kind": "List", "items": [vllm("org/m"), None, 7]}
    old: list[Any] = [service("s3://b/a"), user, config_map({"MODEL_URI": "s3://b/a"}), nested]
    new: list[Any] = [service("s3://b/b"), user, config_map({"MODEL_URI": "s3://b/b"}), nested, {"kind": "X"}, ["x"]]
    plain = changes(RenderedSet(old), RenderedSet(new))
    encoded = changes(*(RenderedSet.from_json(msgspec.json.encode(o) for o in side) for side in (old, new)))
    mixed = changes(RenderedSet(old), RenderedSet.from_json(msgspec.json.encode(o) for o in new))
    assert plain == encoded == mixed
    assert len(plain) > 4


def test_documents_that_are_no_json_are_named() -> None:
    rendered = RenderedSet.from_json([b"{", b'"x"', b'{"apiVersion": 5}', b"\xff"])
    assert len(rendered) == 0
    assert {record.op for record in changes(None, rendered)} == {"parse-error"}


TF_MODELS = (
    'model_config_list {{ config {{ name: "m" base_path: "s3://b/m" '
    "model_version_policy {{ specific {{ versions: {version} }} }} }} }}"
)


def test_models_of_tensorflow_serving_in_a_config_map_of_any_key() -> None:
    old, new = (config_map({"served": TF_MODELS.format(version=version)}) for version in (7, 8))
    records = {(r.slot, r.kind, r.new.canonical) for r in compare([old], [new]) if r.new and r.slot != "data[served]"}
    assert records == {("served.model[m]", "model", "s3://b/m/8")}


@pytest.mark.parametrize(
    "text",
    [
        f"#!/bin/sh\ncat > models.config <<EOF\n{TF_MODELS.format(version=7)}\nEOF\nexec tensorflow_model_server $@\n",
        "# model_config_list is in another file\nport: 8500\n",
        "The model_config_list { of the server",
    ],
)
def test_a_text_that_mentions_models_of_tensorflow_serving_is_no_such_file(text: str) -> None:
    assert {(r.op, r.slot) for r in compare([], [config_map({"start.sh": text})])} == {("added", "data[start.sh]")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('model_config_list { config { name: "m" base_path: "/m" }', "not closed"),
        ('model_config_list { config { name: "m" } }', "without a base_path"),
        ('model_config_list { config { base_path: "/m" } }', "without a name"),
        ("model_config_list {}\n config { name: $x }", "line 2"),
        ("model_config_list {} }", "closes nothing"),
        ("model_config_list {} versions: [7", "within a list"),
        ("model_config_list {} [type.example/a.B { }", "no ']'"),
        ("model_config_list {} { }", "name of a field"),
        ("model_config_list {} versions:", "ends where a value"),
        ("model_config_list {} versions: ]", "where a value"),
        ("model_config_list {} " + "a { " * 5000, "nests deeper"),
        ("model_config_list {} #" + "a" * 2**20, "longer than"),
    ],
)
def test_broken_models_of_tensorflow_serving_are_named(text: str, why: str) -> None:
    record = only([r for r in compare([], [config_map({"served": text})]) if r.op == "parse-error"])
    assert why in record.reason.message
    assert record.location.json_path == "$.data['served']"


def test_ten_thousand_unchanged_documents_are_quick() -> None:
    documents = [msgspec.json.encode(vllm("org/m", "--revision", A, name=f"n{index}")) for index in range(10_000)]
    started = time.process_time()
    assert changes(RenderedSet.from_json(documents), RenderedSet.from_json(list(documents))) == []
    assert time.process_time() - started < 10  # a tenth of a second; far more only if it grew with the square


def test_configurations_in_config_maps_name_models_and_adapters() -> None:
    def build(version: str) -> Any:
        syncer = f"vLLMLoRAConfig:\n  ensureExist:\n    models:\n    - {{id: sql, source: org/sql-{version}}}\n"
        settings = f'{{"name": "m", "parameters": {{"uri": "s3://b/{version}"}}}}'
        return config_map({"sync.yaml": syncer, "model-settings.json": settings, "notes": "same"})

    found = {r.slot: (r.kind, r.action) for r in compare([build("1")], [build("2")]) if not r.slot.startswith("data[")}
    assert found == {"adapter[sql]": ("adapter", "hot-reload"), "model-settings.json.model": ("model", "rollout")}
    broken = config_map({"model-settings.json": "{", "notes": "same"})
    assert [r.op for r in compare([build("1")], [broken])] == ["changed", "parse-error"]
