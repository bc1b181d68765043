import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.learning.losses import hardest_cross_entropy, total_loss
from fewframes.learning.settings import TrainingSettings

THRESHOLD = -math.log(0.7)


def sure(probability: float) -> list[float]:
    """Logits of two classes, the first of that probability."""
    return [math.log(probability / (1 - probability)), 0.0]


@pytest.mark.parametrize(("hard", "kept"), [(5, 5), (2, 2), (1, 2), (0, 2)])
def test_hard_pixels_count_and_a_sixteenth_at_least(hard: int, kept: int) -> None:
    """Of 32 pixels two count, or as many more as are hard."""
    probabilities = [0.2 + 0.01 * n for n in range(hard)] + [0.9 + 0.001 * n for n in range(32 - hard)]
    logits = torch.tensor([sure(p) for p in probabilities])
    loss = hardest_cross_entropy(logits, torch.zeros(32, dtype=torch.long))
    expected = sum(-math.log(p) for p in probabilities[:kept]) / kept
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=50)
@given(st.integers(0, 999), st.integers(1, 70), st.floats(0, 1))
def test_the_hardest_are_as_a_sorted_list_has_them(seed: int, pixels: int, ignored: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(pixels, 4, generator=generator)
    targets = torch.randint(0, 4, (pixels,), generator=generator)
    targets[torch.rand(pixels, generator=generator) < ignored] = 255
    each = sorted(F.cross_entropy(logits, targets, ignore_index=255, reduction="none").tolist(), reverse=True)
    least = max(1, pixels // 16)
    hard = [loss for loss in each if loss > THRESHOLD]
    counted = hard if len(hard) > least else each[:least]
    assert float(hardest_cross_entropy(logits, targets)) == pytest.approx(sum(counted) / len(counted), abs=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "ohem"])
def test_a_batch_of_ignore_alone_costs_nothing_and_teaches_nothing(loss: str) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    total = total_loss([logits, logits], labels, TrainingSettings(network={}, loss=loss))
    total.backward()
    assert float(total.detach()) == 0 and not logits.grad.any()


def test_further_logits_count_by_their_weight() -> None:
    logits = [torch.randn(1, 3, 4, 4) for _ in range(2)]
    labels = torch.randint(0, 3, (1, 4, 4), dtype=torch.uint8)
    plan = TrainingSettings(network={}, loss="ohem", aux_weight=0.5)
    alone = [float(total_loss([each], labels, plan)) for each in logits]
    assert float(total_loss(logits, labels, plan)) == pytest.approx(alone[0] + 0.5 * alone[1], rel=1e-5)
