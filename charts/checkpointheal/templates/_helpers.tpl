{{- define "checkpointheal.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimAll "-" }}
{{- end }}

{{/* At most 40 characters: the longest name made of it is `…-webhook-tls`, and Services have at most 63. Theirs have no
dots, and begin with a letter. */}}
{{- define "checkpointheal.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- include "checkpointheal.ofService" .Values.fullnameOverride }}
{{- else if contains (include "checkpointheal.name" .) .Release.Name }}
{{- include "checkpointheal.ofService" .Release.Name }}
{{- else }}
{{- include "checkpointheal.ofService" (printf "%s-%s" .Release.Name (include "checkpointheal.name" .)) }}
{{- end }}
{{- end }}

{{- define "checkpointheal.ofService" -}}
{{- ternary (printf "r%s" .) . (regexMatch "^[0-9]" .) | replace "." "-" | trunc 40 | trimAll "-" }}
{{- end }}

{{- define "checkpointheal.webhookName" -}}
{{ include "checkpointheal.fullname" . }}-webhook
{{- end }}

{{/* What a Deployment selects its pods by: it can never be changed again. */}}
{{- define "checkpointheal.selector" -}}
app.kubernetes.io/name: {{ include "checkpointheal.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The user's own word counts, and of two the nearer one (`more`); but for what a Deployment selects its pods by, Helm
what it installed, and people and the plugin all that is ours. */}}
{{- define "checkpointheal.labels" -}}
{{- $told := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- $fixed := dict "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/part-of" "checkpointheal" }}
{{- $selected := include "checkpointheal.selector" . | fromYaml }}
{{- $labels := dict }}
{{- range $some := list $told .root.Values.commonLabels (.more | default dict) $fixed $selected }}
{{- range $key, $value := $some }}
{{- $_ := set $labels $key $value }}
{{- end }}
{{- end }}
{{- toYaml $labels }}
{{- end }}

{{/* An image that names no tag and no digest gets the common tag. */}}
{{- define "checkpointheal.image" -}}
{{- if or (contains "@" .image) (regexMatch ":[^/]+$" .image) -}}
{{ .image }}
{{- else -}}
{{ .image }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "checkpointheal.operatorContainerImage" -}}
image: {{ include "checkpointheal.image" (dict "root" . "image" .Values.operator.image) | quote }}
imagePullPolicy: {{ .Values.operator.imagePullPolicy | default .Values.image.pullPolicy }}
{{- end }}

{{/* Which namespaces the webhook serves, as JSON. One whose quota has no room for agents opts out with one label; its
templates stay as they are. */}}
{{- define "checkpointheal.namespaceSelector" -}}
{{- $others := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (list "kube-system" .Release.Namespace | uniq) }}
{{- $willing := dict "key" "checkpointheal.dev/inject" "operator" "NotIn" "values" (list "false") }}
{{- concat (list $others $willing) .Values.webhook.namespaceSelector | toJson }}
{{- end }}

{{- define "checkpointheal.operatorAccount" -}}
{{- .Values.operator.serviceAccount.name | default (ternary (include "checkpointheal.fullname" .) "default" .Values.operator.serviceAccount.create) }}
{{- end }}

{{- define "checkpointheal.webhookAccount" -}}
{{- .Values.webhook.serviceAccount.name | default (ternary (include "checkpointheal.webhookName" .) "default" .Values.webhook.serviceAccount.create) }}
{{- end }}

{{- define "checkpointheal.certificateSecret" -}}
{{- if eq .Values.webhook.certificate.mode "secret" -}}
{{ .Values.webhook.certificate.secretName }}
{{- else -}}
{{ include "checkpointheal.webhookName" . }}-tls
{{- end }}
{{- end }}

{{/* Names of a Service, shortest first: the API server and agents call it by the first. */}}
{{- define "checkpointheal.serviceHosts" -}}
{{ .service }}.{{ .root.Release.Namespace }}.svc,{{ .service }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{/* What the pods of both Deployments have in common. Two of a kind keep apart where they can. */}}
{{- define "checkpointheal.placement" -}}
{{- $selector := include "checkpointheal.selector" . -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
enableServiceLinks: false
securityContext:
  {{- toYaml .values.podSecurityContext | nindent 2 }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if .values.affinity }}
  {{- toYaml .values.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
  {{- end }}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "checkpointheal.podMetadata" -}}
labels:
  {{- include "checkpointheal.labels" (merge (dict "more" .values.podLabels) .) | nindent 2 }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "checkpointheal.account" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "checkpointheal.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "checkpointheal.disruption" -}}
{{- if .values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "checkpointheal.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready anyway must not keep a node from draining.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "checkpointheal.selector" . | nindent 6 }}
{{- end }}
{{- end }}
