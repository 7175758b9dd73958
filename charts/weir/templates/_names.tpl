{{- define "weir.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "weir.name" . -}}
{{- if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The names of cluster-wide objects carry the namespace where it is needed to keep two releases apart. */}}
{{- define "weir.clustername" -}}
{{- $name := include "weir.fullname" . -}}
{{- if eq .Release.Namespace "flux-system" -}}{{ $name }}{{- else -}}{{ printf "%s-%s" $name .Release.Namespace }}{{- end -}}
{{- end }}

{{- define "weir.serviceaccount" -}}
{{ default (ternary (include "weir.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* `flux check`, `flux logs` and `flux uninstall` find what belongs to Flux by part-of. */}}
{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/part-of: flux
app.kubernetes.io/component: weir
app.kubernetes.io/version: {{ printf "v%s" .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end -}}
{{- end }}

{{/* With impersonation there always is one, or Kustomizations could use the rights that the agent has for rollouts. */}}
{{- define "weir.defaultserviceaccount" -}}
{{- $fallback := ternary "default" "" (eq .Values.rbac.applier "impersonation") -}}
{{ default $fallback .Values.defaultServiceAccount }}
{{- end }}

{{/* The agent names its lease like this, so that each shard, and each set of roles, has a leader of its own. */}}
{{- define "weir.lease" -}}
{{- $roles := list -}}
{{- range list "source" "kustomize" "canary" }}{{ if has . $.Values.controllers }}{{ $roles = append $roles . }}{{ end }}{{ end -}}
weir{{ if lt (len $roles) 3 }}-{{ join "-" $roles }}{{ end }}-leader-election{{ with .Values.watchLabelSelector }}-{{ sha256sum . | trunc 8 }}{{ end }}
{{- end }}

{{- define "weir.artifactaddress" -}}
{{- if .Values.artifacts.address -}}
{{ .Values.artifacts.address }}
{{- else -}}
{{- $service := ternary "source-controller" (include "weir.fullname" .) .Values.artifacts.sourceControllerService -}}
{{ printf "%s.%s.svc.%s." $service .Release.Namespace .Values.artifacts.clusterDomain }}
{{- end -}}
{{- end }}

{{/*
Whether the CRD of that name is to be left as it is: it exists, and Helm's own marks on it do not name this release.
Without a cluster to look at (`helm template`) nothing exists.
*/}}
{{- define "weir.foreigncrd" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- if $found -}}
{{- $marks := default dict $found.metadata.annotations -}}
{{- $release := index $marks "meta.helm.sh/release-name" | default "" -}}
{{- $namespace := index $marks "meta.helm.sh/release-namespace" | default "" -}}
{{- if or (ne $release .root.Release.Name) (ne $namespace .root.Release.Namespace) -}}true{{- end -}}
{{- end -}}
{{- end }}
