"""What Flux's source-controller makes of a GitRepository beyond one plain checkout."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import aiohttp
from pysequoia import SignatureMode, Tsk, sign

from testbed.git.signing import SSHSigner, sign_head, sign_tag
from testbed.kube import condition
from tests.scenarios.conftest import REPO, Story, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""


async def archived(source: dict[str, Any]) -> set[str]:
    """The files in the artifact of a GitRepository, as another Flux controller would get them."""
    async with aiohttp.ClientSession() as session, session.get(source["status"]["artifact"]["url"]) as response:
        packed = await response.read()
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        return {member.name for member in archive if member.isfile()}


def observes(generation: int) -> Any:
    """Whether a GitRepository is Ready at a generation."""
    return lambda found: (
        condition(found, "Ready") == "True" and (found or {})["status"].get("observedGeneration") == generation
    )


async def keys(story: Story, **files: str) -> None:
    """Create or change the Secret `keys`; two underscores in a name stand for its dot."""
    data = {name.replace("__", "."): content for name, content in files.items()}
    metadata = {"name": "keys", "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def reason(found: dict[str, Any], kind: str) -> str:
    """The reason of a condition."""
    return str(next(entry["reason"] for entry in found["status"]["conditions"] if entry["type"] == kind))


async def test_a_sparse_checkout_takes_the_folders_asked_for_and_follows_changes_of_the_list(story: Story) -> None:
    story.git.commit({"apps/c.yaml": CONFIG % ("c", "x"), "infra/d.yaml": CONFIG % ("d", "x"), "top.yaml": "a: 1"})
    source = await story.source(sparseCheckout=["./apps"])
    await story.kustomization(path="./apps")
    await story.ready()
    source = await story.until(REPO, "repo", observes(source["metadata"]["generation"]))
    assert await archived(source) == {"apps/c.yaml"}
    assert source["status"]["observedSparseCheckout"] == ["./apps"]
    digest = source["status"]["artifact"]["digest"]

    changed = await story.source(sparseCheckout=["./apps", "infra"])
    source = await story.until(REPO, "repo", observes(changed["metadata"]["generation"]))
    assert await archived(source) == {"apps/c.yaml", "infra/d.yaml"}
    assert source["status"]["observedSparseCheckout"] == ["./apps", "infra"]
    assert source["status"]["artifact"]["digest"] != digest

    await story.source(sparseCheckout=["./apps", "docs"])
    failed = await story.failed("repo", "sparse checkout dir 'docs' does not exist in repository", REPO)
    assert message(failed, "FetchFailed") == message(failed)
    assert failed["status"]["artifact"]["digest"] == source["status"]["artifact"]["digest"]
    assert failed["status"]["observedSparseCheckout"] == ["./apps", "infra"]

    story.git.commit({"docs/index.yaml": "a: 1"})
    await story.pull("with-docs")
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert await archived(source) == {"apps/c.yaml", "docs/index.yaml"}


async def test_an_include_is_waited_for_copied_in_and_followed(story: Story) -> None:
    story.git.commit({"apps/c.yaml": CONFIG % ("c", "x")})
    shared = story.server.repository(f"{story.namespace}-shared")
    shared.commit({"base/d.yaml": CONFIG % ("d", "one"), "other.yaml": "a: 1"})
    include = [{"repository": {"name": "shared"}, "fromPath": "base", "toPath": "apps/shared"}]
    await story.source(include=include)
    waiting = await story.failed("repo", "could not get resource for include 'shared'", REPO)
    assert condition(waiting, "IncludeUnavailable") == "True"
    assert await story.event("repo", "NotFound: could not get resource for include 'shared'")

    await story.source("shared", url=story.server.url(f"{story.namespace}-shared"))
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert condition(source, "IncludeUnavailable") == ""
    assert await archived(source) == {"apps/c.yaml", "apps/shared/d.yaml"}
    assert source["status"]["observedInclude"] == include
    (included,) = source["status"]["includedArtifacts"]
    await story.kustomization(path="./apps")
    await story.ready()
    assert (await story.admin.get("v1", "ConfigMap", story.namespace, "d"))["data"]["greeting"] == "one"

    shared.commit({"base/d.yaml": CONFIG % ("d", "two")})
    await story.request(REPO, "shared", "now")
    moved = await story.until(
        REPO, "repo", lambda found: (found or {})["status"]["includedArtifacts"][0]["digest"] != included["digest"]
    )
    assert moved["status"]["artifact"]["revision"] == source["status"]["artifact"]["revision"]
    assert moved["status"]["artifact"]["digest"] != source["status"]["artifact"]["digest"]
    await story.admin.wait_for(
        "v1", "ConfigMap", story.namespace, "d", lambda found: (found or {})["data"]["greeting"] == "two"
    )


async def test_an_include_that_has_no_place_or_leads_back(story: Story) -> None:
    story.git.commit({"apps/c.yaml": CONFIG % ("c", "x")})
    await story.source("other")
    await story.source(include=[{"repository": {"name": "other"}, "toPath": "apps"}])
    failed = await story.failed("repo", "failed to copy 'other' include from  to apps", REPO)
    assert condition(failed, "StorageOperationFailed") == "True"
    assert reason(failed, "StorageOperationFailed") == reason(failed, "Ready") == "CopyFailure"
    await story.source(include=[{"repository": {"name": "repo"}}])
    circle = await story.failed("repo", "leads back to this GitRepository: repo -> repo", REPO)
    assert condition(circle, "IncludeUnavailable") == "True"
    await story.source(include=[{"repository": {"name": "other"}}])
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert await archived(source) == {"apps/c.yaml", "other/apps/c.yaml"}


async def test_only_signed_commits_become_artifacts(story: Story) -> None:
    signer = SSHSigner()
    unsigned = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source(verify={"secretRef": {"name": "keys"}})
    failed = await story.failed("repo", "public keys secret error", REPO)
    assert reason(failed, "SourceVerified") == reason(failed, "Ready") == "VerificationError"

    await keys(story, ada__sshpub=signer.public_line)
    await story.pull("with-keys")
    failed = await story.failed("repo", f"signature verification of commit '{unsigned}' failed", REPO)
    assert reason(failed, "SourceVerified") == "InvalidCommitSignature"
    assert condition(failed, "SourceVerified") == "False"
    assert "artifact" not in failed["status"]

    signed = sign_head(story.git, signer)
    await story.pull("signed")
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    expected = f"verified signature of\n\t- commit '{signed}' with key '{signer.fingerprint}'"
    assert (message(source, "SourceVerified"), reason(source, "SourceVerified")) == (expected, "Succeeded")
    assert source["status"]["sourceVerificationMode"] == "HEAD"
    assert source["status"]["artifact"]["revision"] == f"main@sha1:{signed}"

    story.git.commit({"c.yaml": CONFIG % ("c", "y")})
    sign_head(story.git, SSHSigner())
    await story.pull("by-another")
    failed = await story.failed("repo", "unable to verify payload with any of the given authorized keys", REPO)
    assert failed["status"]["artifact"] == source["status"]["artifact"]
    assert condition(failed, "SourceVerified") == "False"

    await story.source()
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert condition(source, "SourceVerified") == ""


async def test_a_key_that_left_the_secret_no_longer_vouches(story: Story) -> None:
    key = Tsk.generate("Ada <ada@example.org>")
    certificate = key.extract_certificate()
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    signed = sign_head(story.git, lambda payload: sign(key.signer(), payload, mode=SignatureMode.DETACHED).decode())
    await keys(story, author=str(certificate))
    await story.source(verify={"mode": "HEAD", "secretRef": {"name": "keys"}})
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    identity = certificate.fingerprint[-16:].upper()
    assert message(source, "SourceVerified").endswith(f"commit '{signed}' with key '{identity}'")

    await keys(story, author=str(Tsk.generate("Bob <bob@example.org>").extract_certificate()))
    await story.pull("other-keys")
    failed = await story.failed("repo", "unable to verify payload with any of the given key rings", REPO)
    assert failed["status"]["artifact"] == source["status"]["artifact"]


async def test_signed_tags(story: Story) -> None:
    signer = SSHSigner()
    commit = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await keys(story, ada__sshpub=signer.public_line)
    verify = {"mode": "Tag", "secretRef": {"name": "keys"}}
    await story.source(verify=verify)
    stalled = await story.failed("repo", "if a tag reference is not specified", REPO)
    assert reason(stalled, "Stalled") == reason(stalled, "SourceVerified") == "InvalidVerificationMode"

    story.git.tag("v1.0.0", commit)
    await story.source(verify=verify, ref={"semver": ">=1.0.0"})
    failed = await story.failed("repo", f"cannot verify signature of tag 'v1.0.0@{commit}'", REPO)
    assert reason(failed, "SourceVerified") == "InvalidGitObject"

    sign_tag(story.git, "v1.0.1", commit, SSHSigner())
    await story.pull("by-another")
    failed = await story.failed("repo", "signature verification of tag 'v1.0.1@", REPO)
    assert reason(failed, "SourceVerified") == "InvalidTagSignature"

    tag = sign_tag(story.git, "v1.0.2", commit, signer)
    await story.pull("signed")
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert message(source, "SourceVerified") == (
        f"verified signature of\n\t- tag 'v1.0.2@{tag}' with key '{signer.fingerprint}'"
    )
    assert source["status"]["sourceVerificationMode"] == "Tag"

    await story.source(verify={**verify, "mode": "TagAndHEAD"}, ref={"semver": ">=1.0.0"})
    failed = await story.failed("repo", f"signature verification of commit '{commit}' failed", REPO)
    assert reason(failed, "SourceVerified") == "InvalidCommitSignature"
    sign_tag(story.git, "v1.1.0", signed := sign_head(story.git, signer), signer)
    await story.pull("both")
    source = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
    assert f"\n\t- commit '{signed}' with key" in message(source, "SourceVerified")
    assert source["status"]["artifact"]["revision"] == f"v1.1.0@sha1:{signed}"
