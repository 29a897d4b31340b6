"""Who is trained on and who is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from octjob.spec.experiment import MAX_LENGTH, Count, Section, Seed

MAX_FOLDS = 1000


def refuse_one_fold(value: int) -> int:
    """For a validator: `ValueError` on 1."""
    if value == 1:
        raise ValueError("one fold leaves nothing to train on; write 2 or more, or leave it out")
    return value


class Evaluate(Section):
    """Who is trained on and who is scored, the same for every run of the sweep."""

    protocol: Literal["split", "folds"] = Field(
        "split",
        description="`split`: train on the data set's split train, score val. `folds`: deal the people "
        "of train and val to folds, even by class and site; each is scored by what was trained on the others.",
    )
    folds: Annotated[int, Field(ge=1, le=MAX_FOLDS), AfterValidator(refuse_one_fold)] = Field(
        5, description="folds: so many in each repeat."
    )
    repeats: Count = Field(
        5, le=MAX_LENGTH, description="folds: deal so many times, each participant scored once in each."
    )
    fold_seed: Seed = Field(
        0, description="folds: decides who is in which fold, whatever the training seeds."
    )

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> Evaluate:
        idle = [key for key in ("folds", "repeats", "fold_seed") if key in self.model_fields_set]
        if self.protocol == "split" and idle:
            raise ValueError(f"{idle[0]} has no effect under protocol split; write protocol: folds beside it")
        return self
