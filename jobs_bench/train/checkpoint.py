"""Resumable states on disk: trainable parameters, optimiser, step. Safetensors and JSON only.

A checkpoint is a folder that is there whole or not at all. The newest two of a trial are kept: a
segment that was under way when the process died starts again from the one before.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from jobs_bench.errors import JournalError, StorageError

KEEP = 2


@dataclass(frozen=True, slots=True)
class State:
    """Where a trial stands.

    Attributes:
        step: Optimiser steps taken.
        config_key: Key of its configuration.
        params: Trainable parameters by name.
        moments: AdamW's first and second moments, as ``<name>.m`` and ``<name>.v``.
        online: What its controller goes on from, empty without one.
    """

    step: int
    config_key: str
    params: dict[str, Tensor]
    moments: dict[str, Tensor]
    online: dict[str, Tensor] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one study, ``root/trial-<id>/step-<n>/``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _trial(self, trial_id: int) -> Path:
        return self._root / f"trial-{trial_id:05d}"

    def save(self, trial_id: int, state: State) -> Path:
        """Write a state; older ones beyond the newest two are dropped.

        Raises:
            StorageError: The disk is full; nothing is left behind.
        """
        folder = self._trial(trial_id) / f"step-{state.step:08d}"
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            save_file(state.params, temporary / "params.safetensors")
            save_file(state.moments, temporary / "moments.safetensors")
            if state.online:
                save_file(state.online, temporary / "online.safetensors")
            about = {"step": state.step, "config_key": state.config_key}
            (temporary / "state.json").write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        except (OSError, SafetensorError) as err:
            shutil.rmtree(temporary, ignore_errors=True)
            raise StorageError(
                f"could not write the checkpoint {folder} ({err}); everything before is safe: make "
                "room, then resume the study"
            ) from err
        for old in sorted(self._trial(trial_id).glob("step-*"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def load(self, trial_id: int, step: int) -> State:
        """Return the state of a trial at `step`.

        Raises:
            JournalError: It is not there, or damaged.
        """
        folder = self._trial(trial_id) / f"step-{step:08d}"
        try:
            about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            online = folder / "online.safetensors"
            return State(
                step=int(about["step"]),
                config_key=str(about["config_key"]),
                params=load_file(folder / "params.safetensors"),
                moments=load_file(folder / "moments.safetensors"),
                online=load_file(online) if online.exists() else {},
            )
        except (OSError, ValueError, KeyError, SafetensorError) as err:
            there = sorted(p.name for p in self._trial(trial_id).glob("step-*"))
            raise JournalError(
                f"no checkpoint of trial {trial_id} at step {step} ({err}); there are: "
                f"{', '.join(there) or 'none'}"
            ) from err

    def discard(self, trial_id: int) -> None:
        """Drop everything of a trial."""
        shutil.rmtree(self._trial(trial_id), ignore_errors=True)
