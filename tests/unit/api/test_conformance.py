"""Our CRDs against upstream's own: equal for Flux, a superset for Flagger. Descriptions do not count."""

import pytest
import yaml

from agent.api.schema import KINDS, custom_resource_definition
from testbed.binaries import crd_files

KNOWN_FORMATS = {"int32", "int64", "date-time"}
"""Formats that the API server checks or keeps; it takes no notice of the others that Flagger writes down."""

WIDER = {
    ".provider.enum": {"kserve"},
    ".targetRef.kind.enum": {"InferenceService", "LLMInferenceService"},
}

REFUSED_HERE = {
    ".service.mirror[].required": ["backendRef"],
}
"""Upstream writes this rule beside the array, where it has no effect; without a backend a mirror cannot be made."""

ADDED = {".status.lastTrackedRevision", ".status.load", ".status.judge"}


def upstream(source):
    documents = [document for path in crd_files(source) for document in yaml.safe_load_all(path.read_text())]
    return {document["metadata"]["name"]: document for document in documents if document}


def canonical(value):
    """A schema without what carries no meaning: descriptions, order of `required`, unknown formats."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, child in value.items():
        if (key == "description" and isinstance(child, str)) or (
            key == "format" and isinstance(child, str) and child not in KNOWN_FORMATS
        ):
            continue
        result[key] = sorted(child) if key == "required" else canonical(child)
    return result


def storage_version(document):
    return canonical(next(version for version in document["spec"]["versions"] if version["storage"]))


@pytest.fixture(scope="module")
def flux():
    return upstream("flux-source") | upstream("flux-kustomize")


@pytest.fixture(scope="module")
def flagger():
    return upstream("flagger")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.GROUP.endswith("fluxcd.io")], ids=lambda k: k.KIND)
def test_flux_kinds_are_exactly_upstreams(kind, flux):
    ours, theirs = custom_resource_definition(kind), flux[f"{kind.PLURAL}.{kind.GROUP}"]
    assert storage_version(ours) == storage_version(theirs)
    for field in ("group", "scope", "names"):
        assert ours["spec"][field] == theirs["spec"][field]
    theirs["metadata"]["annotations"].pop("controller-gen.kubebuilder.io/version")
    assert ours["metadata"]["annotations"].items() >= theirs["metadata"].get("annotations", {}).items()


def differences(ours, theirs, path=""):
    """Paths at which `ours` is not what `theirs` is, each with both values. Whole numbers may stand for numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            place = path if key == "properties" else f"{path}[]" if key == "items" else f"{path}.{key}"
            if key in ours and key in theirs:
                yield from differences(ours[key], theirs[key], place)
            else:
                yield place, ours.get(key), theirs.get(key)
    elif ours != theirs and not (path.endswith(".type") and (ours, theirs) == ("integer", "number")):
        yield path, ours, theirs


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.GROUP == "flagger.app"], ids=lambda k: k.KIND)
def test_flagger_kinds_accept_all_that_upstream_accepts(kind, flagger):
    """Fractions in whole-number fields are refused here at the door; Flagger lets them in and then cannot read them."""
    ours, theirs = custom_resource_definition(kind), flagger[f"{kind.PLURAL}.{kind.GROUP}"]
    for field in ("group", "scope", "names"):
        assert ours["spec"][field] == theirs["spec"][field]
    ours, theirs = storage_version(ours), storage_version(theirs)
    assert ours["additionalPrinterColumns"] == theirs["additionalPrinterColumns"]
    assert ours["subresources"] == theirs["subresources"]

    unexplained = []
    for full, mine, other in differences(ours["schema"]["openAPIV3Schema"], theirs["schema"]["openAPIV3Schema"]):
        path = full.removeprefix(".spec")
        widened = path in WIDER and set(mine) - set(other) == WIDER[path] and set(mine) >= set(other)
        stricter = path in REFUSED_HERE and mine == REFUSED_HERE[path]
        without_effect = path == ".service.mirror.required" and mine is None
        added = path in ADDED and other is None
        if not (widened or stricter or without_effect or added):
            unexplained.append((path, mine, other))
    assert unexplained == []
