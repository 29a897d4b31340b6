#!/usr/bin/env bash
# A cluster on this machine for development: kind, JobSet, Kueue, and nodes that pretend to be v4-32 slices.
# No chip is behind them: set compute.env OCTJOB_DEVICE to cpu in a sweep that is really to run here.
set -euo pipefail

readonly NODE_IMAGE=kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5
readonly HOSTS=4

usage() {
  cat <<EOF
usage: ${0##*/} [--name NAME] [--slices N]

  --name NAME  the cluster; default octjob
  --slices N   how many v4-32 slices of four nodes each; default 1, 0 is a cluster without any
EOF
}

die() {
  echo "error: $*" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=octjob slices=1

while (($#)); do
  case $1 in
    --name | --slices)
      (($# >= 2)) || die "$1 needs a value"
      if [[ $1 == --name ]]; then name=$2; else slices=$2; fi
      shift
      ;;
    -h | --help)
      usage
      exit
      ;;
    *) die "unknown option $1; --help lists them" ;;
  esac
  shift
done
[[ $slices =~ ^(0|[1-9][0-9]*)$ ]] || die "--slices: $slices is not a number"

config() {
  cat "$here/config.yaml"
  local i
  for ((i = 0; i < slices * HOSTS; i++)); do
    echo "- role: worker"
  done
}

config | kind create cluster --name "$name" --image "$NODE_IMAGE" --config - --wait 5m
context=kind-$name
# Before the nodes get their taint, which would keep the controllers off.
"$here/../install.sh" --context "$context"
((slices == 0)) || "$here/pretend-tpus.sh" --context "$context"
