"""Flux reference 2.5: which keys count, and what says that a signature is missing. More of it in test_git_parity."""

from __future__ import annotations

from typing import Any

import pytest
from pysequoia import SignatureMode, Tsk, sign

from testbed.git.signing import SSHSigner, sign_head, sign_tag
from tests.scenarios.conformance.flux_source import looked, stored
from tests.scenarios.conftest import REPO, Story, conditions

VERIFY = {"secretRef": {"name": "keys"}}


async def keys(story: Story, **files: str) -> None:
    """Replace the Secret `keys`; two underscores in a name stand for its dot."""
    data = {name.replace("__", "."): content for name, content in files.items()}
    metadata = {"name": "keys", "namespace": story.namespace}
    await story.admin.delete("v1", "Secret", story.namespace, "keys", missing_ok=True)
    await story.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


async def refused(story: Story, text: str, reason: str) -> dict[str, Any]:
    """Wait until a signature was not good, for a reason and with a text."""
    found = await story.failed("repo", text, REPO)
    told = conditions(found)
    assert told["SourceVerified"][:2] == ("False", reason)
    assert told["Ready"] == ("False", *told["SourceVerified"][1:])
    return found


async def test_names_in_the_secret_tell_the_kind_of_key(story: Story) -> None:
    key, signer = Tsk.generate("Ada <ada@example.org>"), SSHSigner()
    story.git.commit({"a.yaml": "a: 1"})
    sign_head(story.git, lambda payload: sign(key.signer(), payload, mode=SignatureMode.DETACHED).decode())
    await keys(story, ada__sshpub=signer.public_line)
    await story.source(verify=VERIFY)
    words = "it has a PGP signature, and the Secret has no PGP public keys (*.asc)"
    assert "artifact" not in (await refused(story, words, "InvalidCommitSignature"))["status"]
    for token, name in (("asc", "ada__asc"), ("any", "author")):
        await keys(story, other__sshpub=signer.public_line, **{name: str(key.extract_certificate())})
        await looked(story, token)
        assert conditions(await stored(story))["SourceVerified"][:2] == ("True", "Succeeded")
    story.git.commit({"a.yaml": "a: 2"})
    sign_head(story.git, signer)
    await keys(story, ada__asc=str(key.extract_certificate()))
    await looked(story, "ssh")
    await refused(
        story, "it has an SSH signature, and the Secret has no SSH public keys (*.sshpub)", "InvalidCommitSignature"
    )


async def test_an_unsigned_commit(story: Story) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"})
    await keys(story, ada__sshpub=SSHSigner().public_line)
    await story.source(verify=VERIFY)
    await refused(story, f"signature verification of commit '{commit}' failed", "InvalidCommitSignature")
    await keys(story)
    await story.source(verify={"secretRef": {"name": "absent"}})
    await refused(story, "public keys secret error", "VerificationError")


@pytest.mark.parametrize("mode", ["Tag", "TagAndHEAD"])
async def test_tags_are_only_verified_where_one_is_followed(story: Story, mode: str) -> None:
    signer = SSHSigner()
    commit = sign_head_of_new_commit(story, signer)
    sign_tag(story.git, "v1.0.0", commit, signer)
    await keys(story, ada__sshpub=signer.public_line)
    for ref in ({"branch": "main"}, {"commit": commit}, {"name": "refs/heads/main"}):
        await story.source(verify={"mode": mode, **VERIFY}, ref=ref)
        found = await story.until(
            REPO,
            "repo",
            lambda seen: (
                conditions(seen).get("Stalled", ("",))[0] == "True"
                and (seen or {})["status"]["observedGeneration"] == (seen or {})["metadata"]["generation"]
            ),
        )
        assert conditions(found)["Stalled"][1] == conditions(found)["SourceVerified"][1] == "InvalidVerificationMode"
    for ref in ({"tag": "v1.0.0"}, {"semver": "1.x"}, {"name": "refs/tags/v1.0.0"}):
        await story.source(verify={"mode": mode, **VERIFY}, ref=ref)
        source = await stored(story)
        assert source["status"]["sourceVerificationMode"] == mode
        assert "\n\t- tag 'v1.0.0@" in conditions(source)["SourceVerified"][2]


def sign_head_of_new_commit(story: Story, signer: SSHSigner) -> str:
    """A signed commit at the head of main."""
    story.git.commit({"a.yaml": "a: 1"})
    return sign_head(story.git, signer)
