"""One configuration in the words of a methods section: encoder, head, optimisation, weights of the classes."""

from __future__ import annotations

from collections.abc import Sequence

from octjob.catalog import METRICS
from octjob.report.view import Json

_SCHEDULES = {
    "cosine": "cosine to zero",
    "step": "a tenth after 60 % and a hundredth after 85 %",
    "none": "constant",
}


def training_of(used: Json) -> str:
    """used: one of `methods.configurations`."""
    config = used["config"]
    parts = [_encoder(config, used["mode"]), _head(config, used)]
    if augmented := augmentation_of(config):
        views = config["data"]["augment"]["views"]
        times = f" in {views - 1} of {views} encoded views" if used["mode"] == "probe" else ""
        parts.append(f"augmentation{times}: {augmented}")
    parts.append(_passes(used))
    return "; ".join(parts) + "."


def _encoder(config: Json, mode: str) -> str:
    pool = config["model"]["pool_method"]
    pooled = "tokens weighed by a trained attention" if pool == "attentive" else f"{pool} over the tokens"
    if mode == "probe":
        scaled = ", each feature scaled to mean 0 and standard deviation 1 on the training samples"
        return f"encoder frozen, {pooled}{scaled if config['train']['standardize'] else ''}"
    start = config["model"]["unfreeze_at_epoch"]
    since = f" from epoch {start} on" if config["model"]["freeze_encoder"] and start > 0 else ""
    return f"encoder trained with the head{since}, {pooled}"


def _head(config: Json, used: Json) -> str:
    train = config["train"]
    if train["optimizer"] == "LBFGS":
        return f"multinomial logistic regression with an L2 penalty, L-BFGS to convergence, {_penalty(train, used)}"
    head = config["model"]["head"]
    hidden = f"one hidden layer of {head['hidden']}" if head["hidden"] else "linear head"
    dropout = f", dropout {head['dropout']:g}" if head["dropout"] else ""
    return f"{hidden}{dropout}; {_optimizer(config, used)}; {_epochs(train, used)}"


def _penalty(train: Json, used: Json) -> str:
    if train["l2"] != "auto":
        return f"1/C = {train['l2']:g}"
    found = used["l2"]
    chosen = f" ({_between(found)})" if found else ""
    return f"1/C chosen by log-loss in cross-validation inside the training participants{chosen}"


def _optimizer(config: Json, used: Json) -> str:
    train = config["train"]
    rates = f"learning rate {train['lr_head']:g}"
    if used["mode"] == "finetune":
        rates += f" (encoder {train['lr_encoder']:g})"
    warm = (
        f" after {counted(train['warmup_epochs'], 'epoch')} of linear warm-up"
        if train["warmup_epochs"]
        else ""
    )
    clip = f", gradients clipped at norm {train['grad_clip']:g}" if train["grad_clip"] else ""
    batch = config["data"]["batch_size"] * train["accumulate"]
    return (
        f"{train['optimizer']}, {rates}, {_SCHEDULES[train['scheduler']]}{warm}, weight decay"
        f" {train['weight_decay']:g}, batches of {batch}, {train['precision']}{clip}"
    )


def _epochs(train: Json, used: Json) -> str:
    ran = f", {_between(used['epochs'])} were run" if used["epochs"] else ""
    stopping = train["early_stopping"]
    if not stopping["enabled"]:
        return f"{counted(train['epochs'], 'epoch')}, the last scored"
    watched = METRICS[stopping["metric"]].label if stopping["metric"] in METRICS else "log-loss"
    return (
        f"at most {counted(train['epochs'], 'epoch')}{ran}, stopped after {stopping['patience']} without a gain of"
        f" {stopping['min_delta']:g} in the {watched} of {stopping['holdout']:.0%} of the training participants held"
        " out for it; the best epoch is scored"
    )


def _passes(used: Json) -> str:
    seeds = used["seeds"]
    named = (
        f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds ({', '.join(map(str, seeds[:8]))})"
    )
    if used["leave_out"]:
        return f"{named}, each {used['leave_out']} left out"
    if not used["folds"]:
        return named
    times = "" if used["repeats"] == 1 else f", dealt {used['repeats']} times"
    return f"{named}, {used['folds']} folds{times}"


def weights_of(used: Json) -> str:
    """What is done about unequal classes; empty where nothing is."""
    train, parts = used["config"]["train"], []
    if train["class_weights"] != "none":
        how = "inverse to the classes' counts in training" if train["class_weights"] == "auto" else "as given"
        numbers = (
            f" ({', '.join(f'{value:.2f}' for value in used['class_weights'])})"
            if used["class_weights"]
            else ""
        )
        parts.append(f"each sample's loss weighted by its class, {how}{numbers}")
    if train["sampler"] == "weighted":
        parts.append("every class drawn as often in training")
    if train["loss"] == "focal":
        parts.append(f"focal loss, gamma {train['focal_gamma']:g}")
    return "; ".join(parts)


def augmentation_of(config: Json) -> str:
    """What training sees beyond the volume itself."""
    augment = config["data"]["augment"]
    words = {
        "flip": "mirrored along the fast axis",
        "intensity_jitter": "contrast and brightness moved",
        "random_crop": "cropped and resized",
        "rotation": "rotated in the B-scan plane",
    }
    return ", ".join(text for key, text in words.items() if augment[key])


def preprocessing_of(config: Json) -> str:
    """The profile's steps."""
    steps = {
        "pretraining": "rescaled by slope and intercept, z-scored over the volume, resized trilinearly, z-scored"
        " again",
        "seed_finetune": "clipped to [0, 99th percentile], scaled to [0, 1], raised to 0.8, resized trilinearly",
    }
    rounded = ", kept as float16" if config["data"]["shared_cache"] == "float16" else ""
    return f"{steps[config['data']['profile']]}{rounded} (profile {config['data']['profile']})"


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _between(values: Sequence[float]) -> str:
    low, high = values
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
