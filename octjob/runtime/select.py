"""Which runtime a process gets: chosen once, from its environment, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from octjob import env
from octjob.errors import SpecError
from octjob.runtime.base import Runtime
from octjob.runtime.topology import Topology, count_chips, read_topology

KINDS = ("cpu", "cuda", "xla")


def open_runtime(
    environ: Mapping[str, str],
    index: int = 0,
    num_processes: int = 1,
    wait: Callable[[], None] = lambda: None,
) -> Runtime:
    """What `OCTJOB_DEVICE` asks for; without it CUDA where there is a GPU, else the CPU.

    index, num_processes: this process among those of the run, which meet at `OCTJOB_COORDINATOR`.
    wait: called again and again until all are there; may raise.

    Raises `SpecError` for what is not there: it never falls back.
    """
    wanted = environ.get(env.DEVICE) or _default()
    if wanted not in KINDS:
        raise SpecError(f"{env.DEVICE}={wanted}: not a device", f"Use one of {', '.join(KINDS)}.")
    if wanted == "cuda":
        _require_gpu()
    if wanted != "xla":
        return _hosts(wanted, environ, index, num_processes, wait)
    # Before the hosts wait for each other: what one of them lacks, none will bring.
    topology = _topology(environ, num_processes)
    return _xla(_hosts("cpu", environ, index, num_processes, wait), topology)


def _default() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise SpecError(
            f"{env.DEVICE}=cuda, but torch sees no GPU", f"Set {env.DEVICE}=cpu, or mend the driver."
        )


def _hosts(
    kind: str, environ: Mapping[str, str], index: int, num_processes: int, wait: Callable[[], None]
) -> Runtime:
    from octjob.runtime.single import Single

    if num_processes == 1:
        return Single(kind)
    from octjob.runtime.group import join_group

    coordinator = environ.get(env.COORDINATOR)
    if not coordinator:
        raise SpecError(
            f"{num_processes} processes, but {env.COORDINATOR} does not say where they meet",
            f"Set {env.COORDINATOR} to host:port of process 0 in each of them.",
        )
    per_host = int(environ.get(env.PROCESSES) or 1)
    return join_group(kind, coordinator, index, num_processes, wait, num_hosts=num_processes // per_host)


def _topology(environ: Mapping[str, str], num_processes: int) -> Topology | None:
    """The slice of a TPU host; None where XLA computes on the CPU."""
    device = environ.get("PJRT_DEVICE")
    if device not in ("TPU", "CPU"):
        # Without it torch_xla would warn, compute on the CPU and exit 0.
        what = f"PJRT_DEVICE is {device}" if device else "PJRT_DEVICE is not set"
        does = "which octjob does not know" if device else "torch_xla would compute on the CPU"
        raise SpecError(
            f"{env.DEVICE}=xla, but {what}: {does}",
            "Set PJRT_DEVICE=TPU on a TPU host, or PJRT_DEVICE=CPU to try the program on the CPU.",
        )
    return read_topology(environ, num_processes, count_chips()) if device == "TPU" else None


def _xla(hosts: Runtime, topology: Topology | None) -> Runtime:
    try:
        from octjob.runtime.xla import Xla
    except ImportError as error:
        raise SpecError(
            f"{env.DEVICE}=xla, but torch_xla cannot be imported: {error}",
            "Install octjob[tpu], or unset " + env.DEVICE + ".",
        ) from None
    return Xla(hosts, topology)
