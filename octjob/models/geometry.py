"""The encoder's geometry, read from its tensors and checked against the stored config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from octjob.errors import DataError
from octjob.models.shape import ORIGINAL_GEOMETRY, EncoderGeometry, Triple
from octjob.models.statedict import count_blocks

NumHeadsSource = Literal["argument", "config", "embed_dim // 64"]
# Both spellings occur: pretraining writes image_size, the original fine-tuning loader looked for img_size.
SIZE_KEYS = ("image_size", "img_size")
HEAD_DIM = 64


def read_geometry(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, object],
    uri: str,
    *,
    volume_size: Triple | None = None,
    num_heads: int | None = None,
) -> tuple[EncoderGeometry, NumHeadsSource, list[str]]:
    """Geometry, where num_heads came from, and notes for the report. `tensors` has all canonical names.

    From the tensors: patch size, input channels, embed_dim, depth, MLP ratio, number of tokens. Two facts
    leave no trace in them. How the tokens factor into a grid: from `volume_size`, else the config, else the
    original 64 x 384 x 384 if the number fits, else an error. The number of heads: from `num_heads`, else the
    config, else embed_dim // 64 (as in the original, 768 / 12). Any disagreement with the tensors is a
    `DataError`.
    """
    pos_shape, patch_shape = (tuple(tensors[name].shape) for name in ("pos_embed", "patch_embed.proj.weight"))
    fc1_shape = tuple(tensors["blocks.0.mlp.fc1.weight"].shape)
    sizes = (*pos_shape, *patch_shape, *fc1_shape)
    if (len(pos_shape), len(patch_shape), len(fc1_shape)) != (3, 5, 2) or pos_shape[0] != 1 or min(sizes) < 1:
        raise DataError(
            f"{uri}: pos_embed {pos_shape}, patch_embed.proj.weight {patch_shape} and mlp.fc1.weight "
            f"{fc1_shape} are not those of a 3D ViT: (1, N, C), (C, channels, d, h, w) and (hidden, C)",
            "this encoder reads 3D checkpoints without a class token only",
        )
    embed_dim, in_channels, *patch = patch_shape
    depth = count_blocks(tensors)
    _check_config(config, uri, patch_size=tuple(patch), embed_dim=embed_dim, depth=depth)
    size, notes = _volume_size(config, uri, volume_size, pos_shape[1], (patch[0], patch[1], patch[2]))
    heads, source = _num_heads(config, uri, num_heads, embed_dim)
    geometry = EncoderGeometry(
        volume_size=size,
        patch_size=(patch[0], patch[1], patch[2]),
        embed_dim=embed_dim,
        depth=depth,
        num_heads=heads,
        mlp_ratio=fc1_shape[0] / embed_dim,
        in_channels=in_channels,
    )
    return geometry, source, notes


def _check_config(
    config: Mapping[str, object], uri: str, *, patch_size: tuple[int, ...], embed_dim: int, depth: int
) -> None:
    stored_patch = _triple(config, "patch_size", uri)
    if stored_patch is not None and stored_patch != patch_size:
        raise _disagree(uri, "patch_size", stored_patch, f"patch_embed.proj.weight says {patch_size}")
    for key, actual in (("embed_dim", embed_dim), ("depth", depth)):
        stored = _integer(config, key, uri)
        if stored is not None and stored != actual:
            raise _disagree(uri, key, stored, f"the tensors say {actual}")


def _volume_size(
    config: Mapping[str, object], uri: str, argument: Triple | None, num_tokens: int, patch: Triple
) -> tuple[Triple, list[str]]:
    stored = {key: size for key in SIZE_KEYS if (size := _triple(config, key, uri)) is not None}
    if argument is not None:
        if not _fits(argument, patch, num_tokens):
            raise _no_fit(uri, "volume_size", argument, patch, num_tokens)
        overruled = [f"config {key} {size}" for key, size in stored.items() if size != argument]
        return argument, [f"volume_size {argument} was given and overrules {item}." for item in overruled]
    if len(set(stored.values())) > 1:
        raise DataError(
            f"{uri}: config contradicts itself: image_size {stored['image_size']}, img_size "
            f"{stored['img_size']}",
            "say which is right with volume_size, or correct the config",
        )
    if stored:
        key, size = next(iter(stored.items()))
        if not _fits(size, patch, num_tokens):
            raise _no_fit(uri, f"config {key}", size, patch, num_tokens)
        return size, []
    original = ORIGINAL_GEOMETRY.volume_size
    if patch == ORIGINAL_GEOMETRY.patch_size and _fits(original, patch, num_tokens):
        return original, [f"No volume size in the config; {num_tokens} tokens fit the original {original}."]
    raise DataError(
        f"{uri}: pos_embed has {num_tokens} tokens and no config image_size or img_size says which grid "
        "they form",
        "give volume_size: [D, H, W] beside its uri in a sweep's checkpoints",
    )


def _num_heads(
    config: Mapping[str, object], uri: str, argument: int | None, embed_dim: int
) -> tuple[int, NumHeadsSource]:
    stored = _integer(config, "num_heads", uri)
    source: NumHeadsSource = "embed_dim // 64"
    heads, whole = embed_dim // HEAD_DIM, embed_dim % HEAD_DIM == 0
    if argument is not None:
        heads, whole, source = argument, True, "argument"
    elif stored is not None:
        heads, whole, source = stored, True, "config"
    if not whole or heads < 1 or embed_dim % heads:
        raise DataError(
            f"{uri}: cannot tell the number of attention heads: {source} gives {heads} for embed_dim "
            f"{embed_dim}",
            "give num_heads beside its uri in a sweep's checkpoints, or store it in the file's config",
        )
    return heads, source


def _fits(size: Triple, patch: Triple, num_tokens: int) -> bool:
    whole = all(s > 0 and s % p == 0 for s, p in zip(size, patch, strict=True))
    return whole and math.prod(s // p for s, p in zip(size, patch, strict=True)) == num_tokens


def _triple(config: Mapping[str, object], key: str, uri: str) -> Triple | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 3 and all(type(v) is int for v in value):
        return value[0], value[1], value[2]
    raise DataError(
        f"{uri}: config {key} is {repr(value)[:100]}, not three integers (D, H, W)", "correct the config"
    )


def _integer(config: Mapping[str, object], key: str, uri: str) -> int | None:
    value = config.get(key)
    if value is None or type(value) is int:
        return value
    raise DataError(f"{uri}: config {key} is {repr(value)[:100]}, not an integer", "correct the config")


def _disagree(uri: str, key: str, stored: object, tensors: str) -> DataError:
    return DataError(
        f"{uri}: config {key} {stored}, but {tensors}", "the config is not the one of these weights"
    )


def _no_fit(uri: str, source: str, size: Triple, patch: Triple, num_tokens: int) -> DataError:
    have = "x".join(f"{s / p:g}" for s, p in zip(size, patch, strict=True))
    return DataError(
        f"{uri}: {source} {size} with patches {patch} makes a grid {have}, but pos_embed has {num_tokens} "
        "tokens",
        "the original pretraining could shrink volumes when memory ran out (64 x 320 x 320: 6400 "
        "tokens); give the true volume_size (D, H, W)",
    )
