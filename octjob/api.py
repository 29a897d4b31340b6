"""octjob from Python, for notebooks and scripts: the commands' work without their printing.

`import octjob` gives these names without importing anything heavy; each function imports what it needs.

    import octjob

    octjob.plan("sweeps/phase3.yaml").runs
    sweep = octjob.submit("sweeps/phase3.yaml", target="local")
    sweep = octjob.open_sweep("gs://bucket/octjob/phase3")
    sweep.leaderboard().to_frame()
    sweep.diagnose().cause
    octjob.load_encoder("multi_domain.pt").encode(octjob.read_volume("scan.dcm"))

Everything a user can cause is an `octjob.errors.OctjobError` with a `message` and a `hint`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from octjob.errors import SpecError
from octjob.extras import require_trainer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from octjob.data.dicom import RawVolume
    from octjob.doctor.finding import Diagnosis
    from octjob.leaderboard.board import Leaderboard
    from octjob.models.checkpoint import LoadedEncoder
    from octjob.models.report import LoadReport
    from octjob.records.schema import Result
    from octjob.records.status import RunStatus
    from octjob.spec.expand import Plan
    from octjob.storage.base import ObjectStore
    from octjob.targets.local import Attempted

Size3 = tuple[int, int, int]


def plan(matrix: str | Path) -> Plan:
    """The runs that a sweep file means, as `octjob plan --offline` shows them.

    Raises `SpecError`, naming file, line and key.
    """
    from octjob.spec.expand import plan_sweep

    return plan_sweep(Path(matrix))


def submit(
    matrix: str | Path,
    *,
    target: Literal["local", "kubernetes"] | None = None,
    concurrency: int | None = None,
    bundle: int | None = None,
    context: str | None = None,
    namespace: str | None = None,
    update: bool = False,
    listener: Callable[[Sequence[Attempted]], None] | None = None,
) -> Sweep:
    """Carry out a sweep's unfinished runs, as `octjob submit` does, and open the sweep.

    target: default the file's. local runs them here and returns when all have ended; call it from the main thread.
    kubernetes creates the JobSets and returns. concurrency, bundle, listener: local, processes at a time, probes that
    share one, and who hears of them.
    context, namespace: kubernetes, default the kubeconfig's and the file's.

    Raises:
        SpecError: a sweep file that is invalid, or (local) an installation without torch.
        FailedRunsError, Interrupted: local, as the command's exit codes 5 and 75.
        ClusterError: the cluster refused.
    """
    planned = plan(matrix)
    if (target or planned.compute.target) == "local":
        _submit_local(planned, concurrency, bundle, listener, update=update)
    else:
        _submit_kubernetes(planned, Path(matrix), context, namespace, update=update)
    return open_sweep(planned.output)


def open_sweep(sweep: str | Path) -> Sweep:
    """A submitted sweep by its URI, its directory, or the sweep file it was made from.

    Raises `ObjectNotFoundError` where none is.
    """
    from octjob.records.find import open_sweep as open_store_of
    from octjob.records.layout import read_sweep

    store = open_store_of(str(sweep))
    read_sweep(store)
    return Sweep(store)


def diagnose(sweep: str | Path, run: str | None = None, *, before_run: bool = False) -> Diagnosis:
    """What `octjob doctor` says: every gate's finding, and the first cause.

    sweep: as for `open_sweep`. run: one finished run of it, as for `Sweep.result`. before_run: judge a sweep file, or
    a config file, without any run, as `--config` does; nothing is encoded.

    Raises:
        SpecError: an invalid file, or a run of a sweep that was not run.
        AccessError: no sweep here, no such run, or none that has ended.
    """
    if not before_run:
        return open_sweep(sweep).diagnose(run)
    if run is not None:
        raise SpecError(f"{run}: before a sweep is run it has no finished runs", "Leave `run` out.")
    from octjob.doctor.beforehand import examine_plan, intended

    return examine_plan(intended(Path(sweep)))


def load_encoder(
    uri: str | Path,
    *,
    encoder: Literal["auto", "context", "target"] = "auto",
    volume_size: Size3 | None = None,
    num_heads: int | None = None,
    backbone: str | None = None,
    options: Mapping[str, object] | None = None,
    device: str = "cpu",
) -> Encoder:
    """The pretrained encoder of a checkpoint, every weight found, on `device`.

    volume_size (D, H, W), num_heads: for files that do not say them. backbone, options: the encoder of others that
    reads it, as in a sweep; the former three are not for one. `report` on what comes back tells how it was read.

    Raises `SpecError` without torch, or for a backbone that is not registered or does not take what it is told,
    `AccessError` where the file is not there, `DataError` for one that is not what octjob trusts; see
    docs/checkpoints.md.
    """
    require_trainer()
    from octjob.features.encoders import check_arguments, read_encoder

    options = options or {}
    check_arguments(backbone, options, encoder=encoder, volume_size=volume_size, num_heads=num_heads)
    loaded = read_encoder(
        str(uri),
        encoder=encoder,
        volume_size=volume_size,
        num_heads=num_heads,
        backbone=backbone,
        options=options,
    )
    loaded.encoder.to(device)
    return Encoder(loaded, device)


def read_volume(uri: str | Path, *, axes: str = "DHW") -> RawVolume:
    """One OCT volume from a file or object: `x_DHW` holds its voxels (B-scans, rows, columns) as float32.

    DICOM, or by its name NIfTI, NRRD or NPY; axes: theirs, as `data.axes`.

    Raises `SpecError` without the trainer's packages, `AccessError` where it is not there, `DataError` for a file
    that is damaged or no OCT volume.
    """
    require_trainer()
    from octjob.data.content import DICOM, STANDARD, content_of
    from octjob.data.prepared import read_any
    from octjob.data.quarantine import CorruptVolumeError
    from octjob.errors import DataError, SpecError
    from octjob.storage import read_uri

    if sorted(axes) != sorted(STANDARD):
        raise SpecError(f"axes {axes!r}", f"Write the letters of {STANDARD} in the file's order.")
    content = content_of(str(uri), axes) or DICOM
    try:
        return read_any(read_uri(str(uri)), str(uri), (None, None, None), None, content)
    except CorruptVolumeError as error:
        raise DataError(f"{uri}: {error}", "Fetch the file again, or leave the volume out.") from None


@dataclass(frozen=True, eq=False)
class Encoder:
    """A checkpoint's encoder, to be used as the runs use it."""

    loaded: LoadedEncoder
    device: str = "cpu"

    @property
    def report(self) -> LoadReport:
        """What was read from the file, and how."""
        return self.loaded.report

    def encode(
        self,
        volume: RawVolume,
        *,
        pool: Literal["mean", "max", "attentive"] = "mean",
        profile: Literal["pretraining", "seed_finetune"] = "pretraining",
    ) -> NDArray[np.float32]:
        """The volume's feature as a probe sees it: (E), or (T, E) for attentive. Preprocessed as `data.profile`.

        Raises `DataError` for a volume without contrast.
        """

        from octjob.data.preprocess import NoContrastError, preprocess_volume
        from octjob.errors import DataError
        from octjob.features.encoding import Encoding
        from octjob.models.pooling import row_of
        from octjob.runtime.single import Single
        from octjob.spec.experiment import Data, Experiment, Model

        experiment = Experiment(data=Data(profile=profile), model=Model(pool_method=pool))
        try:
            x_DHW = preprocess_volume(volume, profile, self.report.geometry.volume_size)
        except NoContrastError as error:
            raise DataError(
                f"volume {volume.sop_instance_uid}: {error}", "There is nothing in it to encode."
            ) from None
        encoding = Encoding(self.loaded, experiment, Single(self.device))
        pooling = encoding.pooling_of(experiment)
        (pooled,) = encoding.encode([x_DHW], [pooling])
        return pooled[pooling][row_of(pool)]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A submitted sweep, read from its store."""

    store: ObjectStore

    @property
    def uri(self) -> str:
        """Where it lies."""
        return self.store.root

    def status(self) -> list[RunStatus]:
        """Where every run stands, by heartbeats and results, in the sweep's order."""
        from octjob.records.status import sweep_status

        return sweep_status(self.store)

    def leaderboard(self, metric: str = "macro_auroc") -> Leaderboard:
        """The table that `octjob collect` prints, computed from the predictions; nothing is written.

        `lift` of its rows, and of its frame's columns, is over untrained encoders where the sweep has some.
        """
        from octjob.doctor.glance import glance
        from octjob.leaderboard.collect import collect

        return collect(self.store, metric, glance)

    def diagnose(self, run: str | None = None) -> Diagnosis:
        """What `octjob doctor` says of the sweep, or of one finished run of it."""
        from octjob.doctor.examine import examine

        return examine(self.store, run)

    def result(self, run: str) -> Result:
        """A finished run's `result.json`. run: id, CHECKPOINT.CONFIG or a beginning that only one has.

        Raises `AccessError` for a run that is not there or not finished.
        """
        from octjob.errors import AccessError
        from octjob.records.find import find_run
        from octjob.records.layout import read_result

        run_id = find_run(self.store, run)
        result = read_result(self.store, run_id)
        if result is None:
            raise AccessError(
                f"run {run_id} has no result yet", f"`octjob status {self.uri}` shows where it stands."
            )
        return result

    def history(self, run: str) -> pd.DataFrame:
        """One row per epoch of every unit: seed, repeat, fold, epoch, train/loss, eval/accuracy ...

        Empty for a run without epochs, such as logistic regression. run: as for `result`; it need not be finished.
        """
        import pandas as pd

        from octjob.records.find import find_run
        from octjob.records.history import read_history

        return pd.DataFrame(read_history(self.store, find_run(self.store, run)))

    def predictions(self, run: str) -> pd.DataFrame:
        """One row per scored volume: participant, eye, device, site, split, fold, seed, repeat, label, logit_0 ...

        run: as for `result`.
        """
        import pandas as pd

        from octjob.records.find import find_run
        from octjob.records.predictions import read_predictions

        rows = read_predictions(self.store, find_run(self.store, run))
        names = ("participant", "eye", "device", "site", "split", "fold", "seed", "repeat", "label")
        frame = pd.DataFrame({name: getattr(rows, name) for name in names})
        for k in range(rows.num_classes):
            frame[f"logit_{k}"] = rows.logits_NK[:, k]
        return frame


def _submit_local(
    planned: Plan,
    concurrency: int | None,
    bundle: int | None,
    listener: Callable[[Sequence[Attempted]], None] | None,
    *,
    update: bool,
) -> None:
    require_trainer()
    from octjob.storage.open import open_store
    from octjob.targets.local import carry_out
    from octjob.targets.submit import write_plan

    todo = write_plan(planned, open_store(planned.output), update=update).todo
    if todo:
        carry_out(planned, todo, concurrency, bundle, listener or (lambda items: None))


def _submit_kubernetes(
    planned: Plan, matrix: Path, context: str | None, namespace: str | None, *, update: bool
) -> None:
    from octjob.spec.yaml import load
    from octjob.storage.open import open_store
    from octjob.targets.kubernetes.documents.settings import resolve_settings
    from octjob.targets.kubernetes.place import connect
    from octjob.targets.kubernetes.submission.submit import submit as submit_to

    cluster = connect(context, namespace or planned.compute.namespace)
    settings = resolve_settings(planned.compute, load(matrix))
    submit_to(planned, cluster, open_store(planned.output), settings, update=update, file=str(matrix))
