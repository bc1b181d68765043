from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.learning.networks import build_network, parameter_count
from fewframes.learning.networks.fanet import FANet, ResNet18, fast_attention
from fewframes.learning.networks.tdnet import SpatialNorm, TDNet, read_scaled

SIZE = (64, 128)
SMALL: dict[str, Any] = {"name": "tdnet", "width": 4, "size": SIZE}
ONE_PATH = {f"subnetworks.{sub}.{part}" for sub in (0, 1) for part in ("query", "key", "joined", "norm", "head")}


def small(**changed: Any) -> TDNet:
    torch.manual_seed(0)
    network = build_network({**SMALL, **changed}, 5)
    assert isinstance(network, TDNet)
    # As after some training: norms by position that are neither one nor zero.
    for module in network.modules():
        if isinstance(module, SpatialNorm):
            nn.init.normal_(module.weight, 1.0)
            nn.init.normal_(module.bias)
    return network


def clip(frames: int, batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, frames, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("classes", "window", "expected"), [(19, 2, 26_580_096), (26, 2, 26_583_680), (19, 3, 26_580_096)]
)
def test_the_published_network_has_the_published_size(classes: int, window: int, expected: int) -> None:
    # Counted on the authors' modules, less what these hold and never use.
    with torch.device("meta"):
        network = build_network({"name": "tdnet", "window": window}, classes)
    assert parameter_count(network) == expected
    assert network.past_frames == window - 1


def test_the_parts_of_the_published_network_have_the_published_sizes() -> None:
    with torch.device("meta"):
        first, second = TDNet(19).subnetworks
    fanet, backbone = first.features, first.features.backbone
    assert parameter_count(first) == parameter_count(second) == 13_290_048
    assert parameter_count(backbone) == 11_180_736
    assert _counts(backbone, "conv1", "bn1") == [9_408, 128]
    assert _counts(backbone, "layer1", "layer2", "layer3", "layer4") == [152_192, 525_568, 2_099_712, 8_393_728]
    for stride, keys, values in ((64, 16_448, 263_168), (32, 8_256, 66_048), (16, 4_160, 16_640), (8, 2_112, 4_224)):
        attention = getattr(fanet, f"attention{stride}")
        assert _counts(attention, "query", "key", "value", "lateral") == [keys, keys, values, values]
    assert _counts(fanet, "up64", "up32", "up16", "smooth32", "smooth8") == [131_584, 33_024, 8_320, 295_168, 73_984]
    assert _counts(first, "query", "key", "value") == [20_736, 20_736, 65_792]
    assert _counts(first, "joined", "norm", "head") == [65_792, 36_864, 595_200]


def _counts(module: nn.Module, *parts: str) -> list[int]:
    return [parameter_count(getattr(module, part)) for part in parts]


def test_shapes_are_those_of_the_published_network() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = TDNet(19).eval()
        sub = network.subnetworks[0]
        for name, module in sub.named_modules():
            module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: _shape(out)}))
        logits, memory = network.step(torch.empty(1, 3, 768, 1536), None, 0)
        assert [_shape(x) for x in network(torch.empty(1, 2, 3, 768, 1536))] == [(1, 19, 768, 1536)]
    assert _shape(logits) == (1, 19, 768, 1536)
    assert [_shape(x) for x in memory[0]] == [(1, 2048, 64), (1, 2048, 256)]
    expected = {
        "features.backbone.conv1": (64, 384, 768),
        "features.backbone.layer1": (64, 96, 192),
        "features.backbone.layer2": (128, 48, 96),
        "features.backbone.layer3": (256, 24, 48),
        "features.backbone.layer4": (512, 12, 24),
        "features.up64": (256, 14, 26),
        "features.up32": (128, 26, 50),
        "features.up16": (64, 50, 98),
        "features.smooth32": (128, 24, 48),
        "features.smooth8": (128, 96, 192),
        "features": (256, 96, 192),
        "query": (64, 96, 192),
        "joined": (256, 96, 192),
        "norm": (256, 96, 192),
        "head.0": (256, 96, 192),
        "head": (19, 96, 192),
    }
    assert {name: shapes[name][1:] for name in expected} == expected


def _shape(out: Any) -> tuple[int, ...]:
    return tuple(out.shape) if isinstance(out, Tensor) else ()


def test_features_join_the_coarse_and_the_fine_stage_in_the_authors_order() -> None:
    torch.manual_seed(0)
    fanet = FANet(4).eval()
    seen: dict[str, Tensor] = {}
    for name in ("smooth8", "smooth32"):
        getattr(fanet, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    features = fanet(torch.randn(1, 3, 72, 136))
    coarse = F.interpolate(seen["smooth32"], (9, 17), mode="bilinear", align_corners=True)
    torch.testing.assert_close(features, torch.cat([coarse, seen["smooth8"]], 1))


def test_a_stages_map_goes_up_with_a_border_of_batch_norms_zero() -> None:
    up = FANet(4).up64.eval()
    nn.init.constant_(up[1].bias, 0.25)
    raised = up(torch.randn(1, 32, 2, 3))
    assert raised.shape == (1, 16, 4, 5)
    for border in (raised[..., 0, :], raised[..., -1, :], raised[..., 0], raised[..., -1]):
        torch.testing.assert_close(border, torch.full_like(border, 0.25))
    assert (raised[..., 1:-1, 1:-1] != 0.25).any()


@given(n=st.integers(1, 12), m=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_fast_attention_is_the_product_with_all_cosine_affinities(n: int, m: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, length, c, generator=generator) for length, c in ((n, 5), (m, 5), (m, 7)))
    affinity = F.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
    torch.testing.assert_close(fast_attention(query, key, value), affinity @ value, rtol=1e-4, atol=1e-5)


def test_a_block_adds_to_the_features_what_they_read_and_the_coarser_stage() -> None:
    torch.manual_seed(0)
    block = FANet(4).attention8.eval()
    x, coarser = torch.randn(1, 4, 4, 6), torch.randn(1, 4, 3, 3)
    query, key, value = (getattr(block, part)(x).flatten(2) for part in ("query", "key", "value"))
    affinity = F.normalize(query, dim=1).transpose(1, 2) @ F.normalize(key, dim=1)
    read = torch.einsum("bnm,bcm->bcn", affinity, value).reshape(x.shape)
    expected = x + block.lateral(read)
    torch.testing.assert_close(block(x), expected)
    raised = F.interpolate(coarser, (4, 6), mode="bilinear", align_corners=True)
    torch.testing.assert_close(block(x, coarser), expected + raised)


def test_the_backbone_leaks_in_all_but_the_sums() -> None:
    torch.manual_seed(0)
    backbone = ResNet18(4).eval()
    block = backbone.layer1[0]
    x = torch.randn(1, 4, 6, 6)
    inner = F.leaky_relu(block.bn1(block.conv1(x)), 0.01)
    expected = F.relu(block.bn2(block.conv2(inner)) + block.downsample(x))
    torch.testing.assert_close(block(x), expected)
    taken: list[Tensor] = []
    backbone.layer1.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    frame = torch.randn(1, 3, 16, 16)
    backbone(frame)
    stem = F.leaky_relu(backbone.bn1(backbone.conv1(frame)), 0.01)
    torch.testing.assert_close(taken[0], F.max_pool2d(stem, 3, 2, 1))


def test_the_memory_read_is_a_scaled_softmax() -> None:
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 12, 64), torch.randn(2, 20, 64), torch.randn(2, 20, 256)
    expected = torch.softmax(query @ keys.transpose(1, 2) / 8, dim=-1) @ values
    torch.testing.assert_close(read_scaled(query, keys, values), expected)


def test_training_drops_a_tenth_of_the_attention_and_of_what_is_read() -> None:
    sub = small().subnetworks[0].train()
    joined: list[Tensor] = []
    sub.joined.register_forward_pre_hook(lambda _, args: joined.append(args[0]))
    # A single position of memory has all the attention: what arrives is its value, or nothing.
    read = sub.read(torch.randn(1, 16, 60, 60), ((torch.randn(1, 1, 4), torch.ones(1, 1, 16)),))
    arrived = joined[0][0, 0]
    torch.testing.assert_close(arrived[arrived > 0], torch.full_like(arrived[arrived > 0], 1 / 0.9))
    assert abs((arrived == 0).float().mean() - 0.1) < 0.02
    assert abs((read[..., arrived > 0] == 0).float().mean() - 0.1) < 0.02


def test_a_frame_leaves_every_third_position_of_its_keys_and_values() -> None:
    network = small().eval()
    frame = clip(1, batch=1)[:, 0]
    _, ((keys, values),) = network.step(frame, None, 1)
    sub = network.subnetworks[1]
    features = sub.features(frame)
    assert features.shape[-2:] == (8, 16)
    for kept, encode in ((keys, sub.key), (values, sub.value)):
        torch.testing.assert_close(kept, encode(features)[..., ::3, ::3].flatten(2).transpose(1, 2))


def test_logits_are_those_of_the_values_plus_what_was_read() -> None:
    network = small().eval()
    pair = clip(2)
    for path in (0, 1):
        now, before = network.subnetworks[path], network.subnetworks[1 - path]
        features, past = now.features(pair[:, 1]), before.features(pair[:, 0])
        query = now.query(features).flatten(2).transpose(1, 2)
        keys, values = (encode(past)[..., ::3, ::3].flatten(2).transpose(1, 2) for encode in (before.key, before.value))
        read = torch.softmax(query @ keys.transpose(1, 2) / 4**0.5, dim=-1) @ values
        read = now.joined(read.transpose(1, 2).reshape(features.shape))
        logits = now.head(now.norm(read + now.value(features)))
        expected = F.interpolate(logits, SIZE, mode="bilinear", align_corners=True)
        torch.testing.assert_close(network(pair, path)[0], expected, rtol=1e-4, atol=1e-5)


def test_training_adds_the_logits_without_the_past_and_prediction_does_not() -> None:
    network, pair = small(), clip(2)
    other = torch.cat([clip(3)[:, 2:], pair[:, 1:]], 1)
    # Batch norms as in prediction and no dropout, so that only the network's own mode makes a difference.
    network.eval().training = True
    (main, alone), (changed, same) = network(pair), network(other)
    assert main.shape == alone.shape == (2, 5, *SIZE)
    assert torch.equal(alone, same)
    assert not torch.allclose(main, changed)
    torch.testing.assert_close(alone, network.step(pair[:, 1], None, 0)[0])
    assert len(network.eval()(pair)) == 1
    assert len(build_network(SMALL, 5, auxiliary=False).train()(pair)) == 1


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("path", [0, 1])
def test_a_path_trains_what_it_uses_and_nothing_else(window: int, path: int) -> None:
    network = small(window=window).train()
    sum(x.square().mean() for x in network(clip(window), path)).backward()
    trained = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    untouched = {name for name, p in network.named_parameters() if p.grad is None}
    assert trained | untouched == {name for name, _ in network.named_parameters()}
    keys = {f"subnetworks.{path}.key"} if window == 2 else set()
    others = {f"subnetworks.{1 - path}.{part}" for part in ("query", "joined", "norm", "head")}
    assert _parts(untouched) == keys | others
    assert _parts(trained) & ONE_PATH == ONE_PATH - keys - others


def _parts(names: set[str]) -> set[str]:
    return {".".join(name.split(".")[:3]) for name in names}


@pytest.mark.parametrize("window", [2, 3])
def test_two_frames_back_is_seen_by_a_window_of_three_alone(window: int) -> None:
    network, frames = small(window=window).eval(), clip(3)
    for oldest, seen in ((0, window == 3), (1, True)):
        other = frames.clone()
        other[:, oldest] += 1
        assert torch.equal(network(frames)[0], network(other)[0]) is not seen


def test_both_past_frames_of_a_window_of_three_count_alike() -> None:
    # With equal weights in both sub-networks, one softmax over both frames knows no order.
    network, frames = small(window=3).eval(), clip(3)
    network.subnetworks[1].load_state_dict(network.subnetworks[0].state_dict())
    torch.testing.assert_close(network(frames)[0], network(frames[:, [1, 0, 2]])[0])


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("first", [0, 1])
@torch.inference_mode()
def test_frame_by_frame_gives_the_logits_of_each_window(window: int, first: int) -> None:
    network, video = small(window=window).eval(), clip(5)
    for index, (logits, memory) in enumerate(_streamed(network, video, first)):
        assert len(memory) == min(index + 1, window - 1)
        if index >= window - 1:
            expected = network(video[:, index + 1 - window : index + 1], (first + index) % 2)[0]
            torch.testing.assert_close(logits, expected)


def _streamed(network: TDNet, video: Tensor, path: int) -> Iterator[tuple[Tensor, Any]]:
    memory = None
    for frame in video.unbind(1):
        logits, memory = network.step(frame, memory, path)
        yield logits, memory
        path = 1 - path


def test_a_step_runs_one_sub_network() -> None:
    network, frames = small().eval(), clip(2)
    ran: list[int] = []
    for index, sub in enumerate(network.subnetworks):
        sub.features.register_forward_hook(lambda *_, index=index: ran.append(index))
    _, memory = network.step(frames[:, 0], None, 1)
    network.step(frames[:, 1], memory, 0)
    assert ran == [1, 0]


def test_the_norm_by_position_is_the_published_one() -> None:
    torch.manual_seed(0)
    norm = SpatialNorm(4, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 4, 6)
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias)


def test_the_norms_weights_are_resized_to_other_frames() -> None:
    norm = SpatialNorm(2, 3)
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.copy_(torch.tensor([[0, 1, 2], [4, 5, 6]]))
    expected = torch.tensor([[0, 0.5, 1, 1.5, 2], [2, 2.5, 3, 3.5, 4], [4, 4.5, 5, 5.5, 6]])
    torch.testing.assert_close(norm(torch.randn(1, 1, 3, 5))[0, 0], expected)


@pytest.mark.parametrize("width", [2, 3, 8])
@pytest.mark.parametrize("size", [(64, 128), (70, 101)])
def test_small_networks_take_frames_of_any_size(width: int, size: tuple[int, int]) -> None:
    network = small(width=width).train()
    assert [tuple(x.shape) for x in network(clip(2, size=size))] == [(2, 5, *size)] * 2
    assert network.subnetworks[0].features.backbone.layer4[1].conv2.weight.shape[0] == 8 * width


def test_all_but_the_backbone_starts_as_the_authors_code_does() -> None:
    torch.manual_seed(0)
    for name, module in TDNet(19, width=16).subnetworks[0].named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith("features.backbone"):
            spread = module.weight.std() * module.weight[0].numel() ** 0.5
            assert 0.8 < spread < 1.2, name
            assert module.bias is None or not module.bias.any(), name


@pytest.mark.parametrize("source", ["timm", "torchvision", "old torchvision"])
def test_a_classifiers_weights_file_fills_both_backbones(tmp_path: Path, source: str) -> None:
    state = timm.create_model("resnet18").state_dict()
    for index, value in enumerate(state.values()):
        value.copy_(torch.full_like(value, index + 1))
    if source == "old torchvision":  # files from before batch norms counted their batches
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    path = tmp_path / ("weights.safetensors" if source == "timm" else "weights.pth")
    safetensors.torch.save_file(state, path) if source == "timm" else torch.save(state, path)
    network = TDNet(5, size=SIZE, pretrained=str(path))
    for sub in network.subnetworks:
        loaded = sub.features.backbone.state_dict()
        for key in state.keys() & loaded.keys():
            assert torch.equal(loaded[key], state[key]), key
        new = {key for key in loaded.keys() - state.keys() if not key.endswith("num_batches_tracked")}
        assert new and all(key.startswith("layer1.0.downsample.") for key in new)


@pytest.mark.parametrize("fault", ["a deeper network", "a name missing", "another width", "no weights", "absent"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "weights.pth"
    state = timm.create_model("resnet34" if fault == "a deeper network" else "resnet18").state_dict()
    if fault == "a name missing":
        del state["layer4.1.bn2.bias"]
    torch.save({"epoch": 3} if fault == "no weights" else state, path)
    if fault == "absent":
        path.unlink()
    with pytest.raises(UserError, match=r"weights\.pth does not fit a ResNet-18 .*: give a file of"):
        TDNet(5, size=SIZE, width=8 if fault == "another width" else 64, pretrained=str(path))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"window": 1}, "network.window is 1"),
        ({"window": 4}, "network.window is 4"),
        ({"size": [768]}, r"network.size is \[768\]"),
        ({"size": [768, 0]}, r"network.size is \[768, 0\]"),
        ({"width": 1}, "network.width is 1"),
        ({"past_frames": 1}, "network.past_frames is no setting of tdnet: it has pretrained, size, width, window"),
    ],
)
def test_impossible_settings_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_network({**SMALL, **changed}, 5)
