#!/usr/bin/env bash
# Make the workers of a kind cluster look like the hosts of v4-32 slices: labels, taint and chips that do not exist.
set -euo pipefail

readonly HOSTS=4
readonly CHIPS=4

context=()
while (($#)); do
  case $1 in
    --context)
      (($# >= 2)) || { echo "error: --context needs a name" >&2; exit 2; }
      context=(--context "$2")
      shift
      ;;
    *)
      echo "error: unknown option $1; usage: ${0##*/} [--context NAME]" >&2
      exit 2
      ;;
  esac
  shift
done

mapfile -t nodes < <(kubectl "${context[@]}" get nodes --selector '!node-role.kubernetes.io/control-plane' \
  --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' | sort --version-sort)
if ((${#nodes[@]} == 0 || ${#nodes[@]} % HOSTS)); then
  echo "error: ${#nodes[@]} workers; a v4-32 slice is $HOSTS of them" >&2
  exit 1
fi

for i in "${!nodes[@]}"; do
  node=${nodes[i]}
  kubectl "${context[@]}" label node "$node" --overwrite \
    "cloud.google.com/gke-nodepool=v4-32-$((i / HOSTS))" \
    cloud.google.com/gke-tpu-accelerator=tpu-v4-podslice \
    cloud.google.com/gke-tpu-topology=2x2x4 \
    "cloud.google.com/gke-accelerator-count=$CHIPS"
  kubectl "${context[@]}" taint node "$node" --overwrite google.com/tpu=present:NoSchedule
  # kubelet keeps extended resources that it does not know of.
  kubectl "${context[@]}" patch node "$node" --subresource=status --type=merge \
    --patch "{\"status\":{\"capacity\":{\"google.com/tpu\":\"$CHIPS\"},\"allocatable\":{\"google.com/tpu\":\"$CHIPS\"}}}"
done
