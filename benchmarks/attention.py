"""Attention on a CPU over the original's 9,216 tokens: time, memory and error of torch's, blocks, stored scores.

Every way has a process of its own, on one thread, without gradients. The error is relative, over 2,048 tokens,
against float64; `peaked` has scores of standard deviation 3 instead of 1, as trained heads may.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, arguments, spent, tell

if TYPE_CHECKING:
    from torch import Tensor

NUM_TOKENS, FEATURES = 9216, 64
# What is called `sdpa` in octjob, its blocks of queries, and a head at a time in small blocks of two kinds: those
# would take the place of torch's own in bfloat16 if they were better.
WAYS = ("sdpa", "blocks", "scores in bf16", "scores in fp32", "stored")


def head_by_head(q_BKNF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor, wide: bool, size: int = 256) -> Tensor:
    """Scores of `size` queries of a head at a time, which a core's cache holds; wide: in float32."""
    import torch

    kind = torch.float32 if wide else q_BKNF.dtype
    heads = [x_BKNF.flatten(0, 1) for x_BKNF in (q_BKNF, k_BKNF, v_BKNF)]
    out_HNF = torch.empty_like(heads[0])
    for out_NF, q_NF, k_NF, v_NF in zip(out_HNF, *heads, strict=True):
        q_NF, k_FN = q_NF.to(kind) / math.sqrt(q_NF.shape[-1]), k_NF.to(kind).t().contiguous()
        for out_QF, q_QF in zip(out_NF.split(size), q_NF.split(size), strict=True):
            out_QF.copy_((q_QF @ k_FN).softmax(dim=-1).to(v_NF.dtype) @ v_NF)
    return out_HNF.view(q_BKNF.shape)


def attend(way: str, q_BKNF: Tensor, k_BKNF: Tensor, v_BKNF: Tensor) -> Tensor:
    """(B, K, N, F), by one of `WAYS`."""
    from octjob.models.attention import query_blocks, sdpa
    from octjob.models.recompute import Recompute

    if way == "sdpa":
        return sdpa(q_BKNF, k_BKNF, v_BKNF)
    if way == "blocks":
        return query_blocks(Recompute())(q_BKNF, k_BKNF, v_BKNF)
    if way == "stored":
        return (q_BKNF / math.sqrt(FEATURES) @ k_BKNF.transpose(-2, -1)).softmax(dim=-1) @ v_BKNF
    return head_by_head(q_BKNF, k_BKNF, v_BKNF, wide=way == "scores in fp32")


def measure(way: str, precision: str, num_heads: int) -> dict[str, float]:
    """In this process: CPU seconds (the better of two), MiB above what torch and the inputs take, relative errors."""
    import resource

    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]

    def inputs(num: int, num_tokens: int) -> list[Tensor]:
        return [torch.randn(1, num_tokens, num, FEATURES).to(dtype).transpose(1, 2) for _ in range(3)]

    found: dict[str, float] = {}
    with torch.inference_mode():
        some = inputs(num_heads, NUM_TOKENS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            with spent() as one:
                attend(way, *some)
            found["cpu_s"] = min(found.get("cpu_s", math.inf), one.cpu_s)
        found["mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        for name, factor in (("error", 1), ("error, peaked", 3)):
            q, k, v = inputs(1, 2048)
            exact = attend("stored", *(x.double() for x in (q * factor, k, v)))
            difference = attend(way, q * factor, k, v).double() - exact
            found[name] = float(difference.norm() / exact.norm())
    return found


def main() -> None:
    """Every way in a process, and the table."""
    parser = arguments(__doc__)
    parser.add_argument("--heads", type=int, default=2, help="at once (2; the original has 12)")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "PRECISION"), help="one of them, here, as JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure, args.heads)))
        return
    found = {}
    for precision in ("fp32", "bf16"):
        for way in WAYS[:1] + WAYS[-1:] if precision == "fp32" else WAYS:
            command = [sys.executable, "-m", "benchmarks.attention", "--heads", str(args.heads)]
            child = subprocess.run(
                [*command, "--measure", way, precision], check=True, capture_output=True, text=True
            )
            found[way, precision] = json.loads(child.stdout)
    figures, notes = [], []
    for precision in ("fp32", "bf16"):
        for what, unit in (("cpu_s", "CPU s"), ("mib", "MiB")):
            ours, peer = (found[way, precision][what] for way in ("sdpa", "stored"))
            figures.append(Figure(f"{precision}, {args.heads} heads", unit, ours, peer, "stored scores"))
    torch_s = found["sdpa", "bf16"]["cpu_s"]
    for way in WAYS[1:-1]:
        figures.append(
            Figure(
                f"bf16, {way}",
                "CPU s",
                found[way, "bf16"]["cpu_s"],
                torch_s,
                "torch's own",
                wanted=">= 1.2 x, if as exact",
            )
        )
    for (way, precision), one in found.items():
        notes.append(
            f"{precision}, {way}: relative error {one['error']:.1e}, {one['error, peaked']:.1e} peaked;"
            f" {one['mib']:.0f} MiB"
        )
    tell(args, f"Attention over {NUM_TOKENS} tokens on a CPU", figures, notes)


if __name__ == "__main__":
    main()
