"""What chips cost, as those who pay for them say it: octjob knows no price of its own.

A price table is YAML, in a file or in the ConfigMap `octjob-prices` of a sweep's namespace:

    currency: EUR
    date: 2026-12-01
    chip_hours:
      v4: {on_demand: 2, spot: 1}
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from octjob.errors import SpecError
from octjob.spec.accelerator import GENERATIONS
from octjob.spec.capacity import WORDS, Capacity
from octjob.spec.gpu import GPUS
from octjob.spec.section import NonNegative, Section
from octjob.spec.validate import validate
from octjob.spec.yaml import Document, load, loads

if TYPE_CHECKING:
    from octjob.spec.accelerator import Accelerator
    from octjob.targets.kubernetes.outlook.chip_hours import ChipHours

# Every name of a generation or GPU to the one that octjob calls it by.
_NAMES = {
    **{text: one.name for one in GENERATIONS for text in (one.name, *one.prefixes)},
    **{text: one.names[0] for one in GPUS for text in (*one.names, one.label)},
}


class Rates(Section):
    """Prices of an hour of one chip or GPU, by how its capacity is come by."""

    on_demand: NonNegative | None = Field(None, description="Ordinary capacity.")
    spot: NonNegative | None = Field(None, description="Spot.")
    reservation: NonNegative | None = Field(None, description="A reservation.")
    flex_start: NonNegative | None = Field(None, description="Flex-start.")


class PriceTable(Section):
    """Prices with their currency, and the date on which they held."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(description="ISO 4217, e.g. EUR.")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(description="YYYY-MM-DD.")
    chip_hours: dict[str, Rates] = Field(description="By TPU generation or GPU, e.g. v4, v5e, h100.")


@dataclass(frozen=True)
class Prices:
    """A price table and where it was read."""

    table: PriceTable
    source: str

    def rate(self, accelerator: str, capacity: Capacity) -> float | None:
        """The price of a chip-hour; None where the table has none. accelerator: `v4`, `h100`."""
        # Queued provisioning is a way to ask for flex-start, and billed as that.
        key = "flex_start" if capacity == "queued_provisioning" else capacity
        for name, rates in self.table.chip_hours.items():
            if _NAMES[name] == accelerator:
                found: float | None = getattr(rates, key)
                return found
        return None

    def __str__(self) -> str:
        return f"{self.source} of {self.table.date}"


@dataclass(frozen=True)
class Cost:
    """What a plan's unfinished runs may cost in money: chip-hours times one price. See `ChipHours`.

    date, source: of the price table. per_chip_hour: None where it has no price for them, and so are the others.
    """

    currency: str
    date: str
    source: str
    accelerator: str
    capacity: Capacity
    per_chip_hour: float | None
    at_most: float | None
    estimate: float | None
    unit: Literal["chip", "GPU"] = "chip"

    def __str__(self) -> str:
        table = f"{self.source} of {self.date}"
        what = f"{self.accelerator} {WORDS[self.capacity]}"
        if self.per_chip_hour is None:
            return f"no price for {what} in {table}"
        parts = ["no upper bound" if self.at_most is None else f"at most {self.at_most:,.2f} {self.currency}"]
        parts += [f"estimate {self.estimate:,.2f} {self.currency}"] if self.estimate is not None else []
        return f"{', '.join(parts)}; {self.per_chip_hour:g} {self.currency} a {self.unit}-hour of {what}, {table}"


def read_price_file(path: Path) -> Prices:
    """The price table in a file.

    Raises `SpecError` naming file, line and key.
    """
    return _prices(load(path), str(path))


def parse_prices(text: str, source: str) -> Prices:
    """The price table in a text. source: what stands for its file.

    Raises `SpecError` as `read_price_file` does.
    """
    return _prices(loads(text, source), source)


def accelerator_name(where: Accelerator) -> str:
    """What a table calls a slice's chips or a node's GPUs."""
    return where.gpu.names[0] if where.kind == "gpu" else where.generation.name


def cost_of(hours: ChipHours, accelerator: str, capacity: Capacity, prices: Prices) -> Cost:
    """The money that chip-hours come to."""
    rate = prices.rate(accelerator, capacity)
    # An estimate of no run at all is none.
    estimate = hours.estimate if hours.num_estimated else None
    return Cost(
        currency=prices.table.currency,
        date=prices.table.date,
        source=prices.source,
        accelerator=accelerator,
        capacity=capacity,
        per_chip_hour=rate,
        at_most=None if rate is None or hours.at_most is None else hours.at_most * rate,
        estimate=None if rate is None or estimate is None else estimate * rate,
        unit=hours.unit,
    )


def _prices(document: Document, source: str) -> Prices:
    table = validate(PriceTable, document, "prices")
    for name in table.chip_hours:
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            hint = (
                f"Did you mean {near[0]}?"
                if near
                else f"There are {', '.join(dict.fromkeys(_NAMES.values()))}."
            )
            raise SpecError(f"{document.mark(('chip_hours', name))}: chip_hours: there is no {name}", hint)
    named = [_NAMES[name] for name in table.chip_hours]
    for name in table.chip_hours:
        if named.count(_NAMES[name]) > 1:
            raise SpecError(
                f"{document.mark(('chip_hours', name))}: chip_hours: {_NAMES[name]} stands there twice",
                "Keep one of its names.",
            )
    return Prices(table, source)
