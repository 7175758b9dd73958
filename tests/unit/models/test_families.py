"""Serving resources of many projects, one row per documented place of a reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.models.manifests import A, B, compare, container, extracted, obj, only, vllm

Row = tuple[str, str, dict[str, Any], dict[str, tuple[str, str]]]

SEVEN = "registry.example"
SERVE = """
applications:
- name: llm
  import_path: ray.serve.llm:build_openai_app
  runtime_env:
    working_dir: https://github.com/o/r/archive/{commit}.zip
  args:
    llm_configs:
    - model_loading_config: {{model_id: chat, model_source: org/m}}
      engine_kwargs: {{revision: {commit}, dtype: half, tensor_parallel_size: 2}}
      lora_config: {{dynamic_lora_loading_path: "s3://b/lora"}}
      accelerator_type: A10G
"""

ROWS: list[Row] = [
    ("mlops.seldon.io/v1alpha1", "Model",
     {"storageUri": "gs://b/m", "artifactVersion": 3, "requirements": ["xgboost", "a"], "server": "big",
      "explainer": {"type": "anchor", "modelRef": "iris"}, "parameters": [{"name": "p", "value": "1"}], "replicas": 2},
     {"model": ("model", "gs://b/m#version=3"), "requirements": ("runtime", "a,xgboost"),
      "server": ("runtime", "server:big"), "explainer.model": ("model", "model:iris"),
      "explainer.type": ("config", "anchor"), "parameter[p]": ("config", "1"), "replicas": ("scale", "2")}),
    ("mlops.seldon.io/v1alpha1", "Experiment",
     {"default": "a", "candidates": [{"name": "a", "weight": 50}], "mirror": {"name": "c", "percent": 10}},
     {"default": ("traffic", "a"), "candidate[a].weight": ("traffic", "50"), "mirror.name": ("traffic", "c"),
      "mirror.percent": ("traffic", "10")}),
    ("machinelearning.seldon.io/v1", "SeldonDeployment",
     {"predictors": [{"name": "p", "traffic": 100, "replicas": 1,
                      "graph": {"name": "n", "modelUri": "s3://b/m", "implementation": "SKLEARN_SERVER",
                                "children": [{"name": "k", "modelUri": "pvc://c/m"}]},
                      "explainer": {"type": "a", "modelUri": "gs://b/e"}}]},
     {"predictor[p].graph[n].model": ("model", "s3://b/m"), "predictor[p].graph[k].model": ("model", "pvc://c/m"),
      "predictor[p].graph[n].implementation": ("runtime", "SKLEARN_SERVER"),
      "predictor[p].explainer.model": ("model", "gs://b/e"), "predictor[p].explainer.type": ("config", "a"),
      "predictor[p].traffic": ("traffic", "100"), "predictor[p].replicas": ("scale", "1")}),
    ("kubeai.org/v1", "Model",
     {"url": "hf://org/m", "engine": "VLLM", "adapters": [{"name": "sql", "url": "s3://b/sql"}], "minReplicas": 0,
      "args": ["--max-model-len=8192", "--quantization=awq"], "resourceProfile": "nvidia-gpu-l4:1",
      "image": "vllm/vllm-openai:v1"},
     {"model": ("model", "hf://org/m@main"), "adapter[sql]": ("adapter", "s3://b/sql"), "engine": ("runtime", "VLLM"),
      "engine.--max-model-len": ("config", "8192"), "engine.--quantization": ("quantization", "awq"),
      "resourceProfile": ("scale", "nvidia-gpu-l4:1"), "image": ("code-image", "oci://docker.io/vllm/vllm-openai:v1"),
      "minReplicas": ("scale", "0")}),
    ("apps.nvidia.com/v1alpha1", "NIMCache",
     {"source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1", "authSecret": "ngc",
                         "model": {"profiles": ["b", "a"], "precision": "fp8"}}}, "storage": {"pvc": {"name": "c"}}},
     {"source.modelPuller": ("model", "oci://nvcr.io/nim/meta/llama:1"),
      "source.secret": ("credential", "secret://ml/ngc"), "source.profiles": ("config", "a,b"),
      "source.precision": ("quantization", "fp8"), "storage": ("model", "pvc://c")}),
    ("apps.nvidia.com/v1alpha1", "NIMCache",
     {"source": {"hf": {"endpoint": "https://hub.example", "namespace": "org", "modelName": "m", "revision": A}}},
     {"source.model": ("model", f"hf://org/m@{A}"), "source.endpoint": ("config", "https://hub.example")}),
    ("apps.nvidia.com/v1alpha1", "NIMCache",
     {"source": {"dataStore": {"namespace": "org", "datasetName": "d"}}},
     {"source.data": ("data", "hf://datasets/org/d@main")}),
    ("apps.nvidia.com/v1alpha1", "NIMService",
     {"image": {"repository": "nvcr.io/nim/meta/llama", "tag": f"1.2@sha256:{'a' * 64}"}, "replicas": 1,
      "storage": {"nimCache": {"name": "c", "profile": "tp1"}},
      "env": [{"name": "NIM_SERVED_MODEL_NAME", "value": "x"}, {"name": "NGC_API_KEY", "value": "hunter2"}]},
     {"image": ("code-image", f"oci://nvcr.io/nim/meta/llama@sha256:{'a' * 64}"), "nimCache": ("model", "nimcache:c"),
      "nimCache.profile": ("config", "tp1"), "nim.--served-model-name": ("config", "x"), "replicas": ("scale", "1")}),
    ("apps.nvidia.com/v1alpha1", "NIMBuild", {"nimCache": {"name": "c", "profile": "p"}, "modelName": "m"},
     {"nimCache": ("model", "nimcache:c"), "nimCache.profile": ("config", "p"), "modelName": ("config", "m")}),
    ("model.aibrix.ai/v1alpha1", "ModelAdapter",
     {"artifactURL": "huggingface://org/sql", "baseModel": "chat", "additionalConfig": {"api-key": "x", "rank": "8"}},
     {"adapter": ("adapter", "hf://org/sql@main"), "baseModel": ("runtime", "model:chat"),
      "additionalConfig[rank]": ("config", "8")}),
    ("model.aibrix.ai/v1alpha1", "ModelClaim",
     {"artifactURL": "gcs://b/m", "modelName": "chat", "engine": "vllm", "engineConfig": {"args": {"--dtype": "half"}}},
     {"model": ("model", "gs://b/m"), "modelName": ("config", "chat"), "engine": ("runtime", "vllm"),
      "engine.--dtype": ("config", "half")}),
    ("nvidia.com/v1alpha1", "DynamoModel",
     {"modelName": "sql", "modelType": "lora", "baseModelName": "org/m", "source": {"uri": f"hf://org/sql@{A}"}},
     {"adapter": ("adapter", f"hf://org/sql@{A}"), "modelName": ("config", "sql"),
      "baseModel": ("runtime", "model:org/m")}),
    ("nvidia.com/v1alpha1", "DynamoModel", {"modelName": "org/m", "modelType": "base"},
     {"model": ("model", "hf://org/m@main")}),
    ("nvidia.com/v1alpha1", "DynamoGraphDeployment",
     {"services": {"Worker": {"replicas": 2, "resources": {"limits": {"gpu": "1"}}, "extraPodSpec": {"mainContainer": {
         "command": ["python3", "-m", "dynamo.sglang"], "args": ["--model-path", "org/m"]}}}}},
     {"service[Worker].container[main].model": ("model", "hf://org/m@main"),
      "service[Worker].replicas": ("scale", "2"), "service[Worker].accelerators": ("scale", "1")}),
    ("nvidia.com/v1beta1", "DynamoGraphDeployment",
     {"components": [{"name": "w", "podTemplate": {"spec": {"containers": [
         {"name": "main", "command": ["python3", "-m", "dynamo.vllm", "--model", "org/m"]}]}}}]},
     {"service[w].container[main].model": ("model", "hf://org/m@main")}),
    ("ome.io/v1beta1", "ClusterBaseModel",
     {"storage": {"storageUri": "oci://n/t/b/models/o/llama", "key": "k"}, "version": "1", "quantization": "fp8"},
     {"model": ("model", "oci-object://t/models/llama"), "storage.key": ("credential", "k"), "version": ("config", "1"),
      "quantization": ("quantization", "fp8")}),
    ("ome.io/v1beta1", "FineTunedWeight",
     {"baseModelRef": {"name": "llama"}, "storage": {"storageUri": "oci://tenancy/bucket/sql/"}},
     {"adapter": ("adapter", "oci-object://tenancy/bucket/sql"), "baseModel": ("model", "basemodel:llama")}),
    ("nvidia.com/v1alpha1", "DynamoComponentDeployment",
     {"replicas": 1, "modelRef": {"name": "org/m", "revision": A},
      "extraPodSpec": {"mainContainer": {"image": "d:1"}}},
     {"modelRef": ("model", f"hf://org/m@{A}"), "replicas": ("scale", "1"),
      "container[main].image": ("code-image", "oci://docker.io/library/d:1")}),
    ("nvidia.com/v1beta1", "DynamoGraphDeploymentRequest", {"model": "org/m", "backend": "vllm"},
     {"model": ("model", "hf://org/m@main"), "backend": ("runtime", "vllm")}),
    ("inference.networking.x-k8s.io/v1alpha2", "InferenceModel",
     {"modelName": "chat", "targetModels": [{"name": "a", "weight": 10}]},
     {"modelName": ("config", "chat"), "target[a].weight": ("traffic", "10")}),
    ("ome.io/v1beta1", "InferenceService",
     {"model": {"name": "llama", "kind": "BaseModel", "fineTunedWeights": ["sql"]}, "runtime": {"name": "fast"},
      "engine": {"minReplicas": 1, "runner": {"name": "r", "image": "sglang:1", "args": ["--model-path", "/m"]}}},
     {"model": ("model", "basemodel:llama"), "adapter[sql]": ("adapter", "finetunedweight:sql"),
      "runtime": ("runtime", "servingruntime:fast"), "engine.minReplicas": ("scale", "1"),
      "engine.container[runner].image": ("code-image", "oci://docker.io/library/sglang:1"),
      "engine.container[runner].model": ("model", "file:///m")}),
    ("ray.io/v1", "RayService", {"serveConfigV2": SERVE.format(commit=A)},
     {"app[llm].import_path": ("code-image", "ray.serve.llm:build_openai_app"),
      "app[llm].working_dir": ("code-image", f"https://github.com/o/r/archive/{A}.zip"),
      "app[llm].model": ("model", f"hf://org/m@{A}"), "app[llm].model_id": ("config", "chat"),
      "app[llm].dtype": ("config", "half"), "app[llm].tensor_parallel_size": ("config", "2"),
      "app[llm].adapters": ("adapter", "s3://b/lora"), "app[llm].accelerators": ("scale", "A10G")}),
    ("ray.io/v1", "RayService",
     {"serveConfigV2": "applications:\n- args:\n    llm_configs: [models.yaml]\n    model: org/m\n"},
     {"app[default].llm_config": ("config", "file://models.yaml"),
      "app[default].model": ("model", "hf://org/m@main")}),
    ("ray.io/v1", "RayService",
     {"serveConfigV2": "applications: [{name: a, args: {llm_configs: ["
                       "{model_loading_config: {model_id: org/x}},"
                       "{model_loading_config: {model_id: y, model_source: {bucket_uri: 's3://b/y'}}}]}}]"},
     {"app[a].llm[org/x].model": ("model", "hf://org/x@main"), "app[a].llm[y].model": ("model", "s3://b/y"),
      "app[a].llm[y].model_id": ("config", "y")}),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob",
     {"initializer": {"dataset": {"storageUri": "hf://datasets/org/d"}, "model": {"storageUri": "s3://b/m"}},
      "runtimeRef": {"name": "torch"}, "trainer": {"image": "t:1", "numNodes": 2, "args": ["--x"]}},
     {"dataset": ("data", "hf://datasets/org/d@main"), "model": ("model", "s3://b/m"),
      "runtime": ("runtime", "trainingruntime:torch"), "trainer.numNodes": ("scale", "2"),
      "trainer.--x": ("config", "true"),
      "trainer.image": ("code-image", "oci://docker.io/library/t:1")}),
    ("production-stack.vllm.ai/v1alpha1", "VLLMRuntime", {"model": {"modelURL": "org/m"}},
     {"model": ("model", "hf://org/m@main")}),
    ("production-stack.vllm.ai/v1alpha1", "LoraAdapter",
     {"baseModel": "chat", "adapterSource": {"repository": "org/sql", "adapterName": "sql"}},
     {"adapter": ("adapter", "hf://org/sql@main"), "baseModel": ("runtime", "model:chat")}),
    ("resources.yatai.ai/v1alpha1", "BentoRequest", {"bentoTag": "iris:abc", "models": [{"tag": "iris_clf:latest"}]},
     {"bento": ("model", "bento://iris:abc"), "model[iris_clf]": ("model", "bento://iris_clf:latest")}),
    ("serving.yatai.ai/v2alpha1", "BentoDeployment", {"bento": "iris:abc"}, {"bento": ("model", "bento://iris:abc")}),
    ("data.fluid.io/v1alpha1", "Dataset", {"mounts": [{"name": "m", "mountPoint": "s3://b/d"}]},
     {"mount[m]": ("data", "s3://b/d")}),
    ("argoproj.io/v1alpha1", "Workflow",
     {"arguments": {"parameters": [{"name": "in", "value": "s3://b/d"}, {"name": "n", "value": 3}]},
      "templates": [{"name": "t", "container": {"image": "i:1", "args": ["--model", "org/m"]},
                     "inputs": {"artifacts": [{"name": "a", "s3": {"bucket": "b", "key": "k"}},
                                              {"name": "g", "git": {"repo": "https://h.example/r.git",
                                                                    "revision": A}}]}}]},
     {"param[in]": ("data", "s3://b/d"), "param[n]": ("pipeline", "3"),
      "template[t].container.image": ("code-image", "oci://docker.io/library/i:1"),
      "template[t].container.model": ("model", "hf://org/m@main"), "template[t].artifact[a]": ("data", "s3://b/k"),
      "template[t].artifact[g]": ("data", f"https://h.example/r.git@{A}")}),
    *(("argoproj.io/v1alpha1", kind, {"arguments": {"parameters": [{"name": "in", "value": "s3://b/d"}]}},
       {"param[in]": ("data", "s3://b/d")}) for kind in ("WorkflowTemplate", "ClusterWorkflowTemplate")),
    ("argoproj.io/v1alpha1", "CronWorkflow",
     {"workflowSpec": {"arguments": {"parameters": [{"name": "in", "value": "s3://b/d"}]}}},
     {"param[in]": ("data", "s3://b/d")}),
    ("pipelines.kubeflow.org/v2beta1", "PipelineVersion",
     {"pipelineSpec": {
         "root": {"inputDefinitions": {"parameters": {"rows": {"defaultValue": 5, "parameterType": "NUMBER_INTEGER"},
                                                      "data": {"defaultValue": "s3://b/d"}, "free": {}}}},
         "deploymentSpec": {"executors": {
             "exec-train": {"container": {"image": "python:3.11", "command": ["sh"]}},
             "exec-importer": {"importer": {"artifactUri": {"constant": "gs://b/set"}}}}}}},
     {"param[rows]": ("pipeline", "5"), "param[data]": ("data", "s3://b/d"),
      "executor[exec-train].image": ("code-image", "oci://docker.io/library/python:3.11"),
      "executor[exec-importer].artifact": ("data", "gs://b/set")}),
    ("tekton.dev/v1", "TaskRun", {"taskRef": {"name": "train"}, "params": [{"name": "data", "value": "gs://b/d"}]},
     {"param[data]": ("data", "gs://b/d"), "taskRef": ("pipeline", "task:train")}),
    ("serving.kserve.io/v1alpha1", "TrainedModel",
     {"inferenceService": "multi", "model": {"storageUri": "s3://b/m", "framework": "sklearn", "memory": "1Gi"}},
     {"model": ("model", "s3://b/m"), "framework": ("config", "sklearn"), "memory": ("scale", "1Gi"),
      "service": ("runtime", "inferenceservice:multi")}),
    *(("serving.kserve.io/v1alpha1", kind,
       {"sourceModelUri": "hf://org/m", "modelSize": "10Gi", "nodeGroups": ["b", "a"], "storage": {"key": "k"}},
       {"model": ("model", "hf://org/m@main"), "modelSize": ("scale", "10Gi"), "nodeGroups": ("scale", "a,b"),
        "storage.key": ("credential", "k")}) for kind in ("LocalModelCache", "LocalModelNamespaceCache")),
    ("serving.kserve.io/v1beta1", "InferenceService",
     {"predictor": {"model": {"storage": {"key": "k", "path": "m", "schemaPath": "s.json"},
                              "confidential": {"enabled": True, "resourceId": "kbs:///a/b/c"}}}},
     {"predictor.model": ("model", "storage-key:///m"), "predictor.storage.key": ("credential", "k"),
      "predictor.schema": ("config", "s.json"),
      "predictor.confidential": ("credential", "key-broker:kbs:///a/b/c"),
      "predictor.confidential.enabled": ("credential", "true")}),
    ("apps.nvidia.com/v1alpha1", "NIMCache",
     {"source": {"ngc": {"modelEndpoint": "ngc://nim/org/m:1", "model": {"gpus": [{"product": "h100"}]}}}},
     {"source.model": ("model", "ngc://nim/org/m:1"), "source.gpu[h100]": ("config", '{"product":"h100"}')}),
    ("resources.yatai.ai/v1alpha1", "BentoRequest",
     {"models": [{"tag": "iris:1", "downloadUrl": "https://u:p@h.example/m.tar?sig=hunter2"}]},
     {"model[iris]": ("model", "bento://iris:1"), "model[iris].download": ("model", "https://h.example/m.tar")}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease",
     {"values": {"modelArtifacts": {"uri": "pvc+hf://claim/org/m", "size": "20Gi", "authSecretName": "hub"},
                 "servingEngineSpec": {"modelSpec": [
                     {"name": "a", "hf_token": "hunter2"},
                     {"name": "b", "hf_token": {"secretName": "s", "secretKey": "k"}}]}}},
     {"modelArtifacts": ("model", "pvc://claim/org/m"), "modelArtifacts.size": ("scale", "20Gi"),
      "modelArtifacts.secret": ("credential", "secret://ml/hub"),
      "modelSpec[b].secret": ("credential", "secret://ml/s"),
      "modelSpec[a].secret": ("credential", "argument:hf_token")}),
    ("tekton.dev/v1", "PipelineRun",
     {"params": [{"name": "data", "value": "gs://b/d"}], "pipelineRef": {"bundle": "r.example/p:1", "name": "train"}},
     {"param[data]": ("data", "gs://b/d"), "pipelineRef.bundle": ("pipeline", "oci://r.example/p:1"),
      "pipelineRef": ("pipeline", "pipeline:train")}),
    ("tekton.dev/v1", "PipelineRun",
     {"params": [{"name": "data", "value": "gs://b/mine"}],
      "pipelineSpec": {
          "params": [{"name": "data", "default": "gs://b/d"}, {"name": "epochs", "default": "3"}],
          "tasks": [{"name": "t", "taskRef": {"resolver": "bundles", "params": [
              {"name": "bundle", "value": "r.example/t:1"}, {"name": "name", "value": "train"}]}}],
          "finally": [{"name": "g", "taskRef": {"resolver": "git", "params": [
              {"name": "url", "value": "https://git.example/t.git"}, {"name": "revision", "value": "v1"}]}}]}},
     {"param[data]": ("data", "gs://b/mine"), "param[epochs]": ("pipeline", "3"),
      "task[t].bundle": ("pipeline", "oci://r.example/t:1"),
      "task[g].source": ("pipeline", "https://git.example/t.git@v1")}),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository", {"url": "oci://r.example/m", "ref": {"tag": "v1"}},
     {"artifact": ("config", "oci://r.example/m:v1")}),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository",
     {"url": "oci://r.example/m", "ref": {"tag": "v1", "semver": "1.x", "digest": f"sha256:{'a' * 64}"}},
     {"artifact": ("config", f"oci://r.example/m@sha256:{'a' * 64}")}),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository", {"url": "oci://r.example/m", "ref": {"semver": "1.x"}},
     {"artifact": ("config", "oci://r.example/m:1.x")}),
    ("tekton.dev/v1", "TaskRun",
     {"taskSpec": {"steps": [{"name": "s", "image": "i:1"}]}},
     {"step[s].image": ("code-image", "oci://docker.io/library/i:1")}),
    ("tekton.dev/v1", "Pipeline",
     {"tasks": [{"name": "t", "taskRef": {"bundle": "r.example/t:1"}, "params": [{"name": "p", "value": ["a"]}],
                 "taskSpec": {"steps": [{"name": "s", "image": "i:1"}]}}]},
     {"task[t].bundle": ("pipeline", "oci://r.example/t:1"), "task[t].param[p]": ("pipeline", '["a"]'),
      "task[t].step[s].image": ("code-image", "oci://docker.io/library/i:1")}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease",
     {"chart": {"spec": {"version": "1.2"}},
      "values": {"modelArtifacts": {"uri": "hf://org/m", "name": "chat"},
                 "servingEngineSpec": {"modelSpec": [{"name": "a", "repository": "vllm/vllm-openai", "tag": "v1",
                                                      "modelURL": "org/n", "vllmConfig": {"dtype": "half"}}]}}},
     {"chart.version": ("runtime", "1.2"), "modelArtifacts": ("model", "hf://org/m@main"),
      "modelArtifacts.name": ("config", "chat"), "modelSpec[a].model": ("model", "hf://org/n@main"),
      "modelSpec[a].image": ("code-image", "oci://docker.io/vllm/vllm-openai:v1"),
      "modelSpec[a].dtype": ("config", "half")}),
    ("kubeai.org/v1", "Model", {"url": "hf://o/m", "engine": "VLLM", "args": [f"--revision={A}"]},
     {"model": ("model", f"hf://o/m@{A}"), "engine": ("runtime", "VLLM")}),
    ("model.aibrix.ai/v1alpha1", "ModelClaim",
     {"artifactURL": "huggingface://o/m", "engine": "vllm", "engineConfig": {"args": {"revision": A}}},
     {"model": ("model", f"hf://o/m@{A}"), "engine": ("runtime", "vllm")}),
    ("apps.nvidia.com/v1alpha1", "NIMService", {"storage": {"pvc": {"name": "w", "subPath": "m"}}},
     {"storage": ("model", "pvc://w"), "storage.path": ("model", "m")}),
    ("production-stack.vllm.ai/v1alpha1", "VLLMRuntime",
     {"model": {"modelURL": "org/m", "dtype": "half", "maxModelLen": 9, "chatTemplate": "t.jinja",
                "hfTokenSecret": {"hfTokenSecretName": "s"}},
      "vllmConfig": {"tensorParallelSize": 2, "extraArgs": ["--revision", A, "--quantization=fp8"]},
      "deploymentConfig": {"replicas": 2, "resources": {"gpu": "1"},
                           "image": {"registry": "docker.io", "name": "vllm/vllm-openai:v1"}}},
     {"model": ("model", f"hf://org/m@{A}"), "dtype": ("config", "half"), "maxModelLen": ("config", "9"),
      "chatTemplate": ("chat-template", "t.jinja"), "secret": ("credential", "secret://ml/s"),
      "tensorParallelSize": ("config", "2"), "engine.--quantization": ("quantization", "fp8"),
      "image": ("code-image", "oci://docker.io/vllm/vllm-openai:v1"), "accelerators": ("scale", "1"),
      "replicas": ("scale", "2")}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease",
     {"values": {"servingEngineSpec": {"modelSpec": [
         {"name": "a", "modelURL": "org/n", "hf_token": "hunter2", "vllmConfig": {"extraArgs": ["--revision", A]}}]}}},
     {"modelSpec[a].model": ("model", f"hf://org/n@{A}"), "modelSpec[a].secret": ("credential", "argument:hf_token")}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease",
     {"values": {"modelArtifacts": {"uri": "pvc://c/m"},
                 "decode": {"replicas": 1, "containers": [{"name": "vllm", "image": "v:1"}]}}},
     {"modelArtifacts": ("model", "pvc://c/m"), "decode.replicas": ("scale", "1"),
      "decode.container[vllm].image": ("code-image", "oci://docker.io/library/v:1")}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease", {"values": {"decode": True, "prefill": ["x"]}}, {}),
    ("data.fluid.io/v1alpha1", "Dataset", {"mounts": [{"name": "m", "mountPoint": "s3://b/d", "path": "/p"}]},
     {"mount[m]": ("data", "s3://b/d"), "mount[m].path": ("config", "/p")}),
]  # fmt: skip


RAY_VARIABLES = """
applications:
- name: a
  import_path: app:x
  runtime_env: {env_vars: {HF_TOKEN: hunter2, MODEL_ID: org/m}}
  args:
    llm_configs:
    - model_loading_config: {model_id: org/n}
      deployment_config: {autoscaling_config: {min_replicas: 1, max_replicas: 2}}
"""


RAY_ENGINE = """
applications:
- name: a
  args:
    llm_configs:
    - model_loading_config: {model_id: org/m}
      engine_kwargs: {tokenizer: org/t, tokenizer_revision: v1, kv_cache_dtype: fp8, max_num_seqs: 4, hf_token: hunter2,
                      speculative_config: {model: org/d}}
"""


def test_keywords_of_ray_s_engine_are_flags_of_vllm() -> None:
    found = extracted(obj("ray.io/v1", "RayService", {"serveConfigV2": RAY_ENGINE})).slots
    slots = {name.removeprefix("app[a]."): (slot.kind, slot.ref.canonical, "output" in slot.traits)
             for name, slot in found.items()}  # fmt: skip
    assert "hunter2" not in repr(found)
    assert slots == {
        "model": ("model", "hf://org/m@main", False),
        "tokenizer": ("tokenizer", "hf://org/t@v1", True),
        "kv_cache_dtype": ("config", "fp8", True),
        "max_num_seqs": ("config", "4", False),
        "hf_token": ("credential", "argument:hf_token", False),
        "speculative_config": ("config", '{"model":"org/d"}', True),
    }


PLACES: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    ("kubeai.org/v1", "Model",
     {"url": "hf://o/m", "engine": "VLLM", "args": ["--port=1", "--dtype=half"], "env": {"X": "1", "HF_HOME": "/c"}},
     {"engine.--dtype": "args[1]", "engine.cache[HF_HOME]": "env.HF_HOME"}),
    ("model.aibrix.ai/v1alpha1", "ModelClaim",
     {"artifactURL": "s3://b/m", "engine": "vllm", "engineConfig": {"args": {"port": 1, "dtype": "half"}}},
     {"engine.--dtype": "engineConfig.args.dtype"}),
    ("apps.nvidia.com/v1alpha1", "NIMService",
     {"env": [{"name": "NIM_MODEL_PROFILE", "value": "p"}], "image": {"repository": "r", "tag": "1"}},
     {"nim.--model-profile": "env[0].value", "image": "image.tag"}),
    ("production-stack.vllm.ai/v1alpha1", "VLLMRuntime", {"vllmConfig": {"extraArgs": ["--seed", "1"]}},
     {"engine.--seed": "vllmConfig.extraArgs[1]"}),
    ("ome.io/v1beta1", "BaseModel",
     {"storage": {"storageUri": "hf://o/m", "path": "/m", "parameters": {"region": "r"}}},
     {"model": "storage.storageUri", "storage.path": "storage.path",
      "storage.parameters[region]": "storage.parameters.region"}),
    ("ome.io/v1beta1", "InferenceService", {"model": {"name": "m", "fineTunedWeights": ["a", "b"]}},
     {"adapter[b]": "model.fineTunedWeights[1]"}),
    ("ray.io/v1", "RayService", {"serveConfigV2": RAY_VARIABLES},
     {"app[a].env.model": "serveConfigV2.applications[0].runtime_env.env_vars.MODEL_ID",
      "app[a].model": "serveConfigV2.applications[0].args.llm_configs[0].model_loading_config.model_id",
      "app[a].min_replicas": "serveConfigV2.applications[0].args.llm_configs[0].deployment_config.autoscaling_config"
      ".min_replicas"}),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob",
     {"initializer": {"dataset": {"storageUri": "s3://b/d", "secretRef": {"name": "s"}}}},
     {"dataset": "initializer.dataset.storageUri", "dataset.secret": "initializer.dataset.secretRef.name"}),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease",
     {"values": {"servingEngineSpec": {"modelSpec": [{"name": "a", "repository": "r", "tag": "1"}]}}},
     {"modelSpec[a].image": "values.servingEngineSpec.modelSpec[0].tag"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "expected"), PLACES, ids=[f"{r[1]}-{i}" for i, r in enumerate(PLACES)]
)
def test_records_point_at_the_field_that_says_so(
    api_version: str, kind: str, spec: dict[str, Any], expected: dict[str, str]
) -> None:
    found = extracted(obj(api_version, kind, spec)).slots
    assert "hunter2" not in repr(found)
    assert {name: found[name].path for name in expected} == {name: f"$.spec.{path}" for name, path in expected.items()}


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "expected"), ROWS, ids=[f"{r[1]}-{i}" for i, r in enumerate(ROWS)]
)
def test_every_documented_place(
    api_version: str, kind: str, spec: dict[str, Any], expected: dict[str, tuple[str, str]]
) -> None:
    found = extracted(obj(api_version, kind, spec))
    assert not found.failures
    assert {name: (slot.kind, slot.ref.canonical) for name, slot in found.slots.items()} == expected
    assert "hunter2" not in repr(found)


def workspace(**fields: Any) -> dict[str, Any]:
    manifest = obj("kaito.sh/v1beta1", "Workspace", {})
    del manifest["spec"]
    return {**manifest, **fields}


def test_a_kaito_workspace_keeps_its_fields_at_the_top() -> None:
    inference = {
        "preset": {"name": "phi-3", "presetOptions": {"modelWeightsPVC": "w", "modelAccessSecret": "s"}},
        "adapters": [{"source": {"name": "sql", "image": f"{SEVEN}/sql:1"}, "strength": "0.5"}],
        "config": "settings",
    }
    found = extracted(workspace(inference=inference, resource={"instanceType": "NC24", "count": 1})).slots
    assert {name: (slot.kind, slot.ref.canonical) for name, slot in found.items()} == {
        "model": ("model", "kaito-preset:phi-3"),
        "weights": ("model", "pvc://w"),
        "secret": ("credential", "secret://ml/s"),
        "adapter[sql]": ("adapter", f"oci://{SEVEN}/sql:1"),
        "adapter[sql].strength": ("config", "0.5"),
        "config": ("config", "configmap://ml/settings"),
        "instanceType": ("scale", "NC24"),
        "count": ("scale", "1"),
    }


def test_kaito_tuning_and_inference_sets() -> None:
    tuning = {
        "preset": {"name": "org/m"}, "method": "lora", "input": {"urls": ["https://h.example/d.parquet"]},
        "output": {"image": f"{SEVEN}/out:1"},
    }  # fmt: skip
    found = extracted(workspace(tuning=tuning)).slots
    assert found["tuning.model"].ref.canonical == "hf://org/m@main"
    assert found["tuning.input.url[https://h.example/d.parquet]"].kind == "data"
    assert found["tuning.output"].ref.canonical == f"oci://{SEVEN}/out:1"
    template = {"template": {"inference": {"preset": {"name": "org/m"}}}, "replicas": 2}
    assert extracted(obj("kaito.sh/v1alpha1", "InferenceSet", template)).slots["model"].kind == "model"


def train(**spec: Any) -> dict[str, Any]:
    return obj("trainer.kubeflow.org/v1alpha1", "TrainJob", {"runtimeRef": {"name": "torch"}, **spec})


def trainer(*args: str, **env: str) -> dict[str, Any]:
    listed = [{"name": name, "value": value} for name, value in env.items()]
    return train(trainer={"image": "t:1", "args": list(args), "env": listed})


@pytest.mark.parametrize(
    ("old", "new", "slot", "kind"),
    [
        (trainer("--lr=1"), trainer("--lr=2"), "trainer.--lr", "config"),
        (trainer("--dataset-name=a/b"), trainer("--dataset-name=a/c"), "trainer.--dataset-name", "data"),
        (trainer("--model", "o/m"), trainer("--model", "o/n"), "trainer.model", "model"),
        (trainer("dataset=a"), trainer("dataset=b"), "trainer.words", "config"),
        (trainer(LR="1"), trainer(LR="2"), "trainer.env[LR]", "config"),
        (trainer(HF_TOKEN="hunter1"), trainer(HF_TOKEN="hunter2"), "trainer.env[HF_TOKEN]", "config"),
        (trainer("token=hunter1"), trainer("token=hunter2"), "trainer.words", "config"),
        (train(), train(initializer={"model": {"storageUri": "s3://b/m"}}), "model", "model"),
    ],
)
def test_every_edit_of_a_training_job_needs_another_one(old: Any, new: Any, slot: str, kind: str) -> None:
    record = only(compare([old], [new]))
    assert (record.slot, record.kind, record.action) == (slot, kind, "recreate")
    assert "hunter" not in repr(record)


def test_a_data_set_of_a_training_job_is_spelled_as_written() -> None:
    slot = extracted(train(initializer={"dataset": {"storageUri": "hf://o/d"}})).slots["dataset"]
    assert (slot.ref.spelling, slot.ref.canonical) == ("hf://o/d", "hf://datasets/o/d@main")


def test_a_reference_without_a_name_that_takes_the_place_of_another_changed() -> None:
    def tuned(*urls: str) -> dict[str, Any]:
        return workspace(tuning={"input": {"urls": [f"https://h.example/{url}.parquet" for url in urls]}})

    record = only(compare([tuned("a", "b")], [tuned("c", "a")]))
    assert (record.op, record.kind, record.action) == ("changed", "data", "job")
    assert (record.old and record.old.canonical, record.location.json_path) == (
        "https://h.example/b.parquet", "$.tuning.input.urls[0]")  # fmt: skip
    records = compare([tuned("a", "b")], [tuned("c", "d")])
    assert [record.op for record in records] == ["removed", "removed", "added", "added"], "nobody knows which is which"


def test_a_reference_with_a_name_does_not_follow_another_one() -> None:
    def tuned(name: str) -> dict[str, Any]:
        return obj("ome.io/v1beta1", "InferenceService", {"model": {"name": "m", "fineTunedWeights": [name]}})

    records = compare([vllm("--lora-modules", "a=org/a")], [vllm("--lora-modules", "b=org/b")])
    assert sorted(record.op for record in records) == ["added", "removed"]
    assert sorted(record.op for record in compare([tuned("a")], [tuned("b")])) == ["added", "removed"]


@pytest.mark.parametrize("field", ["volume", "volumeSource"])
def test_a_volume_with_the_data_of_a_kaito_workspace(field: str) -> None:
    found = extracted(workspace(tuning={"input": {field: {"persistentVolumeClaim": {"claimName": "c"}}}})).slots
    slot = found["tuning.input.volume"]
    assert (slot.kind, slot.ref.canonical) == ("data", "pvc://c")
    assert slot.path == f"$.tuning.input.{field}.persistentVolumeClaim.claimName"


def test_kubeai_files_are_known_by_their_content() -> None:
    def model(content: str) -> dict[str, Any]:
        return obj("kubeai.org/v1", "Model", {"url": "hf://o/m", "files": [{"path": "/t.jinja", "content": content}]})

    record = only(compare([model("a")], [model("b")]))
    assert (record.kind, record.slot, record.action) == ("chat-template", "file[/t.jinja]", "rollout")


@pytest.mark.parametrize(
    ("old", "new", "action"),
    [
        (obj("kubeai.org/v1", "Model", {"url": "hf://o/a"}), obj("kubeai.org/v1", "Model", {"url": "hf://o/b"}),
         "rollout"),
        (obj("kubeai.org/v1", "Model", {"url": "hf://o/a", "cacheProfile": "c"}),
         obj("kubeai.org/v1", "Model", {"url": "hf://o/b", "cacheProfile": "c"}), "recreate"),
        (obj("trainer.kubeflow.org/v1alpha1", "TrainJob", {"initializer": {"model": {"storageUri": "s3://b/a"}}}),
         obj("trainer.kubeflow.org/v1alpha1", "TrainJob", {"initializer": {"model": {"storageUri": "s3://b/b"}}}),
         "recreate"),
        (obj("apps.nvidia.com/v1alpha1", "NIMCache", {"source": {"ngc": {"modelPuller": "p:1"}}}),
         obj("apps.nvidia.com/v1alpha1", "NIMCache", {"source": {"ngc": {"modelPuller": "p:2"}}}), "recreate"),
        (obj("model.aibrix.ai/v1alpha1", "ModelAdapter", {"artifactURL": "s3://b/a"}),
         obj("model.aibrix.ai/v1alpha1", "ModelAdapter", {"artifactURL": "s3://b/b"}), "hot-reload"),
        (obj("mlops.seldon.io/v1alpha1", "Model", {"storageUri": "gs://b/a"}),
         obj("mlops.seldon.io/v1alpha1", "Model", {"storageUri": "gs://b/b"}), "hot-reload"),
    ],
)  # fmt: skip
def test_what_each_project_allows_decides_the_action(old: Any, new: Any, action: str) -> None:
    assert only(compare([old], [new])).action == action


def test_the_same_kind_of_another_group_is_read_by_its_own_rules() -> None:
    spec = {"model": {"name": "llama"}, "predictor": {"model": {"storageUri": "s3://b/m"}}}
    assert extracted(obj("ome.io/v1beta1", "InferenceService", spec)).slots.keys() == {"model"}
    assert "predictor.model" in extracted(obj("serving.kserve.io/v1beta1", "InferenceService", spec)).slots
    assert extracted(obj("example.com/v1", "InferenceService", spec)).slots == {}


@pytest.mark.parametrize("config", ["{", "- a", "just text", "applications: {a: b}", "applications: [[1]]", "\x00"])
def test_a_serve_config_that_cannot_be_read(config: str) -> None:
    old = obj("ray.io/v1", "RayService", {"serveConfigV2": SERVE.format(commit=A)})
    record = only(compare([old], [obj("ray.io/v1", "RayService", {"serveConfigV2": config})]))
    assert record.op == "parse-error"
    assert record.location.json_path.startswith("$.spec.serveConfigV2")


def test_a_serve_config_in_other_layout_is_silent() -> None:
    one = obj("ray.io/v1", "RayService", {"serveConfigV2": SERVE.format(commit=A)})
    two = obj("ray.io/v1", "RayService", {"serveConfigV2": "# note" + SERVE.format(commit=A)})
    assert compare([one], [two]) == []
    record = only(compare([one], [obj("ray.io/v1", "RayService", {
        "serveConfigV2": SERVE.format(commit=A).replace(f"revision: {A}", f"revision: {B}")})]))  # fmt: skip
    assert record.slot == "app[llm].model"


def test_training_runtimes_hold_job_templates() -> None:
    pod = {"containers": [container("node", env=[{"name": "MODEL_URI", "value": "s3://b/m"}])]}
    jobs = [{"name": "node", "template": {"spec": {"template": {"spec": pod}}}}]
    spec = {"template": {"spec": {"replicatedJobs": jobs}}}
    found = extracted(obj("trainer.kubeflow.org/v1alpha1", "ClusterTrainingRuntime", spec)).slots
    assert found["job[node].container[node].model"].ref.canonical == "s3://b/m"


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "paths"),
    [
        ("tekton.dev/v1", "Pipeline", {"params": [{"name": "n", "default": "3"}, {"name": "hf-token", "default": "s"}]},
         {"param[n]": "$.spec.params[0].default", "param[hf-token]": "$.spec.params[1].default"}),
        ("tekton.dev/v1", "PipelineRun", {"params": [{"name": "n", "value": "3"}]},
         {"param[n]": "$.spec.params[0].value"}),
        ("pipelines.kubeflow.org/v2beta1", "PipelineVersion",
         {"pipelineSpec": {
             "root": {"inputDefinitions": {"parameters": {"n": {"defaultValue": 3}}}},
             "deploymentSpec": {"executors": {"exec-get": {"importer": {"artifactUri": {"constant": "s3://b/d"}}}}}}},
         {"param[n]": "$.spec.pipelineSpec.root.inputDefinitions.parameters['n'].defaultValue",
          "executor[exec-get].artifact":
              "$.spec.pipelineSpec.deploymentSpec.executors['exec-get'].importer.artifactUri.constant"}),
    ],
)  # fmt: skip
def test_records_of_pipelines_point_at_the_field_with_the_value(
    api_version: str, kind: str, spec: dict[str, Any], paths: dict[str, str]
) -> None:
    slots = extracted(obj(api_version, kind, spec)).slots
    assert {name: slots[name].path for name in paths} == paths


def test_the_value_of_a_variable_without_a_name_is_shown_nowhere() -> None:
    trainer = {"env": [{"value": "hunter2"}, {"name": "LR", "value": "1"}]}
    slots = extracted(obj("trainer.kubeflow.org/v1alpha1", "TrainJob", {"trainer": trainer})).slots
    assert [name for name in slots if "env[" in name] == ["trainer.env[LR]"]


@pytest.mark.parametrize(
    ("trainer", "slot"),
    [
        ({"args": ["num_epochs=3", "hf_token=hunter2"]}, "trainer.words"),
        ({"args": ["max-steps=3,hf_token=hunter2"]}, "trainer.words"),
        ({"env": [{"name": "EXTRA", "value": "num_epochs=3 api_key=hunter2"}]}, "trainer.env[EXTRA]"),
    ],
)
def test_a_number_in_front_does_not_bring_a_credential_to_light(trainer: dict[str, Any], slot: str) -> None:
    old, new = (
        obj(
            "trainer.kubeflow.org/v1alpha1",
            "TrainJob",
            {"trainer": json.loads(json.dumps(trainer).replace("hunter2", value))},
        )
        for value in ("hunter2", "hunter3")
    )
    record = only(compare([old], [new]))
    assert (record.slot, record.op) == (slot, "changed")
    assert "hunter" not in repr(record)
