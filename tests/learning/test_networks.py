from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from fewframes.core.errors import UserError
from fewframes.learning.networks import build_network, parameter_count
from fewframes.learning.networks.tmanet import MemoryHead, TMANet, build_backbone, read_memory

SMALL: dict[str, Any] = {"name": "tmanet", "backbone": "mobilenetv3_small_050", "output_stride": 16}


@pytest.mark.parametrize(
    ("classes", "past_frames", "auxiliary", "expected"),
    [
        (19, 1, True, 30_828_678),
        (19, 1, False, 28_463_987),
        (26, 1, True, 30_834_068),
        (19, 2, True, 32_112_006),
        (19, 4, True, 34_678_662),
    ],
)
def test_the_published_network_has_the_published_size(
    classes: int, past_frames: int, auxiliary: bool, expected: int
) -> None:
    # Counted on the authors' modules; their configuration is our default.
    with torch.device("meta"):
        network = build_network({"name": "tmanet", "past_frames": past_frames}, classes, auxiliary)
    assert parameter_count(network) == expected


def test_the_parts_of_the_published_network_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = TMANet(19)
    assert parameter_count(network.backbone) == 23_527_264
    assert parameter_count(network.head) == 4_936_723
    assert parameter_count(network.head.query_key) == 168_192
    assert parameter_count(network.head.query_value) == 1_115_136
    assert parameter_count(network.auxiliary) == 2_364_691


def test_strides_dilations_and_shapes_are_those_of_the_published_network() -> None:
    torch.manual_seed(0)
    network = TMANet(19).train()
    middle, last = network.backbone(torch.rand(2, 3, 65, 65))
    assert middle.shape == (2, 1024, 9, 9)
    assert last.shape == (2, 2048, 9, 9)
    dilations = [m.dilation[0] for m in network.backbone.layer3.modules() if _is_three(m)]
    dilations += [m.dilation[0] for m in network.backbone.layer4.modules() if _is_three(m)]
    assert dilations == [1, 2, 2, 2, 2, 2, 2, 4, 4]
    assert network.head.query_key(last).shape == (2, 64, 9, 9)
    assert network.head.query_value(last).shape == (2, 256, 9, 9)
    assert network.head(last, [last]).shape == (2, 19, 9, 9)


def _is_three(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3)


def test_training_adds_auxiliary_logits_and_prediction_does_not() -> None:
    network = build_network(SMALL, 5)
    clip = torch.rand(2, 2, 3, 40, 56)
    assert [tuple(x.shape) for x in network.train()(clip)] == [(2, 5, 40, 56)] * 2
    assert [tuple(x.shape) for x in network.eval()(clip)] == [(2, 5, 40, 56)]


def test_each_frame_has_batch_statistics_of_its_own() -> None:
    network = build_network(SMALL, 5).train()
    norm = next(m for m in network.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    network(torch.rand(2, 2, 3, 32, 32))
    assert int(norm.num_batches_tracked) == 2


def test_gradients_reach_the_past_frame() -> None:
    clip = torch.rand(2, 2, 3, 32, 32, requires_grad=True)
    build_network(SMALL, 5).train()(clip)[0].square().sum().backward()
    assert clip.grad is not None
    assert clip.grad[:, 0].abs().sum() > 0
    assert clip.grad[:, 1].abs().sum() > 0


def test_the_memory_read_is_an_unscaled_softmax() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.rand(2, 12, 64), torch.rand(2, 20, 64), torch.rand(2, 20, 256)
    expected = torch.softmax(query @ keys.transpose(1, 2), dim=-1) @ values
    torch.testing.assert_close(read_memory(query, keys, values), expected)


def test_the_memory_read_stays_in_32_bits_where_layers_do_not() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.rand(1, 5, 8) * 9, torch.rand(1, 7, 8) * 9, torch.rand(1, 7, 3)
    with torch.autocast("cpu", torch.bfloat16):
        within = read_memory(query, keys, values)
    assert torch.equal(within, read_memory(query, keys, values))


def test_the_order_of_memory_positions_is_nothing_to_the_read() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.rand(1, 6, 4), torch.rand(1, 9, 4), torch.rand(1, 9, 3)
    shuffled = torch.randperm(9)
    torch.testing.assert_close(
        read_memory(query, keys[:, shuffled], values[:, shuffled]), read_memory(query, keys, values)
    )


def test_a_constant_memory_reads_as_that_constant() -> None:
    query, keys = torch.rand(1, 6, 4) * 50, torch.rand(1, 9, 4) * 50
    torch.testing.assert_close(read_memory(query, keys, torch.full((1, 9, 3), 0.7)), torch.full((1, 6, 3), 0.7))


def test_the_order_of_past_frames_matters_only_through_the_slots_own_weights() -> None:
    torch.manual_seed(0)
    head = MemoryHead(4, 6, slots=2, keys=3, values=5, width=8).eval()
    current, older, newer = torch.rand(3, 1, 6, 4, 4).unbind()
    assert not torch.allclose(head(current, [older, newer]), head(current, [newer, older]))
    for encoders in (head.memory_keys, head.memory_values):
        encoders[1].load_state_dict(encoders[0].state_dict())
    torch.testing.assert_close(head(current, [older, newer]), head(current, [newer, older]))


def test_the_past_changes_the_prediction() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL, 5).eval()
    clip = torch.rand(1, 2, 3, 32, 32)
    other = torch.cat([torch.rand(1, 1, 3, 32, 32), clip[:, 1:]], 1)
    assert not torch.equal(network(clip)[0], network(other)[0])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": "tmanett"}, "network.name is 'tmanett'"),
        ({"backbone": "resnet51"}, "network.backbone 'resnet51' is no timm model"),
        ({"backbone": "hf-hub:timm/resnet18"}, "is no timm model"),
        ({"backbone": "vit_tiny_patch16_224"}, "gives no stage features"),
        ({"output_stride": 5}, "output stride"),
        ({"past_frames": 0}, "network.past_frames is 0"),
        ({"keys": 3}, "network.keys is no setting of tmanet"),
        ({"pretrained": "nowhere.safetensors"}, "network.pretrained nowhere.safetensors does not fit"),
    ],
)
def test_impossible_settings_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_network({**SMALL, **changed}, 5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_classifiers_weights_file_fills_the_backbone(tmp_path: Path, suffix: str) -> None:
    state = timm.create_model("mobilenetv3_small_050").state_dict()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file(state, file)
    backbone, _ = build_backbone("mobilenetv3_small_050", 16, str(file))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[key]), key
    with pytest.raises(UserError, match="does not fit"):
        build_backbone("mobilenetv3_small_100", 16, str(file))
