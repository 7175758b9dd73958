"""The commit's message: evidence for people, trailers for programs, nothing that could be another trailer."""

from datetime import UTC, datetime

import msgspec
import pytest

from agent.core.rollout.quarantine import Rejected
from agent.core.writeback.message import branch_for, commit_message, is_own
from agent.core.writeback.result import STATUS, State, Written, decode_written

ENTRY = Rejected(
    slot="container[server].model",
    kind="model",
    rejected="hf://acme/chat@2",
    digest="d2",
    restore="hf://acme/chat@1",
    restore_digest="d1",
    revision="v2:ab",
    at=datetime(2026, 1, 2, tzinfo=UTC),
    verdict="Halt chat.models advancement latency 900 > 500",
)


def test_one_reference() -> None:
    text = commit_message("models/chat", "chat", [ENTRY], "c" * 40)
    assert text.splitlines() == [
        "Put back hf://acme/chat@1 on chat",
        "",
        "The rollout of chat rejected what Git asks for:",
        "- container[server].model: hf://acme/chat@2",
        "",
        ENTRY.verdict,
        "",
        "Weir-Canary: models/chat",
        "Weir-Revision: v2:ab",
        "Weir-Slot: container[server].model",
        "Weir-Rejected: hf://acme/chat@2",
        "Weir-Restored: hf://acme/chat@1",
        f"Weir-Verdict: {ENTRY.verdict}",
        f"Weir-Rejected-Commit: {'c' * 40}",
    ]
    assert is_own(text, "models/chat", "v2:ab")
    assert not is_own(text, "models/chat", "v2:abc")
    assert not is_own(text, "models/chatter", "v2:ab")


def test_several_references_and_hostile_texts() -> None:
    nasty = msgspec.structs.replace(
        ENTRY, slot="a\nWeir-Canary: x/y", rejected="r\n\nWeir-Revision: z", verdict="v\nw" * 500
    )
    text = commit_message("models/chat", "chat", [nasty, ENTRY], "")
    assert text.startswith("Put back 2 references on chat\n")
    assert not is_own(text, "x/y", "z")
    assert max(len(line) for line in text.splitlines()) < 500
    long = commit_message("m/c", "c" * 63, [msgspec.structs.replace(ENTRY, restore="x" * 300)], "")
    assert len(long.splitlines()[0]) <= 72


def test_hashes_are_short_in_the_subject_only() -> None:
    restored = f"hf://acme/chat@{'1f3c' * 10}"
    text = commit_message("m/c", "chat", [msgspec.structs.replace(ENTRY, restore=restored)], "")
    assert text.splitlines()[0] == "Put back hf://acme/chat@1f3c1f3c1f3c on chat"
    assert f"Weir-Restored: {restored}" in text.splitlines()


def test_a_rejection_has_one_branch() -> None:
    assert branch_for("models", "chat", "v2:0a1b") == "weir/put-back/models-chat-v2-0a1b"


def test_a_result_is_read_again_and_a_broken_one_is_none() -> None:
    written = Written(revision="v2:ab", state="failed", text="away", at=ENTRY.at)
    again = decode_written({STATUS: msgspec.json.encode(written).decode()})
    assert again == written
    assert msgspec.structs.replace(written, at=None).says(again)
    assert not msgspec.structs.replace(written, text="back").says(again)
    naive = msgspec.json.encode(written).decode().replace("Z", "")
    garbage = ("", "{", "{}", "[]", "[" * 100_000, naive)
    assert [decode_written({STATUS: text}) for text in garbage] == [None] * len(garbage)


@pytest.mark.parametrize(
    ("state", "proposal", "settled"),
    [
        ("failed", "", False),
        ("refused", "", False),
        ("declined", "", False),
        ("committed", "", True),
        ("dropped", "", True),
        ("proposed", "", False),
        ("proposed", "open", False),
        ("proposed", "merged", True),
        ("proposed", "closed", True),
    ],
)
def test_what_is_looked_at_again(state: State, proposal: str, settled: bool):
    assert Written(revision="", state=state, text="", proposal=proposal).settled is settled
