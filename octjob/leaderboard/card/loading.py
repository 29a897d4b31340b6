"""How to load what a run stored, as a program to copy."""

from __future__ import annotations

from octjob.leaderboard.card.words import fenced
from octjob.spec.run import Run

_START = """\
import octjob
import torch
from safetensors.torch import load_file
{imports}
encoder = octjob.load_encoder({uri}, {how})
volume = octjob.read_volume("scan.dcm")
weights = load_file("checkpoint/{file}")
"""
_HEAD = "from octjob.spec.run import Run\nfrom octjob.train.classifier import make_head\n"
_CLASSIFIER = """\
from octjob.data.preprocess import preprocess_volume
from octjob.spec.run import Run
from octjob.train.classifier import Classifier, make_head
"""
_PROBE = """\
feature = torch.from_numpy(encoder.encode(volume, pool={pool}, profile={profile}))
if "feature_mean" in weights:
    feature = ((feature.double() - weights.pop("feature_mean")) / weights.pop("feature_std")).float()
"""
_LOGISTIC = """\
logits = feature.double() @ weights["weight"].double().T + weights["bias"].double()
"""
_ON_FEATURES = """\
run = Run.model_validate_json(open("spec.json").read())
head = make_head(run.config, feature.shape[-1], seed=0).eval()
head.load_state_dict(weights)
logits = head(feature[None])[0]
"""
_NETWORK = """\
run, geometry = Run.model_validate_json(open("spec.json").read()), encoder.report.geometry
head = make_head(run.config, geometry.embed_dim, seed=0)
model = Classifier(encoder.loaded.encoder, head, run.config.model.pool_method).eval()
model.load_state_dict(weights)
x_DHW = preprocess_volume(volume, {profile}, geometry.volume_size)
logits = model(torch.from_numpy(x_DHW)[None, None])[0]
"""
_END = "print(logits.softmax(0))\n"


def loading(run: Run, classes: tuple[str, ...]) -> list[str]:
    """Which files there are, and a program that predicts one volume with one of them."""
    log = run.config.log
    if not (log.save_best or log.save_last):
        return ["The run kept no weights (`log.save_best`, `log.save_last`)."]
    which = "best" if log.save_best else "last"
    first_seed, first_repeat = run.passes[0]
    file = f"{which}-seed{first_seed}-repeat{first_repeat}-fold0.safetensors"
    num_models = len(run.passes) * max(1, run.folds)
    several = (
        f" There are {num_models}, one for each seed, repeat and fold: average their probabilities."
        if num_models > 1
        else ""
    )
    return [
        f"`spec.json` and `checkpoint/{which}-*.safetensors` lie below the run, `runs/{run.run_id}/`.{several}"
        f" With octjob's trainer installed, the probabilities of {', '.join(classes)}, in this order, are:",
        "",
        *fenced(_program(run, file), "python"),
    ]


def _program(run: Run, file: str) -> str:
    config, checkpoint = run.config, run.checkpoint
    if config.mode == "finetune":
        imports, body = _CLASSIFIER, _NETWORK
    elif config.train.optimizer == "LBFGS":
        imports, body = "", _PROBE + _LOGISTIC
    else:
        imports, body = _HEAD, _PROBE + _ON_FEATURES
    if checkpoint.backbone is not None:
        how = f"backbone={checkpoint.backbone!r}, options={checkpoint.options!r}"
    else:
        size, heads = checkpoint.volume_size, checkpoint.num_heads
        how = f"encoder={config.model.encoder!r}, volume_size={size}, num_heads={heads}"
    return (_START + body + _END).format(
        imports=imports,
        uri=repr(checkpoint.uri),
        how=how,
        file=file,
        pool=repr(config.model.pool_method),
        profile=repr(config.data.profile),
    )
