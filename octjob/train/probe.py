"""Linear and MLP heads on cached features, a run's own and those of runs that come after it in the process.

Shapes: V views, N volumes of the cohort, E embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from octjob.runtime.base import Runtime
from octjob.spec.experiment import Experiment
from octjob.train import epoch
from octjob.train.company import Company, Guest, Nobody, Stay
from octjob.train.joint import Joint, joint_name
from octjob.train.loop import State, Task
from octjob.train.scaling import by_training_set, scaled
from octjob.train.scoring import Scorer
from octjob.train.stack import Weights
from octjob.train.streams import Member
from octjob.train.together import most_together, together
from octjob.train.trained import Done, Trained, Watch
from octjob.train.units import Unit

log = logging.getLogger(__name__)


class ProbeTrainer:
    """Trains on features of a frozen encoder, float32 (V, N, E); view 0 is the volume itself.

    company: other runs of this process, whose heads take the room that is left.
    """

    def __init__(
        self,
        experiment: Experiment,
        scorer: Scorer,
        x_VN: Tensor,
        runtime: Runtime,
        company: Company | None = None,
    ) -> None:
        self.experiment = experiment
        self.scorer = scorer
        self.x_VN = x_VN
        self.runtime = runtime
        self.company = company or Nobody()

    def train(self, units: Sequence[Unit], watch: Watch) -> Iterator[Done]:
        """As many heads together as fit."""
        V, N, E = self.x_VN.shape
        guests: list[Guest] | None = None
        stays: dict[str, list[Stay]] = {}
        for some in together(units, self.experiment, (V, N, E)):
            state = watch.begin(some, joint_name(some))
            if guests is None:
                # What an earlier attempt began is ahead of any guest.
                guests = self._guests(units) if state is None else []
            beside = [self._in_step(guest, some[0]) for guest in guests]
            own, *others = self._train([Guest("", self.scorer, some), *beside], state, watch)
            for guest, stay in zip(guests, others, strict=True):
                stays.setdefault(guest.run_id, []).append(stay)
            yield own.done
        for guest in guests or ():
            if sum(len(stay.done) for stay in stays[guest.run_id]) == len(guest.units):
                self.company.leave(guest, stays[guest.run_id])

    def _guests(self, units: Sequence[Unit]) -> list[Guest]:
        """Those whose every unit takes as many steps as one of these."""
        V, N, E = self.x_VN.shape
        own = {self._steps(unit) for unit in units}
        room = most_together(self.experiment, (V, N, E)) - len(units)
        invited = self.company.invite(room) if room > 0 else ()
        guests = [guest for guest in invited if own.issuperset(map(self._steps, guest.units))]
        if guests:
            number = sum(len(guest.units) for guest in guests)
            log.info("%d heads of %d runs that come later train beside these", number, len(guests))
        return guests

    def _steps(self, unit: Unit) -> int:
        return epoch.steps_per_epoch(self.experiment, len(unit.train_N))

    def _in_step(self, guest: Guest, own: Unit) -> Guest:
        steps = self._steps(own)
        return replace(guest, units=[unit for unit in guest.units if self._steps(unit) == steps])

    def _train(self, parties: Sequence[Guest], state: State | None, watch: Watch) -> list[Stay]:
        """What became of each party's units. The first party is the run's own."""
        pairs = [(party.scorer, unit) for party in parties for unit in party.units]
        features: dict[int, tuple[Tensor, Weights]] = {}
        for alike in by_training_set([unit for _, unit in pairs]):
            features |= dict.fromkeys(map(id, alike), scaled(self.experiment, self.x_VN, alike[0]))
        members = [_member(scorer, unit, features[id(unit)][0]) for scorer, unit in pairs]
        joint = Joint(members, self.runtime, num_own=len(parties[0].units))
        if state is not None:
            joint.load_state(state)
        for i, unit in enumerate(joint.units):
            log.info("%s: %s", unit.name, joint.used(i))
        joint.run(watch)
        stays, first = [], 0
        for party in parties:
            places = range(first, first := first + len(party.units))
            done = [
                (members[i].unit, _trained(joint, i, features[id(members[i].unit)][1], watch))
                for i in places
                if joint.standings[i].failure is None
            ]
            stays.append(Stay(done, joint.lines_beside(places)))
        return stays


def _member(scorer: Scorer, unit: Unit, x_VN: Tensor) -> Member:
    task = Task(unit, scorer.labels(unit), scorer.class_weights(unit), scorer.for_unit(unit))
    return Member(task, scorer.experiment, x_VN)


def _trained(joint: Joint, i: int, scale: Weights, watch: Watch) -> Trained:
    watch.check_stop()
    unit = joint.members[i].unit
    return Trained(
        eval_logits_NK=joint.logits(i, unit.eval_N),
        train_logits_NK=joint.logits(i, unit.train_N),
        weights=joint.weights(i) | scale,
        last_weights=joint.last_weights(i) | scale,
        used=joint.used(i),
    )
