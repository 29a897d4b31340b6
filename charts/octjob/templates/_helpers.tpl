{{/* The release's own name, which objects without a name in the values begin with. */}}
{{- define "octjob.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names tell namespaces apart. */}}
{{- define "octjob.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "octjob.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* part-of, not name: runs are found by app.kubernetes.io/name=octjob, and these objects are none. */}}
{{- define "octjob.labels" -}}
app.kubernetes.io/part-of: octjob
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* What outlives an uninstall: runs that wait or go on lose their place without it. */}}
{{- define "octjob.kept" -}}
{{- if .Values.kueue.keep -}}
annotations:
  helm.sh/resource-policy: keep
{{- end -}}
{{- end -}}

{{- define "octjob.kueueApiVersion" -}}
{{- if .Values.kueue.apiVersion -}}
kueue.x-k8s.io/{{ .Values.kueue.apiVersion }}
{{- else if .Capabilities.APIVersions.Has "kueue.x-k8s.io/v1beta2" -}}
kueue.x-k8s.io/v1beta2
{{- else if .Capabilities.APIVersions.Has "kueue.x-k8s.io/v1beta1" -}}
kueue.x-k8s.io/v1beta1
{{- else -}}
kueue.x-k8s.io/v1beta2
{{- end -}}
{{- end -}}

{{/*
The flavors of one queue of kueue.cluster.queues as YAML: name, chips, nodeLabels, nodeTaints, queued; whether they are of
several capacities; and the resource that all of them are counted in. Takes the root and the queue. Labels are those that
octjob puts into a run's nodeSelector. The flavor of Spot, or of flex-start, carries its taint, which only runs that name
that capacity tolerate: the others do not ask for the opposite and would be given it. Beside another capacity, a flavor on
demand names the label that GKE gives only such nodes: runs that would also take Spot nodes tolerate their taint, and would
otherwise use them by the quota of this flavor.
*/}}
{{- define "octjob.flavors" -}}
{{- $known := .root.Files.Get "files/accelerators.yaml" | fromYaml -}}
{{- $queue := .queue -}}
{{- if and $queue.spot $queue.reservation -}}
{{- fail (printf "kueue.cluster.queues: %s: reserved nodes are not Spot nodes" $queue.name) -}}
{{- end -}}
{{- if and $queue.spot $queue.capacity (ne $queue.capacity "spot") -}}
{{- fail (printf "kueue.cluster.queues: %s: spot means capacity spot, but capacity says %s" $queue.name $queue.capacity) -}}
{{- end -}}
{{- $marks := dict "spot" "cloud.google.com/gke-spot" "flex_start" "cloud.google.com/gke-flex-start" "queued_provisioning" "cloud.google.com/gke-queued" -}}
{{- $ofQueue := default (ternary "spot" (ternary "reservation" "on_demand" (not (empty $queue.reservation))) (default false $queue.spot)) $queue.capacity -}}
{{- $capacities := list -}}
{{- range $queue.accelerators -}}
{{- $capacities = append $capacities (default (ternary "reservation" $ofQueue (not (empty .reservation))) .capacity) -}}
{{- end -}}
{{- $mixed := gt (len (uniq $capacities)) 1 -}}
{{- $flavors := list -}}
{{- $names := list -}}
{{- $resource := "" -}}
{{- range $index, $_ := $queue.accelerators -}}
{{- $capacity := index $capacities $index -}}
{{- $key := .accelerator -}}
{{- if .machineType -}}{{- $key = printf "%s/%s" .accelerator .machineType -}}{{- end -}}
{{- $row := get $known $key -}}
{{- $gpu := get $known .accelerator -}}
{{- if and .machineType $gpu (has .machineType (default list $gpu.machineTypes)) -}}
{{- $row = mergeOverwrite (deepCopy $gpu) (dict "nodeLabels" (dict "node.kubernetes.io/instance-type" .machineType)) -}}
{{- end -}}
{{- if not $row -}}{{- include "octjob.unknownAccelerator" (dict "key" $key "known" $known) -}}{{- end -}}
{{- $counted := ternary "nvidia.com/gpu" "google.com/tpu" (not $row.chips) -}}
{{- if and $resource (ne $resource $counted) -}}
{{- fail (printf "kueue.cluster.queues: %s: TPUs and GPUs are counted in resources of their own; give each a queue" $queue.name) -}}
{{- end -}}
{{- $resource = $counted -}}
{{- $chips := 0 -}}
{{- if $row.chips -}}
{{- if not (hasKey . "slices") -}}{{- fail (printf "kueue.cluster.queues: %s: %s: TPUs are counted in `slices`" $queue.name $key) -}}{{- end -}}
{{- $chips = mul (int $row.chips) (int .slices) -}}
{{- else -}}
{{- if not (hasKey . "gpus") -}}{{- fail (printf "kueue.cluster.queues: %s: %s: GPUs are counted in `gpus`" $queue.name $key) -}}{{- end -}}
{{- $chips = int .gpus -}}
{{- end -}}
{{- $labels := deepCopy $row.nodeLabels -}}
{{- $taints := list (dict "key" $counted "value" "present" "effect" "NoSchedule") -}}
{{- $name := $key | replace "/" "-" -}}
{{- if hasKey $marks $capacity -}}
{{- $_ := set $labels (get $marks $capacity) "true" -}}
{{- $taints = append $taints (dict "key" (get $marks $capacity) "value" "true" "effect" "NoSchedule") -}}
{{- $name = printf "%s-%s" $name (replace "_" "-" $capacity | trimSuffix "-provisioning") -}}
{{- end -}}
{{- if and $mixed (eq $capacity "on_demand") -}}
{{- $_ := set $labels "cloud.google.com/gke-provisioning" "standard" -}}
{{- $name = printf "%s-on-demand" $name -}}
{{- end -}}
{{- $reservation := default $queue.reservation .reservation -}}
{{- if and .reservation (ne $capacity "reservation") -}}
{{- fail (printf "kueue.cluster.queues: %s: a reservation is not used by capacity %s" $queue.name $capacity) -}}
{{- end -}}
{{- if eq $capacity "reservation" -}}
{{- if not $reservation -}}{{- fail (printf "kueue.cluster.queues: %s: which reservation is not said" $queue.name) -}}{{- end -}}
{{- $parts := splitList "/" $reservation -}}
{{- $block := "" -}}
{{- if has "reservationBlocks" $parts -}}
{{- $block = last $parts -}}
{{- $parts = slice $parts 0 (sub (len $parts) 2 | int) -}}
{{- end -}}
{{- if eq (first $parts) "projects" -}}{{- $parts = list (index $parts 1) (last $parts) -}}{{- end -}}
{{- $_ := set $labels "cloud.google.com/reservation-name" (last $parts) -}}
{{- if gt (len $parts) 1 -}}{{- $_ := set $labels "cloud.google.com/reservation-project" (first $parts) -}}{{- end -}}
{{- if $block -}}{{- $_ := set $labels "cloud.google.com/reservation-blocks" $block -}}{{- end -}}
{{- $name = printf "%s-%s" $name (default (last $parts) $block) -}}
{{- end -}}
{{- $name = default $name .flavor -}}
{{- if has $name $names -}}
{{- fail (printf "kueue.cluster.queues: %s: two flavors are named %s; set `flavor` on one" $queue.name $name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- $flavors = append $flavors (dict "name" $name "chips" $chips "nodeLabels" $labels "nodeTaints" $taints "queued" (eq $capacity "queued_provisioning")) -}}
{{- end -}}
{{- dict "flavors" $flavors "mixed" $mixed "resource" $resource | toYaml -}}
{{- end -}}

{{- define "octjob.unknownAccelerator" -}}
{{- $close := list -}}
{{- $wanted := first (splitList "/" .key) -}}
{{- range $name, $_ := .known -}}
{{- if hasPrefix $wanted $name -}}{{- $close = append $close ($name | replace "/" " with machineType ") -}}{{- end -}}
{{- end -}}
{{- $hint := "files/accelerators.yaml has the names" -}}
{{- if $close -}}{{- $hint = printf "there is: %s" (join ", " $close) -}}{{- end -}}
{{- fail (printf "kueue.cluster.queues: there is no %s; %s" .key $hint) -}}
{{- end -}}

{{/* What the pods of this chart have in common with those of runs: the `restricted` level and nothing to write to. */}}
{{- define "octjob.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "octjob.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "octjob.needImage" -}}
{{- if not .Values.image -}}
{{- fail "image: is needed by the collector; name the sweeps' image by digest" -}}
{{- end -}}
{{- end -}}
