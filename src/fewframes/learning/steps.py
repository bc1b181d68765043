"""One step of a training: a batch's loss, gradients and new weights, the same wherever and however often it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.team import Team, share_norms
from fewframes.core.trust import refuse_others
from fewframes.learning.distillation import Teacher
from fewframes.learning.journal import counted
from fewframes.learning.losses import total_loss
from fewframes.learning.settings import TrainingSettings

_STEP = 2
"""First key of the generators of torch's seeds; `samples` has 0 and 1."""


class Stepper:
    """A network in training with its optimiser and, where the settings name one, its teacher.

    `frames` is how many a sample has. Raises `UserError` for a teacher that does not serve.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: TrainingSettings,
        team: Team,
        where: torch.device,
        classes: ClassTable,
        frames: int,
        seed: int,
    ) -> None:
        layout = torch.channels_last if plan.channels_last else torch.preserve_format
        self._network = network.to(where, memory_format=layout).train()  # type: ignore[call-overload]
        self._plan, self._team, self._where, self._seed = plan, team, where, seed
        share_norms(network, team)
        self._optimiser = _optimiser(network, plan)
        self._teacher = Teacher(plan.teacher, classes, network, frames, where) if plan.teacher else None
        if plan.compile:
            _check_compiled()
            network.compile()

    def state(self) -> dict[str, Any]:
        """What `resume` takes."""
        return {"network": self._network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with the weights and the optimiser's state of an earlier process."""
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def step(self, frames: Tensor, labels: Tensor, iteration: int) -> tuple[float, Tensor]:
        """Learn from this process's part of a batch: `float32 [B, T + 1, H, W, 3]` and `uint8 [B, H, W]`.

        Returns the whole batch's loss, and some of its pixels by true and predicted class, `int64 [C, C]`.
        """
        seed_torch(self._seed, iteration, self._team.rank)
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate_at(iteration)
        self._optimiser.zero_grad(set_to_none=not self._plan.step_unused)
        try:
            loss, pixels = self._gradients(frames, labels, iteration)
        except RuntimeError as error:
            if "InvalidCxxCompiler" not in str(error):
                raise
            raise UserError(
                "training.compile needs a C++ compiler, and there is none here: install g++, or set it to false."
            ) from error
        self._team.agree(self._network)
        self._optimiser.step()
        return float(self._team.total(loss)) / self._team.size, self._team.total(pixels)

    def _gradients(self, frames: Tensor, labels: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
        targets = labels.chunk(self._plan.accumulate)
        loss, pixels = torch.zeros((), device=self._where), torch.zeros((), dtype=torch.int64, device=self._where)
        weights = _weights(targets, self._plan, self._team)
        for clip, target, weight in zip(frames.chunk(self._plan.accumulate), targets, weights, strict=True):
            # The samples come with channels last.
            clip = clip.permute(0, 1, 4, 2, 3) if self._plan.channels_last else clip.permute(0, 1, 4, 2, 3).contiguous()
            with torch.autocast(self._where.type, torch.bfloat16, enabled=self._plan.precision == "bfloat16"):
                logits = self._network(clip, iteration % self._network.paths)
                logits = tuple(each.float() for each in logits)
                taught = self._teacher.loss(clip, logits, self._plan.aux_weight) if self._teacher else None
            own = total_loss(logits, target, self._plan) * weight
            if taught is not None:
                own = own + self._plan.teacher_weight * taught / len(targets)
            own.backward()  # type: ignore[no-untyped-call]
            loss, pixels = loss + own.detach(), pixels + counted(logits[0], target)
        return loss, pixels


def seed_torch(seed: int, iteration: int, rank: int = 0) -> None:
    """Set torch's generator to what it is in an iteration, in one process of a team."""
    key = (seed, _STEP, iteration, rank) if rank else (seed, _STEP, iteration)
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def _check_compiled() -> None:
    """Raise `UserError` where others can put compiled code in the place of ours: PyTorch keeps and runs it there."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # takes a while, and few trainings compile

    mend = "remove it, or name a folder of your own in the environment variable TORCHINDUCTOR_CACHE_DIR"
    refuse_others(cache_dir(), "compiled code", mend)


def _weights(targets: Sequence[Tensor], plan: TrainingSettings, team: Team) -> list[float]:
    """What each part of a batch counts for, so that the sum is the loss of the whole.

    The hardest pixels are sought in each part by itself, as TDNet's published code does it for each GPU.
    """
    if plan.loss == "ohem" or not plan.ignore_in_loss_mean or team.size * len(targets) == 1:
        return [1 / len(targets)] * len(targets)
    labelled = torch.stack([(target != IGNORE).sum() for target in targets])
    total = team.total(labelled.sum()).clamp(min=1)
    return (team.size * labelled / total).tolist()


def _optimiser(network: nn.Module, plan: TrainingSettings) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    if plan.step_unused:
        for parameter in parameters:  # from the first step on, and likewise after a resumption
            parameter.grad = torch.zeros_like(parameter)
    # Convolutions' weights have four dimensions; biases and norms fewer, TDNet's norm over positions two.
    spared = [] if plan.decay_all else [p for p in parameters if p.ndim < 4]
    decayed = [p for p in parameters if plan.decay_all or p.ndim >= 4]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, plan.lr, fused=True)
    # Fused SGD fails where a weight is first used in a later step, as those of a further path are.
    return torch.optim.SGD(groups, plan.lr, momentum=plan.momentum, fused=bool(network.paths == 1))
