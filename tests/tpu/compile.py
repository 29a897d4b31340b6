"""Compile a StableHLO module with the compiler of a TPU that is not here, and print what came of it as JSON.

In a process of its own, `python -m tests.tpu.compile FILE TOPOLOGY CHIPS TOKENS [OPTION=VALUE]`: libtpu aborts the
process at faults of its own.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Nothing is asked of a metadata server, several processes may load the compiler, and jax itself stays off it.
# With TPU_ACCELERATOR_TYPE set, some questions abort the process.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
}


@dataclass(frozen=True)
class Compiled:
    """A compiled program. Bytes are of one chip.

    scores: whether it holds an array with two axes as long as the tokens. all_reduces: operations that sum over
    chips. reduced: floating-point numbers that they sum. cut: matrix products whose float32 operands may be cut to
    bfloat16.
    """

    seconds: float
    arguments: int
    outputs: int
    temporaries: int
    code: int
    scores: bool
    all_reduces: int
    reduced: int
    cut: int

    @property
    def peak(self) -> int:
        """Most bytes at a time, nothing given away: libtpu refuses only temporaries that do not fit."""
        return self.arguments + self.outputs + self.temporaries


def main(file: str, topology: str, chips: str, tokens: str, *options: str) -> None:
    """Compile for the first `chips` of a topology."""
    executable, seconds = _compile(
        Path(file).read_bytes(), topology, int(chips), dict(o.split("=") for o in options)
    )
    stats = executable.get_compiled_memory_stats()
    hlo = executable.hlo_modules()[0].to_string()
    all_reduces, reduced = _reductions(hlo)
    compiled = Compiled(
        seconds,
        stats.argument_size_in_bytes,
        stats.output_size_in_bytes,
        stats.temp_size_in_bytes,
        stats.generated_code_size_in_bytes,
        re.search(rf"\[(\d+,)*{tokens},{tokens}\]", hlo) is not None,
        all_reduces,
        reduced,
        _cut(hlo),
    )
    sys.stdout.write(json.dumps(asdict(compiled)))


def _compile(module: bytes, topology: str, chips: int, options: dict[str, str]) -> tuple[Any, float]:
    import numpy as np
    from jax._src.interpreters import mlir
    from jax.experimental import topologies
    from jaxlib import xla_client
    from jaxlib.mlir.dialects import stablehlo

    devices = topologies.get_topology_desc(topology_name=topology, platform="tpu", **options).devices[:chips]
    compile_options = xla_client.CompileOptions()
    compile_options.num_replicas, compile_options.num_partitions = 1, chips
    build = compile_options.executable_build_options
    build.num_replicas, build.num_partitions, build.use_spmd_partitioning = 1, chips, chips > 1
    build.device_assignment = xla_client.DeviceAssignment.create(np.array([[d.id for d in devices]]))
    with mlir.make_ir_context() as context:
        code = mlir.module_to_bytecode(stablehlo.deserialize_portable_artifact(context, module))
    began = time.monotonic()
    executable = devices[0].client.compile(code, xla_client.DeviceList(tuple(devices)), compile_options)
    return executable, time.monotonic() - began


def _reductions(hlo: str) -> tuple[int, int]:
    """All-reduces of an HLO text, and the floating-point numbers that they sum; whole ones are gathered labels."""
    found = re.findall(r"^ *(?:ROOT )?%\S+ = (.*?) all-reduce(?:-start)?\(", hlo, re.MULTILINE)
    shapes = [shape for result in found for shape in re.findall(r"\b(?:f32|bf16)\[([\d,]*)\]", result)]
    return len(found), sum(math.prod(int(n) for n in shape.split(",") if n) for shape in shapes)


def _cut(hlo: str) -> int:
    """Matrix products of an HLO text that do not ask for their operands as they are."""
    products = re.findall(r"^ *(?:ROOT )?%\S+ = \S+ (?:convolution|dot)\(.*$", hlo, re.MULTILINE)
    return sum("operand_precision={highest,highest}" not in line for line in products)


if __name__ == "__main__":
    main(*sys.argv[1:])
