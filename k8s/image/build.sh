#!/usr/bin/env bash
# Build the image with the engine that is there, and check it: `make image`. Set by environment:
#
#   TAG          name of the image; default octjob:dev
#   BASE         what it is built on; default what the Dockerfile names, and where that cannot be pulled an image
#                made of Debian's packages (base.sh)
#   TORCH_INDEX  the index with torch's CPU build; without one the plain build comes, 4.3 GB of CUDA with it
#   LOCK         what is installed; default by TORCH_INDEX; requirements/gpu.txt for GPUs
#   ENGINE       docker, podman, or a path; default the first that can build
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${TAG:-octjob:dev}
lock=${LOCK:-requirements/tpu${TORCH_INDEX:+-cpu}.txt}

# A client from 23 on builds by buildx, which may be missing; an older one and podman build by themselves.
can_build() {
  "$1" info > /dev/null 2>&1 || return 1
  "$1" buildx version > /dev/null 2>&1 || [[ $1 == *podman ]] ||
    (($("$1" version --format '{{.Client.Version}}' | cut -d. -f1) < 23))
}
for engine in ${ENGINE:-docker /usr/bin/docker podman}; do
  can_build "$engine" && break
  engine=
done
[[ $engine ]] || { echo "no docker or podman here that runs and can build" >&2; exit 1; }

network=()
base=${BASE:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}
if ! "$engine" image inspect "$base" > /dev/null 2>&1 && ! "$engine" pull --quiet "$base" > /dev/null 2>&1; then
  echo "$base cannot be pulled: making one of Debian's packages" >&2
  base=octjob-base:bookworm
  "$engine" image inspect "$base" > /dev/null 2>&1 || DOCKER=$engine k8s/image/base.sh "$base"
fi
# A base of our own is there where the engine has no network of its own either.
[[ $base == octjob-base:* ]] && network=(--network host)

DOCKER_BUILDKIT=1 "$engine" build "${network[@]}" --tag "$tag" \
  --build-arg BASE="$base" --build-arg LOCK="$lock" --build-arg TORCH_INDEX="${TORCH_INDEX:-}" \
  --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
  --build-arg REVISION="$(git rev-parse HEAD 2> /dev/null || echo unknown)" .
"$engine" run --rm --network none --read-only "$tag" self-check
"$engine" image ls "$tag"
