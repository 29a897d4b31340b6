"""What the tests here need of the machine."""

from __future__ import annotations

import os
import shutil
import sys

from tests.cluster.build import OF_CONTROL_PLANE, OF_PODS, BuildError, tool
from tests.pods.cluster import contained
from tests.pods.components import PLUGINS
from tests.pods.images import ImageError, built_image

IMAGE = os.environ.get("OCTJOB_TEST_IMAGE", "octjob:dev")
_PROGRAMS = {"runc": "runc", "ip": "iproute2", "mount": "mount", "cp": "coreutils"}


def missing() -> str:
    """What is not there, and what to do; empty when everything is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "pods need network and mount namespaces of their own: run the tests on Linux, as root"
    if contained():
        return "another kubelet runs pods on this machine: when these tests end, they end all pods in its cgroups"
    absent = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if not (PLUGINS / "bridge").exists():
        absent.append("containernetworking-plugins")
    if absent:
        return f"not installed: {', '.join(absent)}; on Debian: apt-get install {' '.join(absent)}"
    try:
        for name in (*OF_CONTROL_PLANE, *OF_PODS):
            tool(name)
        built_image(IMAGE)
    except (BuildError, ImageError) as error:
        return str(error)
    return ""
