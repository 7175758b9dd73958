"""The reference page of supported forms, made from the tables that the extractors run on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, get_args

from agent.core.models.decide import decide
from agent.core.models.extract.declared import DATA_ACTIONS, PREFIX
from agent.core.models.extract.files import DOCUMENTS
from agent.core.models.extract.registry import FAMILIES
from agent.core.models.extract.server import Server
from agent.core.models.extract.servers import (
    CACHE_ENV,
    DELIVERED_ENV,
    GENERIC_ENV,
    GENERIC_FLAGS,
    GENERIC_REVISION_ENV,
    MODELSCOPE_ENV,
    SERVERS,
)
from agent.core.models.extract.workloads import ROOTS
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Cause, Kind, Operation
from agent.core.models.ref import unresolved
from agent.core.registries.whom import entries_for

_HASH: Final = "0123456789abcdef" * 4
_COMMIT: Final = _HASH[:40]
_MD5: Final = _HASH[:32]
_IMAGE_DIGEST: Final = f"sha256:{_HASH}"

SPELLINGS: Final[tuple[tuple[Grammar, str], ...]] = (
    (Grammar.KSERVE, "hf://org/model"),
    (Grammar.KSERVE, f"hf://org/model:{_COMMIT}"),
    (Grammar.DYNAMO, f"hf://org/model@{_COMMIT}"),
    (Grammar.OME, "hf://org/model@v1"),
    (Grammar.AIBRIX, "huggingface://org/model"),
    (Grammar.GENERIC, "hf://datasets/org/data@v1/train.parquet"),
    (Grammar.HUB, "org/model"),
    (Grammar.HUB, "org/model-GGUF:Q4_K_M"),
    (Grammar.HUB, "https://huggingface.co/org/model/resolve/main/weights.gguf"),
    (Grammar.LLAMA_CPP, "user/repo:Q8_0"),
    (Grammar.IMAGE, "nginx"),
    (Grammar.IMAGE, f"ghcr.io/org/model:v1@{_IMAGE_DIGEST}"),
    (Grammar.KSERVE, "oci://registry.example/model:v1"),
    (Grammar.KSERVE, f"oci+native://registry.example/model@{_IMAGE_DIGEST}"),
    (Grammar.OME, "oci://n/tenancy/b/bucket/o/models/m"),
    (Grammar.KSERVE, "s3://bucket/model/"),
    (Grammar.KSERVE, "s3://bucket/model?versionId=abc"),
    (Grammar.KUBEAI, "oss://bucket/model"),
    (Grammar.KSERVE, "gs://bucket/model"),
    (Grammar.KSERVE, "gs://bucket/model#1700000000"),
    (Grammar.KSERVE, "https://account.blob.core.windows.net/container/model"),
    (Grammar.GENERIC, "abfss://container@account.dfs.core.windows.net/model"),
    (Grammar.GENERIC, "as://account/container/model"),
    (Grammar.KSERVE, "https://account.file.core.windows.net/share/model"),
    (Grammar.KSERVE, "https://host.example/model.tar.gz"),
    (Grammar.KSERVE, "https://host.example/org/model.git"),
    (Grammar.GENERIC, f"https://github.com/org/repo/archive/{_COMMIT}.zip"),
    (Grammar.KSERVE, "hdfs://namenode/model"),
    (Grammar.KSERVE, "pvc://claim/model"),
    (Grammar.HUB, "/mnt/models"),
    (Grammar.OME, "local:///data/model"),
    (Grammar.GENERIC, "models:/name/7"),
    (Grammar.GENERIC, "models:/name@champion"),
    (Grammar.GENERIC, "models:/name/Production"),
    (Grammar.GENERIC, "models:/m-0123456789abcdef"),
    (Grammar.GENERIC, "runs:/0123456789abcdef/model"),
    (Grammar.GENERIC, "wandb-artifact://entity/project/model:v3"),
    (Grammar.GENERIC, "wandb-artifact://entity/project/model:best"),
    (Grammar.GENERIC, f"wandb-artifact://entity/project/model@{_MD5}"),
    (Grammar.WANDB, "entity/project/model:v3"),
    (Grammar.GENERIC, "modelscope://org/model:v1"),
    (Grammar.GENERIC, "ngc://nim/org/model:1.2"),
    (Grammar.GENERIC, "ngc://nim/org/model:1.2?file=config.json"),
    (Grammar.NGC, "org/team/model"),
    (Grammar.GENERIC, "delta://bucket/table@v7"),
    (Grammar.GENERIC, "delta://bucket/table"),
    (Grammar.GENERIC, "delta+s3://bucket/table"),
    (Grammar.GENERIC, "s3://bucket/table?versionAsOf=7"),
    (Grammar.GENERIC, "iceberg://catalog/sales.orders@3821550127947089009"),
    (Grammar.GENERIC, "iceberg://catalog/sales.orders#audit"),
    (Grammar.GENERIC, f"lakefs://repo/{_HASH}/model"),
    (Grammar.GENERIC, "lakefs://repo/main/model"),
    (Grammar.GENERIC, "pfs://project/repo@master:/model"),
    (Grammar.KUBEAI, "ollama://llama3:8b"),
    (Grammar.KSERVE, "model-registry://name"),
    (Grammar.KSERVE, "model-registry://name/v1"),
    (Grammar.KSERVE, "model-registry://registry.kubeflow.svc:8080/name/v1"),
    (Grammar.GENERIC, "bento://iris:x1y2"),
    (Grammar.OME, "vendor://name/model"),
)
"""One example of each form; canonical form and pin are computed."""

_INTRODUCTION: Final = """# Model and data references

This page is made from the code (`agent.core.models.forms`); a test fails when it is out of date.

Weir reads references to models and data from rendered manifests and from files in Git, and reports every change of
one as a change record. A *spelling* is the text in Git, the *canonical* form is the same for all spellings that mean
the same. *Pinned* says whether the text itself names immutable content: `true`, `false` (the same text may mean other
content tomorrow), `soft` (fixed by convention) or `opaque` (no protocol tells the content). A *slot* is the stable
logical place of a reference in its object (`predictor.model`, `container[vllm].image`): names, never positions.
"""

_RECORDS: Final = """\
One record per object and slot. Its id depends on the Kustomization, the object, the slot and the canonical forms and
digests of both sides: the same change always has the same id. Without a registry at hand, a side whose text does not
fix the content says so in `identity.unresolved`. `direction` is `revert-to:<revision>` when the slot had this content
before, `forward` when it is known not to have had it, else `unknown`. What Secrets hold is never shown.

Where KServe's `storage` names a model, an entry of a Secret (`key`) completes the address: its `path` is the reference,
`unresolved` is `secret-keyed`, and nobody is asked. Its `parameters` tell `type`, `bucket` and `endpoint_url` as far as
they are there. Another `key` alone is a record of kind `credential`.

`impact` names the Kustomization, the objects of the same build that use the changed one (a service its runtime, a
workload its ConfigMaps, an experiment its models, and so on, also in several steps) and the Canaries of all of them.
Against a cluster, also those objects that other Kustomizations have applied to it, and these Kustomizations;
[offline](plan.md#users-in-other-folders) those that other folders hold. Of a
file it names the Kustomizations of its source that read it when they are built, and those whose `spec.path` is the
nearest folder above it. A changed runtime reaches running services when they are reconciled next: `cause` is then
`runtime-indirect`.
`impact.jobs` names the [DataTriggers](kinds/datatrigger.md) that it would have start a run."""

_OPERATIONS: Final = {
    "added": "only the new side has the slot",
    "removed": "only the old side has it; what could not be read never counts as removed",
    "changed": "other content, as far as digests or, without them, the canonical text tell",
    "respelled": "the same content, written differently",
    "metadata-only": "another revision whose served files are the same",
    "moved": "the same pinned content in another place, or the same object in another Kustomization",
    "floated": "the same text means other content now, with no commit; files behind a pin that were overwritten, too",
    "stale-serving": "what runs is not what Git resolves to",
    "pin-lost": "pinned content can no longer be fetched",
    "parse-error": "an object or file that could not be read; the others are reported as usual",
}


_CAUSES: Final = {
    "commit": "a commit brought it",
    "float": "nobody changed anything: the same text means other content now",
    "tag-event": "a tag of a registry in Git tags (GTO) was set, moved or deleted, with or without a commit",
    "policy-bump": "no record of this version has it; kept for pins that a policy writes. A write-back is a `commit`",
    "secret": "a commit changed the data of a Secret",
    "runtime-indirect": "a commit changed the runtime of services that run",
    "drift": "what runs, or what the registry has, is no longer what was resolved",
}

_TAGS: Final = """\
[GTO](https://dvc.org/doc/gto), which DVC's model registry uses, keeps versions and stages in annotated Git tags alone.
They are read of the repositories that [GitRepositories](kinds/gitrepository.md#tags-that-register-models) follow, and
by [`weir plan`](plan.md#tags).

| Tag | What it does |
|---|---|
| `name@v1.2.3` | registers a version at the commit that it is on |
| `name#prod#2`, `name#prod` | assigns the stage to what is at that commit; the last one counts |
| `name@v1.2.3!`, `name#prod!#3` | takes it back: a stage then has what it had before |
| `name@deprecated` | takes back all of the artifact, until the next tag |

A name may have slashes; `folder=name` is artifact `folder:name`, which `folder/dvc.yaml` declares. As in GTO, versions
are semantic ones with a `v`, light tags do not count, and a stage loses a version that is deregistered. GTO goes by the
time of the tags; Weir goes by the number at the end, which GTO counts up for each artifact, and by the time where that
does not tell. What is called by digits alone (`fix#123`) is no stage.

| Slot | Says |
|---|---|
| `artifact` | the highest version that is registered |
| `stage[prod]` | what the stage has; a commit without a version counts too |
| `version[v1.2.3]` | the tag of an earlier version was moved |

Of an artifact the 20 highest versions and 20 stages are followed, of a repository 200 artifacts; where there are as
many, none counts as new or gone.

The object is `File` with the path that `dvc.yaml` (`artifacts`), else `artifacts.yaml`, has for the artifact, or its
name where neither has one: such an artifact counts only while it has a stage, since other projects tag their releases
in the same way. Type `data` or `dataset` makes kind `data`, any other and none `model`; `files` of
[policies](kinds/changepolicy.md#references-of-ones-own) may say otherwise of data. Spelling is the tag, scheme is
`gto`, `canonical` is `gto:name@v1.2.3@<commit>`: the commit is the pin. The same commit under another tag is no change.
A version whose tag was moved to another commit has `floated` and action `alert`."""

_ABSENT: Final = """\
- TensorFlow Serving's file of models in Git, under another name than `models.config`. In a ConfigMap the key may have
  any name, if its text begins with `model_config_list` (after comments): a file that a script writes is not read. What
  `custom_model_config` holds is not read either.
- Escapes in TensorFlow Serving's texts other than of quotes and backslashes: such a file is a `parse-error`.
- What a cache folder of a container holds: the folder is a setting, its content nobody can tell."""


def page() -> str:
    """The whole page as Markdown."""
    sections: Sequence[tuple[str, Iterable[str]]] = (
        ("Spellings", _spellings()),
        ("Objects with reference fields", _objects()),
        ("Pod templates", _pods()),
        ("Servers", _servers()),
        ("Files in Git", _files()),
        ("Tags that register models", [_TAGS]),
        ("Annotations", _annotations()),
        ("Change records", _operations()),
        ("Default actions", _actions()),
        ("Not in this version", [_ABSENT]),
    )
    return _INTRODUCTION + "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections)


def _spellings() -> Iterator[str]:
    yield "The same prefix can follow another grammar in another resource; the first column says whose rules apply."
    yield ""
    yield "*Asked* is the `scheme` of the [entries of a policy](kinds/changepolicy.md#resolution) that answer for what"
    yield "the text does not say; where it is empty, nobody can be asked."
    yield ""
    yield from _table("Grammar", "Spelling", "Scheme", "Canonical", "Pinned", "Asked")
    for grammar, spelling in SPELLINGS:
        ref = parse(spelling, grammar)
        pinned = str(ref.pinned).lower()
        asked = entries_for(ref.scheme)
        yield _row(grammar.value, f"`{_short(spelling)}`", ref.scheme, f"`{_short(ref.canonical)}`", pinned, asked)


def _objects() -> Iterator[str]:
    yield from _table("Group", "Kind", "What is read")
    for (group, kind), extractor in sorted(FAMILIES.items()):
        yield _row(group or "core", kind, _summary(extractor))


def _pods() -> Iterator[str]:
    yield "Containers, init containers, images, volumes, environment, command lines, node selectors and required node"
    yield "affinity are read at these places, and replicas beside them. Kinds that are not listed are read at"
    yield "`spec.template.spec` and a few other usual places."
    yield ""
    yield from _table("Group", "Kind", "Pod specs")
    for (group, kind), roots in sorted(ROOTS.items()):
        yield _row(group or "core", kind, ", ".join(f"`{'.'.join(root.fields)}`" for root in roots))


def _servers() -> Iterator[str]:
    yield "A server is recognised by its command, else by its image. A flag wins over a variable; `-` and `_` are the"
    yield "same in flag names. Scripts given to a shell with `-c`, and those in files of rendered ConfigMaps, are"
    yield "searched command by command; here-documents only where they run."
    yield ""
    yield from _table("Server", "Command or image", "Model", "Revision", "Other settings")
    for server in SERVERS:
        yield _row(server.name, _recognised(server), _model(server), _revision(server), _settings(server))
    generic = [*(f"`--{flag}`" for flag in GENERIC_FLAGS), *(f"`{name}`" for name in (*DELIVERED_ENV, *GENERIC_ENV))]
    revisions = ", ".join(f"`{name}`" for name in GENERIC_REVISION_ENV)
    yield _row("any other", "", ", ".join(generic), revisions, "")
    yield ""
    caches = ", ".join(f"`{name}`" for name in CACHE_ENV)
    asked = ", ".join(f"`{name}`" for name in MODELSCOPE_ENV)
    yield f"Names of models are ModelScope's where {asked} say so."
    yield ""
    yield f"Of every container also the folders of its caches, as settings: {caches}."


def _recognised(server: Server) -> str:
    return ", ".join([f"`{' '.join(words)}`" for words in server.programs] + [f"image `{i}`" for i in server.images])


def _model(server: Server) -> str:
    names = ["first argument"] if server.positional else []
    variables = [*server.model_env, *([server.file_env] if server.file_env else [])]
    names += [f"`{_flag(flag)}`" for flag in server.names(*server.model, *server.file, *server.models)]
    names += [f"`{name}`" for name in variables]
    return ", ".join(names)


def _revision(server: Server) -> str:
    return ", ".join([f"`{_flag(flag)}`" for flag in server.revision] + [f"`{name}`" for name in server.revision_env])


def _settings(server: Server) -> str:
    return ", ".join(f"`{_flag(flag)}`" for flag in server.names(*server.adapters, *server.settings))


def _flag(name: str) -> str:
    return f"--{name}" if len(name) > 3 else f"-{name}"


def _files() -> Iterator[str]:
    yield from _table("File", "What is read")
    yield _row("Git LFS pointer", "Digest and size of the content.")
    yield _row("git-annex pointer or link", "Digest and size of the content, where the key has one.")
    yield _row("submodule", "The commit.")
    yield _row("`*.dvc`", "Outputs of a ``.dvc`` file and, for imports, where they came from.")
    summaries = {
        "dvc.lock": "Stages that ran: data, parameters, command.",
        "dvc.yaml": "Stages and artifacts as written.",
    }
    for name, reader in sorted(DOCUMENTS.items()):
        yield _row(f"`{name}`", summaries.get(name) or _summary(reader))
    yield _row("`*croissant*.json`", "Croissant data card: files with their digests.")
    yield _row("`*.yaml`, `*.yml`", "Compiled Kubeflow pipeline: parameters, images, data.")
    yield _row("annotated tags `name@v1.2.3`, `name#stage#1`", "Registry of GTO: its latest version and its stages.")
    yield _row("`evals/**/*.json`, `results_*.json`, `*.sig`, `*.sigstore.json`, `*.intoto.jsonl`", "Evidence.")


def _annotations() -> Iterator[str]:
    yield "On an object or its pod template. `<slot>` is the name of a slot with `-` for every run of other characters:"
    yield "`container[vllm].model` is `container-vllm-model`."
    yield ""
    yield from _table("Annotation", "Meaning")
    for name in ("model-ref", "adapter-ref", "data-ref"):
        yield _row(f"`{PREFIX}{name}.<slot>`", "declares a reference; it takes the place of what the field says")
    yield _row(f"`{PREFIX}model-digest.<slot>`", "vouches for the content of a slot, as `algorithm:value`")
    yield _row(f"`{PREFIX}data-digest`", "digest of the data that the object was made from; a change asks for a gate")
    yield _row(f"`{PREFIX}model-role`", "the kind of what is a model by its field or a declaration, such as `adapter`")
    yield _row(f"`{PREFIX}model-role.<slot>`", "the kind of one slot")
    actions = ", ".join(f"`{action}`" for action in DATA_ACTIONS)
    yield _row(
        f"`{PREFIX}on-data-change`",
        f"the action in records of other data, pipelines and features of the object: {actions}; "
        "a DataTrigger that watches them still runs, save with `none`",
    )
    yield _row(f"`{PREFIX}ignore-change`", "`true` or a list of slots and kinds: report, but do nothing")


def _operations() -> Iterator[str]:
    yield _RECORDS
    yield ""
    yield from _table("Operation", "Meaning")
    for operation in get_args(Operation):
        yield _row(f"`{operation}`", _OPERATIONS[operation])
    yield ""
    yield "ETags, generations and times are given by whoever has the content: equal ones tell that two texts mean"
    yield "the same only at one address. Files of one size and one time have one ETag on many servers."
    yield ""
    yield from _table("Cause", "Meaning")
    for cause in get_args(Cause):
        yield _row(f"`{cause}`", _CAUSES[cause])
    yield ""
    yield "`floated`, `pin-lost`, and digests of what text does not pin, need a registry that a"
    yield "[ChangePolicy](kinds/changepolicy.md#resolution) names; without one, Git and what is built from it are read"
    yield "and nothing else. [What pods run](kinds/changepolicy.md#what-pods-run) tells of `stale-serving`."


def _actions() -> Iterator[str]:
    yield "What a record recommends when the content of a reference changed. This version tells it (in records and"
    yield "metrics) and does one of them by itself: `rollout`, for targets of a Canary, which begins a run when their"
    yield "pod template changes. A [ChangePolicy](kinds/changepolicy.md#rules) chooses otherwise, for each kind of"
    yield "change; without one, all else is applied as it stands in Git."
    yield ""
    old, new = unresolved("a", "s3", "s3://bucket/a"), unresolved("b", "s3", "s3://bucket/b")
    yield from _table("Kind", "Action", "Why")
    for kind in get_args(Kind):
        action, reason = decide(kind, "changed", old, new)
        yield _row(kind, action, reason.message)
    yield _row("adapter, loadable", *_decided("adapter", "hot-reload"))
    yield _row("config, changes answers", *_decided("config", "output"))
    yield _row("config, name of the model", *_decided("config", "api-name"))
    yield _row("scale or config, accelerators", *_decided("scale", "accelerator"))
    yield _row("any, fixed by the API", *_decided("model", "immutable"))


def _decided(kind: Kind, trait: Any) -> tuple[str, str]:
    old = unresolved("a", "s3", "s3://bucket/a")
    action, reason = decide(kind, "changed", old, old, traits=frozenset({trait}))
    return action, reason.message


def _summary(reader: Callable[..., Any]) -> str:
    if isinstance(reader, partial):
        return f"The whole file, as kind {reader.args[0]}."
    return (inspect.getdoc(reader) or "").partition("\n")[0]


def _short(text: str) -> str:
    """*text* with long hashes abbreviated."""
    for known in (_HASH, _COMMIT, _MD5):
        text = text.replace(known, f"{known[:8]}…")
    return text


def _table(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield _row(*("---" for _ in titles))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
