"""Our CRDs on a real API server: accepted, as are samples and examples; the bad is refused."""

import re
from pathlib import Path

import pytest
import yaml

from agent.api.schema import KINDS
from testbed.kube import Admin, ApiError, read_documents

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "config/samples").glob("*_*.yaml"))
PAGES = sorted((ROOT / "docs/kinds").glob("*.md"))


@pytest.fixture(scope="module")
async def api(admin: Admin) -> Admin:
    """The shared API server with our CRDs."""
    await admin.apply_files(sorted((ROOT / "config/crd").glob("*_*.yaml")))
    return admin


def sample(kind, namespace):
    documents = [document for path in SAMPLES for document in read_documents(path)]
    document = next(document for document in documents if document["kind"] == kind)
    document["metadata"]["namespace"] = namespace
    return document


def put(document, path, value):
    """Set the field at a dotted path; None deletes it."""
    *parents, last = path.split(".")
    for key in parents:
        document = document[int(key)] if isinstance(document, list) else document.setdefault(key, {})
    if value is None:
        del document[last]
    else:
        document[last] = value


async def test_the_api_server_finds_nothing_to_complain_about(api):
    """A schema that is not structural, or a CEL rule that does not compile, shows as a condition."""
    for kind in KINDS:
        found = await api.get(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", None, f"{kind.PLURAL}.{kind.GROUP}"
        )
        conditions = {entry["type"]: entry["status"] for entry in found["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


def test_there_is_a_sample_and_a_page_for_every_kind():
    names = sorted(kind.KIND for kind in KINDS)
    assert sorted(document["kind"] for path in SAMPLES for document in read_documents(path)) == names
    assert sorted(path.stem for path in PAGES) == sorted(name.lower() for name in names)
    listed = yaml.safe_load((ROOT / "config/samples/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in SAMPLES]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
async def test_a_sample_is_stored_as_written_and_decodes(api, namespace, kind):
    document = sample(kind.KIND, namespace)
    stored = await api.create(document)
    decoded = kind.from_object(stored)
    again = decoded.to_object()
    assert {key: again["spec"][key] for key in document["spec"]}.keys() == document["spec"].keys()
    assert (decoded.namespace, decoded.metadata.generation) == (namespace, 1)
    # Everything that was written is known: nothing was pruned on the way in.
    assert _holds(stored["spec"], document["spec"])


def _holds(stored, written):
    if isinstance(written, dict):
        return all(key in stored and _holds(stored[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(stored) == len(written) and all(map(_holds, stored, written))
    return stored == written


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.GROUP.endswith("fluxcd.io")], ids=lambda k: k.KIND)
async def test_a_fresh_flux_object_has_been_observed_by_nobody(api, namespace, kind):
    stored = await api.create(sample(kind.KIND, namespace))
    assert stored["status"] == {"observedGeneration": -1}


BAD = [
    ("GitRepository", "spec.url", "git@example.org:x.git", "spec.url"),
    ("GitRepository", "spec.url", None, "spec.url: Required value"),
    ("GitRepository", "spec.interval", "1 minute", "spec.interval"),
    ("GitRepository", "spec.timeout", "1h", "spec.timeout"),
    ("GitRepository", "spec.provider", "gitea", "Unsupported value"),
    ("GitRepository", "spec.serviceAccountName", "x", "only be set when provider is"),
    ("GitRepository", "spec.verify", {"mode": "Commit", "secretRef": {"name": "x"}}, "spec.verify.mode"),
    ("Kustomization", "spec.prune", None, "spec.prune: Required value"),
    ("Kustomization", "spec.prune", "yes", "must be of type boolean"),
    ("Kustomization", "spec.interval", "often", "spec.interval"),
    ("Kustomization", "spec.sourceRef.kind", "HelmRepository", "spec.sourceRef.kind"),
    ("Kustomization", "spec.targetNamespace", "x" * 64, "spec.targetNamespace"),
    ("Kustomization", "spec.deletionPolicy", "Keep", "spec.deletionPolicy"),
    ("Kustomization", "spec.kubeConfig", {}, "exactly one of"),
    ("Kustomization", "spec.patches", [{}], "spec.patches[0].patch: Required value"),
    ("Canary", "spec.targetRef.kind", "StatefulSet", "spec.targetRef.kind"),
    ("Canary", "spec.provider", "envoy", "spec.provider"),
    ("Canary", "spec.analysis", None, "spec.analysis: Required value"),
    ("Canary", "spec.analysis.interval", "soon", "spec.analysis.interval"),
    ("Canary", "spec.analysis.iterations", 3, "must validate one and only one schema"),
    ("Canary", "spec.analysis.stepWeight", 2.5, "must be of type integer"),
    ("Canary", "spec.service.port", None, "spec.service.port: Required value"),
    ("Canary", "spec.service.mirror", [{"backendRef": {"name": "x"}}], "Must have port for Service reference"),
    ("Canary", "spec.analysis.webhooks", [{"name": "x"}], "url: Required value"),
    ("MetricTemplate", "spec.provider.type", "thanos", "spec.provider.type"),
    ("MetricTemplate", "spec.query", None, "spec.query: Required value"),
    ("AlertProvider", "spec.type", "irc", "spec.type"),
    ("AlertProvider", "spec.secretRef", None, "must validate one and only one schema"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case[0]}-{case[1]}")
async def test_a_bad_field_is_refused_by_name(api, namespace, case):
    kind, path, value, text = case
    document = sample(kind, namespace)
    put(document, path, value)
    with pytest.raises(ApiError) as caught:
        await api.create(document)
    assert caught.value.status == 422
    assert text in str(caught.value)


@pytest.mark.parametrize("kind", ["InferenceService", "LLMInferenceService"])
async def test_canaries_of_kserve_targets_are_accepted(api, namespace, kind):
    document = sample("Canary", namespace)
    put(document, "spec.targetRef", {"apiVersion": "serving.kserve.io/v1beta1", "kind": kind, "name": "chat"})
    put(document, "spec.provider", "kserve")
    created = await api.create(document)
    assert created["spec"]["targetRef"]["kind"] == kind


def examples():
    for page in [*PAGES, ROOT / "docs/install.md"]:
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1
        ):
            for document in yaml.safe_load_all(text):
                if "metadata" in document:  # neither a values file nor one for kustomize
                    yield pytest.param(document, id=f"{page.stem}-{number}-{document['kind']}")


@pytest.mark.parametrize("document", list(examples()))
async def test_an_example_in_the_documentation_is_accepted_whole(api, namespace, document):
    document["metadata"]["namespace"] = namespace
    stored = await api.create(document)
    for part in ("spec", "data", "stringData"):
        if part in document and part in stored:
            assert _holds(stored[part], document[part])
