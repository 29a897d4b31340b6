"""Money for `octjob plan` and `octjob status`: from a price table of the user's or of the cluster, else none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from octjob.spec.compute import Compute
    from octjob.targets.kubernetes.api import Cluster
    from octjob.targets.kubernetes.outlook.chip_hours import ChipHours
    from octjob.targets.prices import Cost, Prices

F = TypeVar("F", bound=Callable[..., Any])

_PRICES = click.option(
    "--prices",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Price table; default ConfigMap octjob-prices of the namespace, where there is one.",
)


def prices_option(command: F) -> F:
    """Add `--prices`, which `read_table` takes."""
    return _PRICES(command)


def read_table(path: Path | None) -> Prices | None:
    """The price table that was named, None where none was.

    Raises `SpecError` for one that is missing or invalid.
    """
    if path is None:
        return None
    from octjob.targets.prices import read_price_file

    return read_price_file(path)


def cluster_table(cluster: Cluster) -> Prices | None:
    """The price table of the cluster's namespace; a damaged one is said to be, and costs nothing but the prices."""
    from octjob.errors import SpecError
    from octjob.targets.kubernetes.pricelist import read_prices

    try:
        return read_prices(cluster)
    except SpecError as error:
        click.echo(f"warning: no prices: {error.message}", err=True)
        return None


def plan_cost(compute: Compute, hours: ChipHours | None, prices: Prices | None) -> Cost | None:
    """What a plan's chip-hours cost; None without a table, or without chips."""
    if prices is None or hours is None:
        return None
    from octjob.spec.accelerator import accelerator_of
    from octjob.targets.kubernetes.capacity import dearest
    from octjob.targets.prices import accelerator_name, cost_of

    accelerator = accelerator_name(accelerator_of(compute))
    capacity = dearest(compute, lambda one: prices.rate(accelerator, one))
    return cost_of(hours, accelerator, capacity, prices)
