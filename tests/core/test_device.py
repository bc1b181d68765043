import pytest
import torch

from fewframes.core.device import announced_device, choose_device, device_name, short_of_memory
from fewframes.core.errors import UserError
from fewframes.core.stages import ALLOW_CPU


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("SLURM_JOB_ID", ALLOW_CPU):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_a_gpu_where_there_is_one_and_else_a_processor(no_gpu, monkeypatch) -> None:
    assert choose_device("auto", "training") == torch.device("cpu")
    assert device_name(torch.device("cpu")) == "processor"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto", "training") == torch.device("cuda")
    assert choose_device("cpu", "training") == torch.device("cpu")


def test_a_step_says_what_it_runs_on(no_gpu, monkeypatch, capsys) -> None:
    assert announced_device("auto", "evaluation") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert announced_device("auto", "evaluation") == torch.device("cuda")
    assert capsys.readouterr().err == "evaluation on processor.\nevaluation on GPU of cuda.\n"


def test_a_named_gpu_that_is_absent_is_refused(no_gpu) -> None:
    with pytest.raises(UserError, match="No GPU is to be seen, and the device of training is cuda"):
        choose_device("cuda", "training")


def test_a_clusters_job_runs_on_a_processor_only_if_that_is_meant(no_gpu, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(UserError, match=r"in this job \(77\), and propagation.sam2 would take hours .* allow_cpu"):
        choose_device("auto", "propagation.sam2")
    assert choose_device("cpu", "training") == torch.device("cpu")
    monkeypatch.setenv(ALLOW_CPU, "1")
    assert choose_device("auto", "training") == torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_memory_that_runs_out_is_said_in_the_sentence_given(error) -> None:
    with pytest.raises(UserError, match=r"^Take less\.$"), short_of_memory("Take less."):
        raise error


def test_what_else_goes_wrong_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="other"), short_of_memory("Take less."):
        raise RuntimeError("other")
