"""Programs that fetch a model beside the server: in hooks, init containers and jobs, with or without a command."""

from typing import Any

import pytest

from tests.unit.models.manifests import container, deployment, extracted, obj


def hook(*command: str) -> dict[str, Any]:
    return {"postStart": {"exec": {"command": list(command)}}}


@pytest.mark.parametrize(
    ("fields", "canonical"),
    [
        ({"image": "ollama/ollama:0.9", "lifecycle": hook("ollama", "pull", "llama3:8b")}, "ollama://library/llama3:8b"),
        (
            {"image": "ollama/ollama", "lifecycle": hook("/bin/sh", "-c", "sleep 5; ollama run qwen2.5")},
            "ollama://library/qwen2.5:latest",
        ),
        ({"image": "ollama/ollama", "args": ["pull", "llama3"]}, "ollama://library/llama3:latest"),
        ({"image": "amazon/aws-cli:2", "args": ["s3", "sync", "s3://b/m", "/models"]}, "s3://b/m"),
        ({"image": "public.ecr.aws/mirror/amazon/aws-cli", "args": ["s3", "cp", "s3://b/m", "/x"]}, "s3://b/m"),
        ({"image": "rclone/rclone", "args": ["copy", "s3:b/m", "/models"]}, "s3://b/m"),
    ],
)  # fmt: skip
def test_what_is_fetched_is_the_model(fields: dict[str, Any], canonical: str) -> None:
    slots = extracted(deployment(container(**fields))).slots
    assert slots["container[server].model"].ref.canonical == canonical


def test_a_command_of_ones_own_replaces_what_the_image_starts() -> None:
    odd = container(image="amazon/aws-cli", command=["/bin/true"], args=["s3", "cp", "s3://b/m", "/x"])
    assert "container[server].model" not in extracted(deployment(odd)).slots


def test_a_hook_does_not_hide_what_the_server_itself_is_told() -> None:
    served = container(
        image="vllm/vllm-openai",
        args=["--model", "/m", "--max-model-len", "8"],
        lifecycle=hook("hf", "download", "o/m"),
    )
    slots = extracted(deployment(served)).slots
    assert slots["container[server].--max-model-len"].ref.spelling == "8"
    models = {slot.ref.canonical for name, slot in slots.items() if slot.kind == "model"}
    assert models == {"file:///m", "hf://o/m@main"}


@pytest.mark.parametrize("broken", [{"lifecycle": []}, {"lifecycle": {"postStart": {"exec": "x"}}}])
def test_hooks_of_the_wrong_type_are_named(broken: dict[str, Any]) -> None:
    found = extracted(deployment(container(image="ollama/ollama", **broken)))
    assert any("lifecycle" in failure.path for failure in found.failures)


def test_the_data_set_of_a_training_job_is_a_data_set_of_the_hub() -> None:
    spec = {"initializer": {"dataset": {"storageUri": "hf://org/corpus"}, "model": {"storageUri": "hf://org/base"}}}
    slots = extracted(obj("trainer.kubeflow.org/v1alpha1", "TrainJob", spec)).slots
    assert slots["dataset"].ref.scheme == "hf-dataset"
    assert slots["model"].ref.scheme == "hf-model"
