import json
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from fewframes.core.team import Team, share_norms

SCRIPT = """
import json, sys, threading, torch
from torch import nn
from fewframes.core.errors import UserError
from fewframes.core.team import gathered, share_norms

def network():
    torch.manual_seed(0)
    last = nn.BatchNorm2d(3, affine=False)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1), last)

def batch():
    return torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))

def learn(team, out):
    net = network().train()
    share_norms(net, team)
    part = batch()[team.rank :: team.size]
    (net(part) ** 3).mean().backward()
    team.agree(net)
    state = {k: v.tolist() for k, v in net.state_dict().items()}
    state |= {f"grad {k}": p.grad.tolist() for k, p in net.named_parameters()}
    state["any"] = [team.any(team.rank == 1, torch.device("cpu")), team.any(False, torch.device("cpu"))]
    if team.first:
        json.dump(state, open(out, "w"))

def layouts(team, out):
    # Weights in channels last, which fused optimisers go through as they lie.
    from fewframes.core.labels import load_class_table
    from fewframes.core.team import Team
    from fewframes.learning.settings import TrainingSettings
    from fewframes.learning.steps import Stepper

    class Plain(nn.Module):
        paths, past_frames, memory_frame = 1, 1, "previous"
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 11, 3))
        def forward(self, clip, path=0):
            return (self.conv(clip.flatten(1, 2)),)

    made = []
    for optimiser in ("sgd", "adamw"):
        plan = TrainingSettings.parse({"network": {}, "batch_size": 4, "lr": 0.1, "optimiser": optimiser})
        for of in (team, Team()):
            network = Plain()
            stepper = Stepper(network, plan, of, torch.device("cpu"), load_class_table("camvid"), 2, seed=0)
            generator = torch.Generator().manual_seed(1)
            frames = torch.randn(4, 2, 9, 9, 3, generator=generator)
            labels = torch.randint(0, 11, (4, 5, 5), generator=generator, dtype=torch.uint8)
            part = slice(of.rank, None, of.size)
            losses = [stepper.step(frames[part], labels[part], i)[0] for i in range(3)]
            made.append([losses, network.conv[2].weight.tolist()])
    if team.first:
        json.dump(made, open(out, "w"))

def errs_first(team, out):
    if team.first:
        raise UserError("labels.h5 is damaged: delete it.")
    team.total(torch.ones(1))

def unused(team, out):
    net = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)])
    net[0](torch.ones(1)).backward()
    if team.rank == 1:
        net[1](torch.ones(1)).backward()
    team.agree(net)
    if team.first:
        json.dump([None if p.weight.grad is None else p.weight.grad.item() for p in net], open(out, "w"))

def fails(team, out):
    if team.rank:
        raise UserError("clip.png is damaged: restore it.")
    team.total(torch.ones(1))

if __name__ == "__main__":
    work = globals()[sys.argv[1]]
    try:
        with gathered(2, "gloo", work, sys.argv[2]) as team:
            work(team, sys.argv[2])
    except UserError as error:
        json.dump([str(error), threading.active_count()], open(sys.argv[2], "w"))
"""

ALONE = 1
"""Threads that are left: the one that watches the others would end the process."""


@pytest.fixture
def in_two(tmp_path):
    """What a piece of work, shared by two processes, writes."""
    script, out = tmp_path / "work.py", tmp_path / "out.json"
    script.write_text(textwrap.dedent(SCRIPT))

    def run(work: str):
        subprocess.run([sys.executable, script, work, out], check=True, timeout=120)
        return json.loads(out.read_text())

    return run


def test_two_processes_learn_what_one_learns_of_the_whole_batch(in_two) -> None:
    names: dict = {}
    exec(SCRIPT.split("def learn")[0], names)
    net = names["network"]().train()
    (net(names["batch"]()) ** 3).mean().backward()
    made = in_two("learn")
    assert made.pop("any") == [True, False]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(torch.tensor(made.pop(name), dtype=value.dtype), value, rtol=1e-5, atol=1e-6)
    for name, parameter in net.named_parameters():
        assert float(parameter.grad.abs().max()) > 1e-5 or name == "0.bias" or name == "3.bias"
        torch.testing.assert_close(torch.tensor(made.pop(f"grad {name}")), parameter.grad, rtol=1e-4, atol=1e-6)
    assert not made


def test_a_weight_that_no_process_used_keeps_no_gradient(in_two) -> None:
    assert in_two("unused") == [1.0, 0.5, None]


def test_what_another_process_complains_of_is_said(in_two) -> None:
    assert in_two("fails") == ["clip.png is damaged: restore it.", ALONE]


def test_two_processes_step_as_one_does_in_every_layout(in_two) -> None:
    made = in_two("layouts")
    for ours, alone in (made[:2], made[2:]):
        assert ours[0] == pytest.approx(alone[0], rel=1e-4)
        torch.testing.assert_close(torch.tensor(ours[1]), torch.tensor(alone[1]), rtol=1e-3, atol=1e-4)


def test_the_first_processs_complaint_is_the_only_one(in_two, capfd) -> None:
    assert in_two("errs_first") == ["labels.h5 is damaged: delete it.", ALONE]
    assert "Traceback" not in capfd.readouterr().err


def test_one_process_keeps_its_norms() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2))
    share_norms(net, Team())
    assert type(net[0]) is nn.BatchNorm2d
    assert Team().any(True, torch.device("cpu")) and not Team().any(False, torch.device("cpu"))
    assert Team().total(torch.tensor(3)) == 3
