"""The price table that an administrator keeps on the cluster, as the chart's `prices` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octjob.errors import SpecError
from octjob.targets.kubernetes.resources import CONFIG_MAPS
from octjob.targets.kubernetes.submission.admission import readable
from octjob.targets.prices import Prices, parse_prices

if TYPE_CHECKING:
    from octjob.targets.kubernetes.api import Cluster

NAME = "octjob-prices"
KEY = "prices.yaml"


def read_prices(cluster: Cluster) -> Prices | None:
    """The table of the cluster's namespace; None where there is none, or none that we may read.

    Raises `SpecError` for one that is no price table.
    """
    document = readable(lambda: cluster.get(CONFIG_MAPS, NAME))
    if document is None:
        return None
    where = f"ConfigMap {cluster.namespace}/{NAME}"
    text = (document.get("data") or {}).get(KEY)
    if text is None:
        raise SpecError(f"{where} has no key {KEY}", "The chart's `prices` writes it.")
    return parse_prices(text, where)
