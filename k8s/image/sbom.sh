#!/usr/bin/env bash
# Print what Python packages the image has, as CycloneDX: `make sbom`. TAG and ENGINE as in build.sh.
#
#   k8s/image/sbom.sh FOLDER      with the packages of requirements/sbom.txt, which the image sees for this only
set -euo pipefail
for engine in ${ENGINE:-docker /usr/bin/docker podman}; do
  "$engine" image inspect "${TAG:-octjob:dev}" > /dev/null 2>&1 && break
  engine=
done
[[ $engine ]] || { echo "no engine here has ${TAG:-octjob:dev}; \`make image\` builds it" >&2; exit 1; }
"$engine" run --rm --network none --read-only --volume "$1:/sbom:ro" --entrypoint /opt/octjob/bin/python \
  "${TAG:-octjob:dev}" -c "
import sys
sys.path.insert(0, '/sbom')
from cyclonedx_py._internal.cli import run
sys.exit(run(argv=['environment', '--of', 'JSON', '/opt/octjob/bin/python']))"
