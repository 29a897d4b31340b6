"""Who is trained on and who is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from octjob.spec.section import MAX_LENGTH, Count, Section, Seed, as_tuple

MAX_FOLDS = 1000
Protocol = Literal["split", "folds", "leave_one_out", "label_efficiency"]
LeftOut = Literal["site", "device"]
Share = Annotated[float, Field(gt=0, le=1)]
# What each key belongs to.
_KEYS: dict[str, tuple[Protocol, ...]] = {
    "folds": ("folds", "leave_one_out"),
    "repeats": ("folds",),
    "fold_seed": ("folds", "leave_one_out", "label_efficiency"),
    "by": ("leave_one_out",),
    "min_participants": ("leave_one_out",),
    "shares": ("label_efficiency",),
    "draws": ("label_efficiency",),
}


def refuse_one_fold(value: int) -> int:
    """For a validator: `ValueError` on 1."""
    if value == 1:
        raise ValueError("one fold leaves nothing to train on; write 2 or more, or leave it out")
    return value


class Evaluate(Section):
    """Who is trained on and who is scored, the same for every run of the sweep."""

    protocol: Protocol = Field(
        "split",
        description="`split`: train on the data set's split train, score val. `folds`: deal the people "
        "of train and val to folds, even by class and site; each is scored by what was trained on the others. "
        "`leave_one_out`: score each site or device of train and val by what was trained on the others. "
        "`label_efficiency`: split, and besides train on parts of train.",
    )
    folds: Annotated[int, Field(ge=1, le=MAX_FOLDS), AfterValidator(refuse_one_fold)] = Field(
        5,
        description="folds: so many in each repeat. leave_one_out by device: so many, since who is scanned by a "
        "device is so by others too.",
    )
    repeats: Count = Field(
        5, le=MAX_LENGTH, description="folds: deal so many times, each participant scored once in each."
    )
    fold_seed: Seed = Field(
        0, description="Decides who is in which fold, or in which part, whatever the training seeds."
    )
    by: LeftOut | None = Field(None, description="leave_one_out: what is left out, one after the other.")
    min_participants: Count = Field(
        20, le=100_000, description="leave_one_out: refuse a site or device with fewer participants."
    )
    shares: Annotated[tuple[Share, ...], Field(min_length=1, max_length=20), BeforeValidator(as_tuple)] = (
        Field(
            (0.1, 0.25, 0.5, 1.0),
            description="label_efficiency: shares of the training participants of each class, at least 5 of each; "
            "the last is 1, and what the table shows.",
        )
    )
    draws: Count = Field(5, le=MAX_LENGTH, description="label_efficiency: parts drawn of each share below 1.")

    @field_validator("shares")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)) or value[-1] != 1:
            raise ValueError("shares rise to 1, which the table shows; write [0.1, 0.25, 0.5, 1.0], say")
        if len(value) == 1:
            raise ValueError("no share is below 1; add one, or write protocol: split")
        return value

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> Evaluate:
        for key, protocols in _KEYS.items():
            if key in self.model_fields_set and self.protocol not in protocols:
                other = f"write protocol: {protocols[0]} beside it"
                raise ValueError(f"{key} has no effect under protocol {self.protocol}; {other}")
        if self.protocol == "leave_one_out" and self.by is None:
            raise ValueError("leave_one_out leaves out a site or a device; write by: site or by: device")
        idle = [key for key in ("folds", "fold_seed") if key in self.model_fields_set]
        if self.by == "site" and idle:
            raise ValueError(f"{idle[0]} has no effect where sites are left out, only with by: device")
        return self
