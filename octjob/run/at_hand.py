"""What an attempt has at hand once its units are trained, and what its result says of it beyond scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from octjob.data.cohort import Cohort
from octjob.data.groups import groups_facts, ids_of, read_ids
from octjob.data.quarantine import Quarantine
from octjob.evaluate import Predictions
from octjob.models.arrange import Arrangement
from octjob.models.checkpoint import LoadedEncoder
from octjob.records.examples import EXAMPLES, Examples, write_examples
from octjob.records.feature_map import FEATURE_MAP, write_feature_map
from octjob.run.feature_map import FINE_TUNED, make_feature_map
from octjob.run.session import Session
from octjob.spec.run import Run
from octjob.spec.uri import split_uri
from octjob.storage.open import open_store
from octjob.train.scoring import Scorer
from octjob.train.trainers import Inputs
from octjob.train.units import Unit

_NO_ENCODER = "a control without an encoder"


@dataclass(frozen=True)
class Encoded:
    """A checkpoint's part. inputs: what was trained on. seen: ids of the participants that the checkpoint saw in
    pretraining; None where nothing says it. examples: None where none are asked for."""

    loaded: LoadedEncoder
    arrangement: Arrangement
    inputs: Inputs
    seen: frozenset[str] | None
    examples: Examples | None


@dataclass(frozen=True)
class AtHand:
    """encoded: None for a control that has no encoder."""

    cohort: Cohort
    quarantine: Quarantine
    scorer: Scorer
    units: Sequence[Unit]
    encoded: Encoded | None = None

    def checkpoint_report(self) -> dict[str, Any]:
        """What was loaded; empty without an encoder."""
        return self.encoded.loaded.report.to_dict() if self.encoded else {}

    def arrangement_facts(self) -> dict[str, Any]:
        """How the encoder was computed; empty without one."""
        return asdict(self.encoded.arrangement) if self.encoded else {}

    def describe(self, session: Session, predictions: Predictions) -> dict[str, Any]:
        """What `data` of the result says beyond counts; writes what lies beside the predictions."""
        return {
            "groups": self._groups(predictions),
            "feature_map": self._write_feature_map(session),
            "examples": self._write_examples(session),
        }

    def _groups(self, predictions: Predictions) -> dict[str, Any]:
        """The groups of whoever is scored."""
        seen = self.encoded.seen if self.encoded else None
        scored = set(predictions.participant.tolist())
        return groups_facts([p for p in self.cohort.participants if p.id in scored], seen)

    def _write_feature_map(self, session: Session) -> dict[str, Any]:
        """Store the map beside the predictions; what the result says of it: its key, or why there is none."""
        run = session.run
        if self.encoded is None:
            return {"key": None, "reason": _NO_ENCODER}
        made = make_feature_map(run.config, self.scorer, self.units, self.encoded.inputs)
        if made is None:
            return {"key": None, "reason": FINE_TUNED}
        write_feature_map(session.store, run.run_id, made)
        return {"key": FEATURE_MAP, "reason": ""}

    def _write_examples(self, session: Session) -> dict[str, Any]:
        """Store the examples beside the predictions; what the result says of them."""
        examples = self.encoded.examples if self.encoded else None
        if examples is None:
            reason = "log.images is 0" if self.encoded else _NO_ENCODER
            return {"key": None, "sha256": "", "count": 0, "reason": reason}
        sha256 = write_examples(session.store, session.run.run_id, examples)
        return {"key": EXAMPLES, "sha256": sha256, "count": len(examples.examples), "reason": ""}


def participants_seen(run: Run, loaded: LoadedEncoder) -> frozenset[str] | None:
    """Whose scans the checkpoint saw in pretraining: the sweep says it, else the checkpoint, else nobody.

    Raises `DataError` where the list is none of ids, and as a store does where it is not there.
    """
    uri = run.checkpoint.pretraining_participants
    if uri is not None:
        root, key = split_uri(uri)
        return read_ids(open_store(root), key)
    return None if loaded.pretrained_on is None else ids_of(loaded.pretrained_on, run.checkpoint.uri)
