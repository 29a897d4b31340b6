"""Finding one encoder among a checkpoint's tensors, whatever it was wrapped in."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from octjob.errors import DataError

Choice = Literal["auto", "context", "target"]
Role = Literal["context", "target", "unlabelled"]

CONTAINERS = frozenset({"model_state_dict", "state_dict", "model"})
WRAPPERS = frozenset({"module", "_orig_mod", "backbone", "encoder"})
ROLES = frozenset({"context_encoder", "target_encoder"})
# What training code stores beside the weights, sometimes as one-element tensors.
METADATA = frozenset({"epoch", "step", "loss"})
# Wrappers that torch.compile and DDP also leave inside a model, around a single block.
INNER_WRAPPERS = frozenset({"module", "_orig_mod"})

_BLOCK = re.compile(
    r"blocks\.(\d{1,3})\.(?:norm1|attn\.qkv|attn\.proj|norm2|mlp\.fc1|mlp\.fc2)\.(?:weight|bias)"
)
_STEM_KEYS = ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias")
_BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_MAX_NESTING = 4
_MAX_ENTRIES = 200_000
_SHOWN = 5
_SHOWN_CHARACTERS = 100
_COMPARED = 2_000


@dataclass(frozen=True)
class FoundEncoder:
    """One encoder's tensors by their canonical names, and where they lay: `root` is the stripped prefix."""

    role: Role
    root: str
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class EncoderPair:
    """The encoder to use, the other one of its pair if the file has one, and the parts left alone.

    `layout`: original (context_encoder and target_encoder), official (encoder and target_encoder, V-JEPA 2),
    or single.
    """

    chosen: FoundEncoder
    sibling: FoundEncoder | None
    layout: Literal["original", "official", "single"]
    ignored: list[str]


def encoder_keys(depth: int) -> list[str]:
    """The canonical parameter names of an encoder with `depth` blocks, sorted."""
    blocks = [
        f"blocks.{i}.{part}.{kind}"
        for i in range(depth)
        for part in _BLOCK_PARTS
        for kind in ("weight", "bias")
    ]
    return sorted([*_STEM_KEYS, *blocks])


def count_blocks(names: Iterable[str]) -> int:
    """Depth: one more than the highest block index among canonical names, 0 without blocks."""
    return max((int(match[1]) + 1 for match in map(_BLOCK.fullmatch, names) if match), default=0)


def select_encoder(
    payload: Mapping[str, object], choice: Choice, uri: str, *, other: bool = False
) -> EncoderPair:
    """Find the encoders in a checkpoint's payload and take the one asked for, or with `other` the other of its pair.

    auto: the only one; of the original layout's pair the context encoder (its EMA target was never updated);
    of the official V-JEPA 2 layout the EMA target encoder. Raises `DataError` if there is none, if the one
    asked for, or the other, is not there, or if the prefixes leave it open which keys belong together.
    """
    groups = _group(_flatten(payload, uri), uri)
    found = [_label(root, tensors) for root, tensors in groups.items() if any(map(_is_encoder_key, tensors))]
    if not found:
        raise _nothing_found(groups, payload, uri)
    by_role = _by_role(found, uri)
    layout = _layout(by_role)
    if layout == "official":
        plain = by_role.pop("unlabelled")
        by_role["context"] = FoundEncoder("context", plain.root, plain.tensors)
    chosen = _take(by_role, layout, choice, uri)
    role: Role = "target" if chosen.role == "context" else "context"
    sibling = None if layout == "single" else by_role.get(role)
    if other:
        if sibling is None:
            raise DataError(
                f"{uri}: holds {describe(chosen)} alone: there is no other one for controls.target_encoder",
                "List the checkpoints whose files have two under controls.target_encoder.checkpoints.",
            )
        chosen, sibling = sibling, chosen
    return EncoderPair(chosen, sibling, layout, _ignored(groups, payload, chosen.root))


def require_keys(found: FoundEncoder, uri: str) -> None:
    """Raise `DataError` listing missing and unexpected names unless there are none."""
    expected = encoder_keys(max(1, count_blocks(found.tensors)))
    missing = sorted(set(expected) - set(found.tensors))
    unexpected = sorted(set(found.tensors) - set(expected))
    if not missing and not unexpected:
        return
    nearby = unexpected or sorted(found.tensors)
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(expected)} keys missing: "
            f"{some([_with_nearest(k, nearby) for k in missing[:_SHOWN]] + missing[_SHOWN:])}"
        )
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected: {some(unexpected)}")
    hint = "rename the keys, or name the other encoder if this file has one; nothing was loaded"
    if missing == ["pos_embed"]:
        hint = "weights without pos_embed (official V-JEPA 2 uses rotary positions) are another architecture"
    raise DataError(f"{uri}: {describe(found)} does not match: {'; '.join(problems)}", hint)


def describe(found: FoundEncoder) -> str:
    """How messages name an encoder."""
    return f"the {found.role} encoder (under `{found.root}`)" if found.root else f"the {found.role} encoder"


def some(items: list[str]) -> str:
    """The first five, and how many there are in all."""
    more = f", ... ({len(items)} in all)" if len(items) > _SHOWN else ""
    return ", ".join(map(_shown, items[:_SHOWN])) + more


def _shown(name: str) -> str:
    """A name from the file: printable, and no longer than a name."""
    cut = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    return cut if cut.isprintable() else repr(cut)


def _with_nearest(key: str, nearby: list[str]) -> str:
    close = difflib.get_close_matches(key, nearby[:_COMPARED], n=1)
    return f"{key} (nearest in the file: {close[0]})" if close else key


def _flatten(payload: Mapping[str, object], uri: str) -> dict[str, Tensor]:
    """All tensors of nested string-keyed dicts by dotted path. Optimizer state (integer keys) falls out."""
    tensors: dict[str, Tensor] = {}
    entries = itertools.count()

    def walk(mapping: Mapping[str, object], prefix: str, level: int) -> None:
        for key, value in mapping.items():
            if next(entries) > _MAX_ENTRIES:  # one small dict may stand in many places
                raise DataError(
                    f"{uri}: more than {_MAX_ENTRIES} entries in its dicts", "save one state dict per file"
                )
            if not isinstance(key, str):
                continue
            path = f"{prefix}{key}"
            if isinstance(value, Tensor):
                if path in METADATA:
                    continue
                if path in tensors:
                    raise DataError(
                        f"{uri}: two tensors are called {_shown(path)}", "save one state dict per file"
                    )
                tensors[path] = value
            elif isinstance(value, dict) and level < _MAX_NESTING:
                walk(value, f"{path}.", level + 1)

    walk(payload, "", 0)
    return tensors


def _group(tensors: Mapping[str, Tensor], uri: str) -> dict[str, dict[str, Tensor]]:
    """By root: the longest leading run of known container, wrapper and role names, all tensors below it."""
    groups: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        segments = path.split(".")
        known = CONTAINERS | WRAPPERS | ROLES
        cut = next((i for i, segment in enumerate(segments) if segment not in known), len(segments))
        root = "".join(f"{segment}." for segment in segments[:cut])
        name = ".".join(segment for segment in segments[cut:] if segment not in INNER_WRAPPERS)
        group = groups.setdefault(root, {})
        if name in group:
            raise DataError(
                f"{uri}: {_shown(path)} occurs twice, with and without a module. or _orig_mod. inside",
                "save the state dict of the unwrapped model",
            )
        group[name] = tensor
    return groups


def _is_encoder_key(name: str) -> bool:
    return name in _STEM_KEYS or _BLOCK.fullmatch(name) is not None


def _label(root: str, tensors: dict[str, Tensor]) -> FoundEncoder:
    """The encoder below one root. Its predictor, if it shares the root, is another part."""
    segments = set(root.split("."))
    role: Role = "unlabelled"
    if "target_encoder" in segments:
        role = "target"
    elif "context_encoder" in segments:
        role = "context"
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("predictor.")}
    return FoundEncoder(role, root, own)


def _by_role(found: list[FoundEncoder], uri: str) -> dict[Role, FoundEncoder]:
    by_role: dict[Role, FoundEncoder] = {}
    for role in ("context", "target", "unlabelled"):
        same = [one for one in found if one.role == role]
        if len(same) > 1:
            places = [f"`{one.root or '(top level)'}` ({len(one.tensors)} keys)" for one in same]
            raise DataError(
                f"{uri}: keys of the {role} encoder lie under {len(same)} different prefixes: {some(places)}",
                "keep one state dict, its keys with one common prefix",
            )
        if same:
            by_role[role] = same[0]
    return by_role


def _layout(by_role: Mapping[Role, FoundEncoder]) -> Literal["original", "official", "single"]:
    if "context" in by_role and "target" in by_role:
        return "original"
    plain = by_role.get("unlabelled")
    if "target" in by_role and "context" not in by_role and plain and "encoder" in plain.root.split("."):
        return "official"
    return "single"


def _take(
    by_role: Mapping[Role, FoundEncoder],
    layout: Literal["original", "official", "single"],
    choice: Choice,
    uri: str,
) -> FoundEncoder:
    there = ", ".join(describe(one) for one in by_role.values())
    if choice != "auto":
        if choice not in by_role:
            raise DataError(
                f"{uri}: no {choice} encoder in this file, only {there}",
                "set encoder: auto to take the only one, or name one that is there",
            )
        return by_role[choice]
    if layout == "original":
        return by_role["context"]
    if layout == "official":
        return by_role["target"]
    if len(by_role) > 1:
        raise DataError(f"{uri}: more than one encoder: {there}", "set encoder: context or encoder: target")
    return next(iter(by_role.values()))


def _nothing_found(
    groups: Mapping[str, Mapping[str, Tensor]], payload: Mapping[str, object], uri: str
) -> DataError:
    seen = Counter(f"{root}{name.split('.')[0]}" for root, group in groups.items() for name in group)
    if not seen:
        keys = some([str(key) for key in payload]) or "none"
        return DataError(f"{uri}: no tensors; top-level keys: {keys}", "this is not a checkpoint of a model")
    prefixes = some([f"{prefix}.* ({count} tensors)" for prefix, count in seen.most_common()])
    return DataError(
        f"{uri}: no key matches the encoder (0 of {sum(seen.values())} tensors); prefixes seen: {prefixes}",
        "the file must hold this ViT (pos_embed, patch_embed.proj, blocks.{i}, norm), optionally under "
        + ", ".join(sorted(CONTAINERS | WRAPPERS | ROLES)),
    )


def _ignored(
    groups: Mapping[str, Mapping[str, Tensor]], payload: Mapping[str, object], chosen_root: str
) -> list[str]:
    """The parts of the file that were not loaded, in words."""
    parts: Counter[str] = Counter()
    for root, group in groups.items():
        whole = any(map(_is_encoder_key, group)) and root != chosen_root
        for name in group:
            if root != chosen_root or name.startswith("predictor."):
                parts[root.rstrip(".") if whole and root else f"{root}{name.split('.')[0]}"] += 1
    named = [f"{part} ({count} tensors)" for part, count in sorted(parts.items())]
    rest = [
        key
        for key, value in payload.items()
        if isinstance(value, dict)
        and key != "config"
        and not any(f"{root}{name}".startswith(f"{key}.") for root, group in groups.items() for name in group)
    ]
    return named + rest
