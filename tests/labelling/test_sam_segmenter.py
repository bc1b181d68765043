"""SAM as the methods use it: equal to `SamPredictor` prompt for prompt, whatever the batches, views and windows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor

from fewframes.core.errors import UserError
from fewframes.core.weights import registry
from fewframes.labelling.models.checkpoint import SAM
from fewframes.labelling.models.device import native_bfloat16
from fewframes.labelling.models.sam import SIZES, build_model
from fewframes.labelling.refinement.sam import segmenter as engine
from fewframes.labelling.refinement.sam import upsampling
from fewframes.labelling.refinement.sam.contract import Prompts
from fewframes.labelling.refinement.sam.segmenter import SamSegmenter
from fewframes.labelling.refinement.sam.views import View, chosen_views, views_of

IMAGE_SIZES = [(200, 400), (150, 200), (260, 130), (256, 256), (90, 301)]
COUNT = 5


@pytest.fixture(scope="module")
def model():
    """Random weights, with attention so sharp that masks depend on the prompts, and biases as trained ones have."""
    model = build_model("small", seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.mask_decoder.named_parameters():
        if "_proj.weight" in name:
            parameter *= 2.5
        elif "bias" in name:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    for head in model.mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight *= 20
    return model


def picture(size, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def prompts_in(size, count=COUNT, points=2, seed=0, extent=1.0, corner=(0, 0)):
    """Random points and boxes that hold them, within a share of the image from a corner (x, y) on."""
    rng = np.random.default_rng(seed)
    places = (corner + rng.random((count, points, 2)) * extent * np.array(size[::-1])).astype(np.float32)
    inside = rng.random((count, points)) < 0.7
    inside[:, 0] = True
    return places, inside, np.concatenate([places.min(1), places.max(1)], axis=1)


def predictor_of(model, image):
    predictor = SamPredictor(model)
    predictor.set_image(image)
    return predictor


def close(ours, theirs):
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4, rtol=0)


def same_mask(mine, predictor, theirs, logits):
    """Alike wherever rounding cannot decide: the decoders add in different orders."""
    full = predictor.model.postprocess_masks(
        torch.from_numpy(logits)[None], predictor.input_size, predictor.original_size
    )
    assert (mine == theirs)[full[0, 0].abs().numpy() > 1e-4].all() and (mine == theirs).mean() > 0.9999


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("with_boxes", [False, True])
def test_iterated_prompts_give_what_the_predictor_gives(model, size, with_boxes):
    image = picture(size)
    segmenter, predictor = SamSegmenter(model), predictor_of(model, image)
    (embedding,) = segmenter.embed([image])
    close(embedding.features[0], predictor.features)
    points, inside, boxes = prompts_in(size)
    boxes = boxes if with_boxes else None
    first = segmenter.decode(embedding, Prompts(points, inside, boxes), multimask=True)
    again = Prompts(points, inside, boxes, first.best().logits[:, 0], first.views)
    second = segmenter.decode(embedding, again, multimask=False)
    assert first.logits.shape == (COUNT, 3, 64, 64) and second.iou.shape == (COUNT, 1)
    masks = list(segmenter.upsampled(embedding, second.logits[:, 0], second.views))
    for n in range(COUNT):
        box = boxes[n] if with_boxes else None
        _, iou, logits = predictor.predict(points[n], inside[n], box=box)
        close(first.logits[n], logits)
        close(first.iou[n], iou)
        best = logits[iou.argmax()][None]
        close(first.best().logits[n], best)
        theirs, iou, logits = predictor.predict(points[n], inside[n], box=box, mask_input=best, multimask_output=False)
        close(second.logits[n], logits)
        close(second.iou[n], iou)
        same_mask(masks[n], predictor, theirs[0], logits)
    assert np.mean([(masks[0] != mask).mean() for mask in masks[1:]]) > 0.02  # or equality would mean nothing
    assert second.logits.abs().max() > 2


def test_a_box_alone_is_a_prompt(model):
    image = picture((200, 400))
    segmenter, predictor = SamSegmenter(model), predictor_of(model, image)
    (embedding,) = segmenter.embed([image])
    _, _, boxes = prompts_in((200, 400))
    none = Prompts(np.zeros((COUNT, 0, 2), np.float32), np.zeros((COUNT, 0), bool), boxes)
    decoded = segmenter.decode(embedding, none, multimask=False)
    for n in range(COUNT):
        close(decoded.logits[n], predictor.predict(box=boxes[n], multimask_output=False)[2])


@pytest.mark.parametrize("max_batch", [1, 2, 3, 7])
def test_batches_do_not_matter(model, max_batch, monkeypatch):
    images = [picture((200, 400)), picture((200, 400), seed=1), picture((100, 90), seed=2)]
    points, inside, boxes = prompts_in((100, 90))
    monkeypatch.setattr(engine, "_CPU_IMAGES", max_batch)
    batched, single = SamSegmenter(model, max_batch=max_batch), SamSegmenter(model)
    for embedding, image in zip(batched.embed(images), images, strict=True):
        (alone,) = single.embed([image])
        close(embedding.features[0], alone.features[0])
        expected = single.decode(alone, Prompts(points, inside, boxes), True)
        close(batched.decode(embedding, Prompts(points, inside, boxes), True).logits, expected.logits)


def test_memory_is_bounded_by_a_batch(model, monkeypatch):
    segmenter = SamSegmenter(model, max_batch=16)
    (embedding,) = segmenter.embed([picture((100, 200))])
    inner, sizes = segmenter._decoder, []

    def counted(image, sparse, dense, multimask):
        sizes.append(len(sparse))
        return inner(image, sparse, dense, multimask)

    monkeypatch.setattr(segmenter, "_decoder", counted)
    points, inside, _ = prompts_in((100, 200), count=500)
    decoded = segmenter.decode(embedding, Prompts(points, inside), multimask=False)
    assert len(decoded.logits) == sum(sizes) == 500 and max(sizes) == 16
    close(decoded.logits[499:], segmenter.decode(embedding, Prompts(points[499:], inside[499:]), False).logits)


def test_no_prompts_give_no_masks(model):
    segmenter = SamSegmenter(model, crops=True)
    (embedding,) = segmenter.embed([picture((100, 200))])
    decoded = segmenter.decode(embedding, Prompts(*prompts_in((100, 200), count=0)), multimask=True)
    assert decoded.logits.shape == (0, 3, 64, 64) and decoded.iou.shape == (0, 3)
    assert list(segmenter.upsampled(embedding, decoded.best().logits[:, 0], decoded.views)) == []
    assert segmenter.embed([]) == [] and segmenter.lowered(embedding, []).shape == (0, 64, 64)


def test_a_box_of_one_pixel_is_a_box(model):
    image = picture((100, 200))
    segmenter = SamSegmenter(model)
    (embedding,) = segmenter.embed([image])
    point = np.array([[[7, 9]]], np.float32)
    box = np.array([[7, 9, 7, 9]], np.float32)
    decoded = segmenter.decode(embedding, Prompts(point, np.ones((1, 1), bool), box), multimask=True)
    close(decoded.logits[0], predictor_of(model, image).predict(point[0], np.ones(1), box=box[0])[2])


# Crops


@pytest.mark.parametrize("size", [(128, 256), (150, 200), (300, 140)])
def test_crops_give_what_the_predictor_gives_for_the_crop(model, size):
    image = picture(size)
    segmenter = SamSegmenter(model, crops=True)
    (embedding,) = segmenter.embed([image])
    points, inside, boxes = (
        np.concatenate(parts)
        for parts in zip(
            prompts_in(size, count=2, extent=0.3),
            prompts_in(size, count=2, seed=1, extent=0.3, corner=(0.65 * size[1], 0.65 * size[0])),
            prompts_in(size, count=1, seed=2, points=2, extent=0),
            strict=True,
        )
    )
    points[4], boxes[4] = [[0, 0], [size[1] - 1, size[0] - 1]], [0, 0, size[1] - 1, size[0] - 1]
    assert embedding.features[0] is None and embedding.image is not None
    first = segmenter.decode(embedding, Prompts(points, inside, boxes), multimask=True)
    assert first.views.tolist() == [1, 1, 2, 2, 0]
    assert embedding.features[0] is not None and embedding.image is None

    again = Prompts(points[::-1].copy(), inside, None, first.best().logits[:, 0], first.views)  # points that left
    second = segmenter.decode(embedding, again, multimask=False)
    assert second.views.tolist() == [1, 1, 2, 2, 0]
    masks = list(segmenter.upsampled(embedding, second.logits[:, 0], second.views))
    for n, number in enumerate(first.views):
        view = embedding.views[number]
        predictor = predictor_of(model, np.ascontiguousarray(image[view.window]))
        corner = np.array([view.left, view.top])
        _, iou, logits = predictor.predict(points[n] - corner, inside[n], box=boxes[n] - np.tile(corner, 2))
        close(first.logits[n], logits)
        theirs, _, logits = predictor.predict(
            again.points[n] - corner, inside[n], mask_input=logits[iou.argmax()][None], multimask_output=False
        )
        close(second.logits[n], logits)
        assert masks[n].shape == size and masks[n].sum() == masks[n][view.window].sum()
        same_mask(masks[n][view.window], predictor, theirs[0], logits)


def test_the_whole_image_is_not_encoded_where_nothing_needs_it(model):
    segmenter = SamSegmenter(model, crops=True)
    (embedding,) = segmenter.embed([picture((128, 256))])
    segmenter.decode(embedding, Prompts(*prompts_in((128, 256), extent=0.4)), multimask=True)
    assert embedding.features[0] is None
    (square,) = segmenter.embed([picture((128, 128))])
    assert len(square.features) == 1 and square.features[0] is not None


def test_masks_without_their_views_are_refused_where_there_are_several(model):
    segmenter = SamSegmenter(model, crops=True)
    (embedding,) = segmenter.embed([picture((128, 256))])
    points, inside, _ = prompts_in((128, 256))
    masks = segmenter.decode(embedding, Prompts(points, inside), multimask=False).logits[:, 0]
    with pytest.raises(ValueError, match="give the views"):
        segmenter.decode(embedding, Prompts(points, inside, masks=masks), multimask=False)
    with pytest.raises(ValueError, match="give the views"):
        next(segmenter.upsampled(embedding, masks))


def test_crops_are_nearly_square_and_share_a_sixteenth():
    whole, left, right = views_of((1024, 2048), 1024, crops=True)
    assert whole.resized == (512, 1024) and left.resized == (964, 1024)
    assert (left.left, left.width, right.left, right.width) == (0, 1088, 960, 1088)
    _, left, right = views_of((720, 960), 1024, crops=True)
    assert (left.width, left.height, right.left) == (720, 720, 240)
    _, upper, lower = views_of((960, 720), 1024, crops=True)
    assert (upper.width, upper.height, lower.top) == (720, 720, 240)


@settings(max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_box_is_whole_in_its_view(height, width, data):
    views = views_of((height, width), 64, crops=True)
    left, right = sorted(data.draw(st.tuples(*[st.integers(0, width - 1)] * 2)))
    top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, height - 1)] * 2)))
    held = []
    for view in views:
        rows, columns = view.window
        assert 0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width
        held.append(rows.start <= top and bottom < rows.stop and columns.start <= left and right < columns.stop)
    (chosen,) = chosen_views(views, np.array([[left, top, right, bottom]], np.float32))
    assert held[chosen] and (chosen > 0) == any(held[1:])


def test_masks_are_lowered_to_where_the_model_sees_them(model):
    segmenter = SamSegmenter(model, crops=True)
    (embedding,) = segmenter.embed([picture((128, 256))])
    mask = np.zeros((128, 256), bool)
    mask[32:64, 16:48] = True
    pole = np.zeros((128, 256), bool)
    pole[:, 200] = True
    whole = segmenter.lowered(embedding, [mask, pole], np.zeros(2, np.intp))
    expected = np.zeros((64, 64), np.float32)
    expected[8:16, 4:12] = 1
    assert np.array_equal(whole[0].numpy(), expected)
    assert whole[1].nonzero()[:, 1].unique().tolist() == [50] and whole[1].max() == 0.25
    assert not whole[1, 32:].any()  # padding
    in_crop = segmenter.lowered(embedding, [mask], np.array([1]))[0].numpy()
    assert in_crop.sum() == pytest.approx(32 * 32 * (256 / 136 / 4) ** 2, rel=0.02)
    assert in_crop[int(48 * 64 / 136), int(32 * 64 / 136)] == 1


# Upsampling


def outline(rng, cells, blob):
    """Logits like a mask's: far below 0 away from one place where `blob`, else of any sign anywhere."""
    noise = F.interpolate(torch.from_numpy(rng.normal(size=(1, 1, 9, 9))).float(), (cells, cells), mode="bicubic")[0, 0]
    if not blob:
        return 5 * noise
    y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    centre = rng.integers(-4, cells + 4, 2)
    return float(rng.uniform(1, 12)) - ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).sqrt() + noise


@settings(max_examples=60)
@given(st.integers(8, 300), st.integers(8, 300), st.integers(0, 2**16), st.booleans())
def test_windows_equal_the_whole_resized(height, width, seed, blob):
    view = View(0, 0, height, width, 128)
    logits = outline(np.random.default_rng(seed), 32, blob)
    assert np.array_equal(upsampling.upsampled(logits, view), upsampling._everywhere(logits, view))


@pytest.mark.parametrize("size", [(1024, 2048), (967, 1914), (720, 960)])
def test_windows_suffice_for_ordinary_masks(model, size, monkeypatch):
    rng = np.random.default_rng(3)
    view = views_of(size, 1024, crops=False)[0]
    masks = [outline(rng, 256, blob=True) for _ in range(8)]
    big = SamPredictor(model).model  # only its functions on sizes are wanted
    monkeypatch.setattr(big.image_encoder, "img_size", 1024)
    expected = big.postprocess_masks(torch.stack(masks)[None], view.resized, size)[0] > 0
    calls = []
    monkeypatch.setattr(upsampling, "_everywhere", lambda *given: calls.append(given))
    ours = [upsampling.upsampled(mask, view) for mask in masks]
    made = [n for n, mask in enumerate(ours) if mask is not None]
    assert len(calls) <= 1 and len(made) >= 7 and any(ours[n].any() for n in made)
    assert all(np.array_equal(ours[n], expected[n].numpy()) for n in made)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_flat_masks_are_what_they_are(value):
    mask = torch.full((32, 32), value)
    mask[3:5, 3:5] = 0  # exactly at the threshold, which is not above it
    for view in (View(0, 0, 100, 128, 128), View(0, 0, 77, 40, 128)):
        assert np.array_equal(upsampling.upsampled(mask, view), upsampling._everywhere(mask, view))


def test_a_pixel_that_rounding_decides_is_made_the_packages_way(monkeypatch):
    mask = torch.full((32, 32), -1.0)
    mask[:, 8] = 0.6  # 0.625 * 0.6 - 0.375 * 1 is 0, or nearly so, between two cells
    calls, everywhere = [], upsampling._everywhere
    monkeypatch.setattr(upsampling, "_everywhere", lambda *given: calls.append(given) or everywhere(*given))
    view = View(0, 0, 128, 128, 128)
    assert upsampling.upsampled(mask - 1e-3, view).sum() == 2 * 128 and not calls
    assert np.array_equal(upsampling.upsampled(mask, view), everywhere(mask, view))
    assert len(calls) == 1


# Precision, memory, numbers


def test_bfloat16_is_near(model):
    image = picture((200, 400))
    full, half = SamSegmenter(model), SamSegmenter(model, bfloat16=True)
    points, inside, boxes = prompts_in((200, 400), count=8)
    masks = []
    for segmenter in (full, half):
        (embedding,) = segmenter.embed([image])
        best = segmenter.decode(embedding, Prompts(points, inside, boxes), multimask=True)
        assert best.logits.dtype == best.iou.dtype == torch.float32
        masks.append(np.stack(list(segmenter.upsampled(embedding, best.logits[:, 0], best.views))))
    assert 0.98 < (masks[0] == masks[1]).mean() < 1


def test_a_processor_says_whether_it_has_bfloat16(monkeypatch):
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, names[0], lambda has=has: has, raising=False)
        monkeypatch.setattr(torch.cpu, names[1], lambda: False, raising=False)
        assert native_bfloat16(torch.device("cpu")) is has
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert native_bfloat16(torch.device("cpu")) is False


@pytest.mark.parametrize(
    "part", ["mask_decoder.output_hypernetworks_mlps.2.layers.2.bias", "image_encoder.neck.1.bias"]
)
def test_numbers_that_are_not_finite_are_an_error(part):
    model = build_model("small")
    model.get_parameter(part)[1] = float("nan")
    segmenter = SamSegmenter(model)
    (embedding,) = segmenter.embed([picture((100, 200))])
    with pytest.raises(UserError, match=r"^SAM gave numbers that are not finite: check the weights"):
        segmenter.decode(embedding, Prompts(*prompts_in((100, 200))), multimask=True)


def failing(inner, most, error):
    def work(*given):
        if len(given[1 if len(given) > 1 else 0]) > most:
            raise error
        return inner(*given)

    return work


def test_batches_are_halved_where_a_gpus_memory_runs_out(model, monkeypatch):
    images = [picture((100, 200), seed) for seed in range(3)]
    points, inside, boxes = prompts_in((100, 200), count=7)
    expected = SamSegmenter(model)
    monkeypatch.setattr(engine, "_CPU_IMAGES", 3)
    segmenter = SamSegmenter(model, max_batch=7)
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(segmenter, "_decoder", failing(segmenter._decoder, 2, error))
    monkeypatch.setattr(segmenter, "_run_encoder", failing(segmenter._run_encoder, 1, error))
    for embedding, image in zip(segmenter.embed(images), images, strict=True):
        (alone,) = expected.embed([image])
        theirs = expected.decode(alone, Prompts(points, inside, boxes), False)
        close(segmenter.decode(embedding, Prompts(points, inside, boxes), False).logits, theirs.logits)
    assert segmenter.max_batch == 1
    monkeypatch.setattr(segmenter, "_decoder", failing(segmenter._decoder, 0, error))
    with pytest.raises(UserError, match=r"^The GPU's memory does not suffice for a single prompt: take a smaller"):
        segmenter.decode(embedding, Prompts(points, inside), False)


def test_a_processors_memory_that_runs_out_is_said_in_a_sentence(model, monkeypatch):
    segmenter = SamSegmenter(model)
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    monkeypatch.setattr(segmenter, "_run_encoder", failing(segmenter._run_encoder, 0, error))
    with pytest.raises(UserError, match=r"^Memory does not suffice for SAM: give the job more"):
        segmenter.embed([picture((100, 200))])
    monkeypatch.setattr(segmenter, "_run_encoder", failing(segmenter._run_encoder, 0, RuntimeError("other")))
    with pytest.raises(RuntimeError, match="other"):
        segmenter.embed([picture((100, 200))])


# Models


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_from_a_file_are_those_of_the_file(tmp_path, suffix):
    state = build_model("small", seed=5).state_dict()
    path = tmp_path / f"small.{suffix}"
    safetensors.torch.save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    drawn, loaded = build_model("small", seed=5), build_model("small", path)
    assert all(torch.equal(value, drawn.state_dict()[key]) for key, value in loaded.state_dict().items())
    image = torch.full((1, 3, 256, 256), 7.0)
    assert torch.equal(loaded.preprocess(image), drawn.preprocess(image))  # its constants are not in the file
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_random_weights_are_drawn_from_the_seed_alone():
    before = torch.random.get_rng_state()
    first, same, other = (build_model("small", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    key = "mask_decoder.iou_token.weight"
    assert torch.equal(first[key], same[key]) and not torch.equal(first[key], other[key])


def test_what_is_no_such_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no SAM configuration 'vit_x': name compact, small, vit_b, vit_l, vit_h\.$"):
        build_model("vit_x")
    torch.save({"model": build_model("small").state_dict()}, tmp_path / "wrapped.pth")
    with pytest.raises(UserError, match=r"wrapped.pth do not fit the SAM configuration small \(Missing keys: \d+"):
        build_model("small", tmp_path / "wrapped.pth")
    with pytest.raises(UserError, match=r"absent.pth do not exist"):
        build_model("small", tmp_path / "absent.pth")


def test_every_published_file_names_a_size():
    assert {entry.config for entry in registry().values() if entry.package == SAM} == {*SIZES, "compact"}
