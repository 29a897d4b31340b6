"""The environment variables of octjob's own: the launcher sets some that the trainer reads, a user the others."""

from __future__ import annotations

# Set in every pod by the manifest, so `compute.env` may not set them too.
# JobSet's count of restarts of the run, from 0.
RESTART = "OCTJOB_ATTEMPT"
# The node that the pod is on.
NODE = "OCTJOB_NODE"
# How many hosts the slice, or each of several, has; without it there is one.
NUM_HOSTS = "OCTJOB_NUM_HOSTS"
# How many processes each host has, one for each of its GPUs; without it there is one, with all of its chips.
PROCESSES = "OCTJOB_PROCESSES"
# The pod's name.
POD = "OCTJOB_POD"
# The file that takes the container's last words.
TERMINATION_MESSAGE = "OCTJOB_TERMINATION_MESSAGE"
# Where the processes of a run meet, host:port of the first.
COORDINATOR = "OCTJOB_COORDINATOR"
# The image as the manifest names it, for the record of a result.
IMAGE = "OCTJOB_IMAGE"
# The directory that stands for the sweep's `cache` where volumes are read; without it they come through its API.
CACHE_MOUNT = "OCTJOB_CACHE_MOUNT"
SET_BY_MANIFEST = (
    *(RESTART, NODE, NUM_HOSTS, PROCESSES, COORDINATOR, POD, TERMINATION_MESSAGE, IMAGE),
    CACHE_MOUNT,
)

# Set by the process that starts a host's others: which of them this is, from 0.
LOCAL_INDEX = "OCTJOB_LOCAL_INDEX"

# Set by the image itself: the commit that it was built from.
REVISION = "OCTJOB_REVISION"

# Set by a user, also through `compute.env`.
# The device to compute on, `cpu`, `cuda` or `xla`. Default: on a TPU slice xla, else CUDA where there is one.
DEVICE = "OCTJOB_DEVICE"
# For how long transient faults of a store are retried in one operation, in seconds.
STORAGE_RETRY_S = "OCTJOB_STORAGE_RETRY_S"
# How long one request to a store may be silent, in seconds.
STORAGE_TIMEOUT_S = "OCTJOB_STORAGE_TIMEOUT_S"
# For how long transient faults of a cluster are retried in one request, in seconds.
CLUSTER_RETRY_S = "OCTJOB_CLUSTER_RETRY_S"
# Whom `octjob collect` notifies, as its --notify; a secret. Several are parted by spaces.
NOTIFY_URL = "OCTJOB_NOTIFY_URL"

# Set by the completion script of a shell, in the name that click derives from the program's.
COMPLETE = "_OCTJOB_COMPLETE"
