"""Which runtime a process gets: chosen once, from its environment, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from octjob import env
from octjob.errors import SpecError
from octjob.runtime.base import Runtime

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
    hosts = _hosts("cpu" if wanted == "xla" else wanted, environ, index, num_processes, wait)
    if wanted == "xla":
        return _xla(environ, hosts)
    return hosts


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
    return join_group(kind, coordinator, index, num_processes, wait)


def _xla(environ: Mapping[str, str], hosts: Runtime) -> Runtime:
    device = environ.get("PJRT_DEVICE")
    if not device:
        # torch_xla would warn, compute on the CPU and exit 0.
        raise SpecError(
            f"{env.DEVICE}=xla, but PJRT_DEVICE is not set: torch_xla would compute on the CPU",
            "Set PJRT_DEVICE=TPU on a TPU host, or PJRT_DEVICE=CPU to try the program on the CPU.",
        )
    try:
        from octjob.runtime.xla import Xla
    except ImportError as error:
        raise SpecError(
            f"{env.DEVICE}=xla, but torch_xla cannot be imported: {error}",
            "Install octjob[tpu], or unset " + env.DEVICE + ".",
        ) from None
    return Xla(hosts)
