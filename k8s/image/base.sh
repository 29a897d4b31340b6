#!/usr/bin/env bash
# Make an image to build on from Debian's packages, where none can be pulled: Python 3.11 and what it needs.
#
#   k8s/image/base.sh TAG      as root, with debootstrap and docker
#
# It trusts what this machine trusts, so that a build on it reaches the package indexes by the same way.
set -euo pipefail
tag=${1:?usage: base.sh TAG}
docker=${DOCKER:-docker}
suite=bookworm
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# debootstrap follows no alternatives between packages, so two are named that python3.11-venv depends on by one.
packages=python3,python3-distutils,python3-setuptools-whl,python3.11-venv,libpython3.11,ca-certificates
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >&2 ||
  { tail -n 20 "$root/debootstrap/debootstrap.log" >&2; exit 1; }
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc "$root"/usr/share/man
tar --create --directory "$root" --sort=name --numeric-owner --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* . |
  "$docker" import - "$tag"
