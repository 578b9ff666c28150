"""Colour and depth of the same things, for networks that fuse them (Oyedotun et al. 2019).

Washington RGB-D Object, BU-3DFE, or rendered solids where neither is at hand.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from mmrep.batch import Batch
from mmrep.data import solid_shapes, solids
from mmrep.data.bu3dfe import read_bu3dfe
from mmrep.data.cache import cached_array, code_digest
from mmrep.data.corruption import KINDS, corrupted, corrupted_at_random, draws_of
from mmrep.data.folds import folds_of
from mmrep.data.images import flip_and_crop
from mmrep.data.in_memory import InMemory, InMemoryDataModule, data_folder
from mmrep.data.rgbd_frames import RGBDFrames
from mmrep.data.washington import read_washington

SETS = ("simulated", "washington", "bu3dfe")
MISSING = ("fill", "mask")
SMALLEST = 16  # pixels a side, which four pools leave one of
OUTLIERS = 0.02  # of the measured depths on either side, which are cut off
FARTHEST = 26  # of 255: what is farthest, so that it differs from what is missing
CHUNK = 256  # frames at a time


class RGBDImages(InMemory):
    """Pairs of images as bytes, four channels; on the device they become two inputs from 0 to 1.

    Depth is 1 where a frame is nearest and a tenth where it is farthest. What is missing is 0, or
    is filled, if so asked for, with the nearest depth in its row.
    """

    def __init__(
        self,
        inputs: UInt8[Tensor, "frames 4 size size"],
        label: Tensor,
        index: Tensor,
        *,
        fill: bool,
        augment: bool = False,
        corruption_rate: float | int = 0.0,
        corruption: tuple[str, float | int] | None = None,
    ) -> None:
        super().__init__(inputs, label, index)
        self.fill, self.augment = fill, augment
        self.corruption_rate, self.corruption = corruption_rate, corruption

    def prepare(self, batch: Batch) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        pairs = flip_and_crop(batch.inputs) if self.augment else batch.inputs
        scaled = pairs.float().div_(255)
        images = {"rgb": scaled[:, :3], "depth": scaled[:, 3:]}
        if self.corruption_rate > 0:
            images = corrupted_at_random(images, self.corruption_rate, KINDS)
        if self.corruption is not None:
            kind, level = self.corruption
            levels = torch.full((len(pairs),), float(level), device=pairs.device)
            images = corrupted(images, kind, levels, draws_of(batch.index, *pairs.shape[2:]))
        if self.fill:
            images["depth"] = filled(images["depth"])
        return batch._replace(inputs=images)


class RGBD(InMemoryDataModule):
    """Pairs of images in folds, of which `fold` is tested and the others are trained on.

    `set` is "washington", of which `frames` are chosen by `selection_seed`, equally many of each
    category as far as there are; "bu3dfe", of which `subjects` are, with the two highest
    intensities of six expressions; or "simulated", rendered by a `preset`, with other `rates` where
    they are given. Images have `size` x `size` pixels. Neither selection nor folds depend on the
    run's `seed`, so that runs of all seeds and folds share them; `split_by` is explained at
    `folds_of`. With `object_mask` what is not the object is black, and its depth missing
    (Washington alone).

    `augment` mirrors and shifts both images of a pair alike, in training alone, where a share
    `corruption_rate` of the samples is given one of the corruptions, at a level drawn from 0 to 1;
    since that of a missing image is a probability, a fifth of these stay as they are with five
    kinds. `missing` depth is filled or stays 0.
    """

    corruptions = KINDS
    val_known: Mapping[str, Float[Tensor, "_"]]

    def __init__(
        self,
        *,
        data_dir: str | None,
        set: str,
        num_classes: int,
        size: int,
        folds: int,
        fold: int,
        split_by: str,
        missing: str,
        augment: bool,
        corruption_rate: float | int,
        preset: str,
        rates: Mapping[str, float | int | None],
        instances: int,
        views: int,
        simulation_seed: int,
        frames: int | None,
        subjects: int | None,
        selection_seed: int,
        object_mask: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        for key, value, allowed in (("set", set, SETS), ("missing", missing, MISSING)):
            if value not in allowed:
                raise ValueError(f"data.{key}={value!r} is not one of {', '.join(allowed)}")
        if size < SMALLEST:
            raise ValueError(f"data.size={size} must be at least {SMALLEST} pixels")
        if not 0 <= corruption_rate <= 1:
            raise ValueError(f"data.corruption_rate={corruption_rate} is a share, from 0 to 1")
        if fold not in range(folds):
            raise ValueError(
                f"fold={fold} is not one of the {folds} folds 0 to {folds - 1}: choose one of "
                "them, or set data.folds"
            )
        if set == "simulated":
            solids.rates_of(preset, rates)
            if instances < 1 or views < 1:
                raise ValueError(f"data.instances={instances}, data.views={views}: at least 1 each")
        if object_mask and set != "washington":
            raise ValueError(f"data.object_mask=true: {set} has no masks; leave it out")
        self.set, self.size, self.num_classes = set, size, num_classes
        self.folds, self.fold, self.split_by = folds, fold, split_by
        self.missing, self.augment, self.corruption_rate = missing, augment, corruption_rate
        self.preset = preset
        self.rates = {name: rate for name, rate in rates.items() if rate is not None}
        self.instances, self.views = instances, views
        self.simulation_seed, self.selection_seed = simulation_seed, selection_seed
        self.frames, self.subjects, self.object_mask = frames, subjects, object_mask
        self.folder = data_folder(data_dir) / ("rgbd" if set == "simulated" else set)
        self.simulated, self.announced = set == "simulated", False
        self.name = f"rgbd_{preset}" if self.simulated else set

    @property
    def title(self) -> str:
        of = {"washington": "Washington RGB-D", "bu3dfe": "BU-3DFE"}
        name = of.get(self.set, f"solids, {self.preset}")
        return f"{name}, fold {self.fold} of {self.folds} by {self.split_by}"

    def prepare_data(self) -> None:
        if self.simulated and not self.announced:
            self.announced = True
            print(f"RGB-D is simulated: rendered solids, {self.preset}")
        self._frames()

    def setup(self, stage: str) -> None:
        frames = self._frames()
        if self.num_classes != len(frames.class_names):
            raise ValueError(
                f"data.num_classes={self.num_classes}: there are {len(frames.class_names)}, "
                f"{', '.join(frames.class_names[:10])}; set "
                f"data.num_classes={len(frames.class_names)}"
            )
        self.class_names = frames.class_names
        fold = folds_of(
            frames.label,
            frames.group,
            folds=self.folds,
            split_by=self.split_by,
            seed=self.selection_seed,
        )
        tested = fold == self.fold
        self.val_known = {name: values[tested] for name, values in frames.known.items()}
        self.train_set = self._images(
            frames, ~tested, augment=self.augment, corruption_rate=self.corruption_rate
        )
        self.val_set = self._images(frames, tested)

    @property
    def plain_train_set(self) -> RGBDImages:
        train = self.train_set
        fill = self.missing == "fill"
        return RGBDImages(train.inputs, train.label, train.index, fill=fill)

    def corrupted_val_dataloader(self, kind: str, level: float | int) -> DataLoader[Batch]:
        """The tested samples, each with the same corruption whatever its batch and rank.

        ValueError: an unknown kind, or a level that is not from 0 to 1.
        """
        if kind not in KINDS or not 0 <= level <= 1:
            raise ValueError(
                f"corruption {kind!r} at level {level}: choose one of {', '.join(KINDS)}, and a "
                "level from 0 to 1"
            )
        val, fill = self.val_set, self.missing == "fill"
        bad = RGBDImages(val.inputs, val.label, val.index, fill=fill, corruption=(kind, level))
        return self._ordered(bad)

    def facts(self) -> dict[str, Any]:
        """Besides what all sets say: which frames, which folds, and how they are prepared."""
        which = {
            "simulated": ("preset", "rates", "instances", "views", "simulation_seed"),
            "washington": ("frames", "selection_seed", "object_mask"),
            "bu3dfe": ("subjects", "selection_seed"),
        }
        frames = {key: getattr(self, key) for key in ("set", "size", *which[self.set])}
        how = ("split_by", "folds", "fold", "missing", "augment", "corruption_rate")
        facts = super().facts() | frames | {key: getattr(self, key) for key in how}
        # Labels and numbers alone would be the same in other renderings, or at another size.
        digest = hashlib.sha256(json.dumps([facts["fingerprint"], frames]).encode())
        return facts | {"fingerprint": digest.hexdigest()[:16]}

    def _images(self, frames: RGBDFrames, chosen: Bool[Tensor, "_"], **training: Any) -> RGBDImages:
        depth = torch.cat([depth_bytes(part) for part in torch.split(frames.depth[chosen], CHUNK)])
        inputs = torch.cat([frames.rgb[chosen], depth], dim=1)
        label, index = frames.label[chosen], frames.index[chosen]
        return RGBDImages(inputs, label, index, fill=self.missing == "fill", **training)

    def _frames(self) -> RGBDFrames:
        """All frames of the set, decoded or rendered in the first call, and then kept."""
        if self.set == "washington":
            return read_washington(
                self.folder,
                size=self.size,
                frames=self.frames,
                seed=self.selection_seed,
                object_mask=self.object_mask,
            )
        if self.set == "bu3dfe":
            return read_bu3dfe(
                self.folder, size=self.size, subjects=self.subjects, seed=self.selection_seed
            )
        return read_solids(
            self.folder,
            self.preset,
            rates=self.rates,
            size=self.size,
            instances=self.instances,
            views=self.views,
            seed=self.simulation_seed,
        )


def depth_bytes(
    depth: Int16[Tensor, "frames 1 height width"],
) -> UInt8[Tensor, "frames 1 height width"]:
    """Depth in 255 steps between a frame's own nearest and farthest, 0 where it is missing.

    As in most work on depth with networks made for colour; what is nearer is brighter. A fiftieth
    of the depths at either end is cut off, since sensors have outliers.
    """
    known = depth > 0
    values = torch.where(known, depth.float(), torch.nan).flatten(1)
    bounds = torch.nanquantile(values, torch.tensor([OUTLIERS, 1 - OUTLIERS]), dim=1)
    near, far = bounds.nan_to_num()[:, :, None, None, None]  # of a frame without any, as good as 0
    scaled = ((far - depth.float()) / (far - near).clamp(min=1)).clamp(0, 1)
    bright = FARTHEST + (255 - FARTHEST) * scaled
    return torch.where(known, bright.round(), 0).to(torch.uint8)


def filled(
    depth: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 1 height width"]:
    """What is 0 becomes the nearest depth of its row; in a row without any, that of its column.

    A frame without any stays 0.
    """
    return _filled_rows(_filled_rows(depth).mT).mT


def _filled_rows(
    depth: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 1 height width"]:
    width = depth.shape[-1]
    place = torch.arange(width, device=depth.device).expand_as(depth)
    left = torch.where(depth > 0, place, -width).cummax(dim=-1).values
    right = torch.where(depth > 0, place, 2 * width).flip(-1).cummin(dim=-1).values.flip(-1)
    nearest = torch.where(place - left <= right - place, left, right)
    return depth.gather(-1, nearest.clamp(0, width - 1))


def read_solids(
    folder: Path,
    preset: str,
    *,
    rates: Mapping[str, float | int],
    size: int,
    instances: int,
    views: int,
    seed: int,
) -> RGBDFrames:
    """A simulated set, rendered in the first call and kept in `folder`."""
    planned = solids.plan(preset, rates=rates, instances=instances, views=views, seed=seed)
    number = len(planned.label)

    def chunks() -> Iterator[Int16[np.ndarray, "_ 4 size size"]]:
        for start in range(0, number, CHUNK):
            parts = solids.render(planned, start, min(start + CHUNK, number), size=size)
            yield np.concatenate(parts, axis=1, dtype=np.int16)

    key = {
        "preset": (preset, dict(rates)),
        "numbers": (size, instances, views, seed),
        "code": code_digest(solids.__file__, solid_shapes.__file__),
    }
    shape = (number, 4, size, size)
    kept = cached_array(folder, f"{preset}_{size}", key, shape, chunks(), dtype="<i2")
    return solids.frames_of(planned, kept[:, :3].astype(np.uint8), np.array(kept[:, 3:]))
