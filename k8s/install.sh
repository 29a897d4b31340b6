#!/usr/bin/env bash
# Install JobSet and Kueue, pinned, into the cluster of the current context; run again to upgrade.
set -euo pipefail

readonly JOBSET_VERSION=0.12.0
readonly KUEUE_VERSION=0.19.2

usage() {
  cat <<EOF
usage: ${0##*/} [--context NAME] [--dry-run]

  --context NAME  the kubeconfig context; default: the current one
  --dry-run       print the commands, run nothing
EOF
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
context=()
run=()

while (($#)); do
  case $1 in
    --context)
      (($# >= 2)) || { echo "error: --context needs a name" >&2; exit 2; }
      context=(--kube-context "$2")
      shift
      ;;
    --dry-run) run=(printf '%q ') ;;
    -h | --help)
      usage
      exit
      ;;
    *)
      echo "error: unknown option $1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

install() {
  local name=$1 version=$2
  "${run[@]}" helm upgrade --install "$name" "oci://registry.k8s.io/$name/charts/$name" --version "$version" \
    --namespace "$name-system" --create-namespace --values "$here/$name/values.yaml" \
    "${context[@]}" --wait --timeout 10m
  ((${#run[@]} == 0)) || echo
}

# JobSet first: Kueue manages only the kinds that it finds when it starts.
install jobset "$JOBSET_VERSION"
install kueue "$KUEUE_VERSION"
