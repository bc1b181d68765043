import functools
from collections import defaultdict
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.images import read_picture
from fewframes.labelling.models.sam2 import build_model, model_config, normalised
from fewframes.labelling.propagation.sam2.engine import Tracker
from fewframes.labelling.propagation.sam2.merging import FrameResult, Merger
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.reading import squared
from fewframes.labelling.propagation.sam2.tracks import Task

SIDE = 128
HEIGHT, WIDTH = 72, 144
FRAMES, KEY = 21, 10


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    """Random weights, made livelier: memories so heeded that objects differ, yet not so that rounding grows."""
    model = build_model("small", image_size=SIDE, seed=1)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.mul_(10)
    model.memory_encoder.mask_downsampler.encoder[-1].weight.mul_(4)
    for layer in model.memory_encoder.fuser.layers:
        layer.gamma.fill_(1.0)
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        for projection in (attention.q_proj, attention.k_proj, attention.out_proj):
            projection.weight.mul_(2)
    return model


@pytest.fixture(scope="module")
def official(model):
    target = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    predictor = instantiate({**model_config("small", SIDE), "_target_": target}, _recursive_=True)
    predictor.load_state_dict(model.state_dict())
    return predictor.eval()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two folders of JPEGs, as the predictor demands them: coarse patterns that move, each its own way."""
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("video")
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 24, 3), dtype=np.uint8)
        scene = cv2.resize(coarse, (WIDTH + 80, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for t in range(FRAMES):
            left = 2 * t if seed else 80 - 3 * t
            Image.fromarray(np.ascontiguousarray(scene[:, left : left + WIDTH])).save(folder / f"{t:05}.jpg")
        folders.append(folder)
    return folders


def objects(count):
    """`count` rectangles of several sizes, two of a class next to each other."""
    index = np.full((HEIGHT, WIDTH), -1, np.int16)
    for number in range(count):
        row, column = divmod(number, 5)
        index[2 + 18 * row : 15 + 18 * row - number % 3, 3 + 28 * column : 24 + 28 * column - number % 5] = number
    return Objects(index, tuple(number // 2 for number in range(count)))


def task(folder, count, past=KEY, future=KEY):
    def read(offset):
        return squared(read_picture(folder / f"{KEY + offset:05}.jpg"), SIDE)

    return Task(folder.name, objects(count), past, future, read)


def track(model, tasks, **options):
    """Results by task and offset, each with its masks before merging, `logits`."""
    logits, add = defaultdict(list), FrameResult.add

    def kept(result, piece, out):
        logits[piece.run.task, piece.run.offset].append(out["pred_masks"][piece.rows, 0].clone())
        add(result, piece, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameResult, "add", kept)
        results = list(Tracker(model, **options).track(tasks))
    assert len({(r.task, r.offset) for r in results}) == len(results)
    found = {(r.task, r.offset): r for r in results}
    return {
        where: SimpleNamespace(**vars(r), logits=torch.cat(logits[where] or [torch.empty(0)]))
        for where, r in found.items()
    }


def officially(predictor, folder, found, steps):
    """The predictor's low-resolution logits by offset: each direction in a state of its own."""
    logits = {}
    for sign in (-1, 1):
        state = predictor.init_state(str(folder))
        for number in range(len(found)):
            predictor.add_new_mask(state, KEY, number, found.index == number)
        for _ in predictor.propagate_in_video(
            state, start_frame_idx=KEY, max_frame_num_to_track=steps, reverse=sign < 0
        ):
            pass
        for offset in range(sign, sign * (steps + 1), sign):
            outputs = [
                state["output_dict_per_obj"][n]["non_cond_frame_outputs"][KEY + offset] for n in range(len(found))
            ]
            logits[offset] = torch.cat([output["pred_masks"] for output in outputs])[:, 0]
    return logits


def check_equal(model, official, videos, counts, steps, max_batch):
    tasks = [task(folder, count, steps, steps) for folder, count in zip(videos, counts, strict=True)]
    ours = track(model, tasks, max_batch=max_batch)
    for number, (folder, one) in enumerate(zip(videos, tasks, strict=True)):
        theirs = officially(official, folder, one.objects, steps)
        assert len(theirs) == 2 * steps
        for offset, logits in theirs.items():
            # 1e-4 is little beside the logits, and beside what sets one object apart from another.
            assert logits.std() > 0.3
            assert len(logits) == 1 or (logits - logits.mean(dim=0)).abs().max() > 0.01
            torch.testing.assert_close(ours[number, offset].logits, logits, rtol=0, atol=1e-4)


def test_two_clips_in_one_batch_equal_the_official_predictor(model, official, videos):
    check_equal(model, official, videos, counts=(1, 5), steps=10, max_batch=7)


def test_nineteen_objects_equal_the_official_predictor(model, official, videos):
    check_equal(model, official, videos[:1], counts=(19,), steps=10, max_batch=8)


def test_absent_objects_equal_the_official_predictor_and_claim_nothing(model, official, videos, monkeypatch):
    """A score below 0 goes other ways in the model: no mask, another pointer, another memory."""
    for part in (model, official):
        bias = part.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
        monkeypatch.setattr(bias, "data", bias.data - 5)
    one = task(videos[0], 2, 2, 2)
    ours = track(model, [one])
    for offset, logits in officially(official, videos[0], one.objects, 2).items():
        result = ours[0, offset]
        assert torch.equal(result.logits, logits) and (logits == -1024).all()
        assert (result.merged.index == -1).all() and not result.merged.confidence.any()
        assert (result.presence < 0.1).all() and not result.area.any()


def test_frames_are_prepared_as_the_official_loader_does(official, videos):
    state = official.init_state(str(videos[0]))
    frames = [squared(read_picture(videos[0] / f"{t:05}.jpg"), SIDE) for t in range(FRAMES)]
    torch.testing.assert_close(normalised(frames, torch.device("cpu")), state["images"], rtol=0, atol=0)


def test_batches_of_any_size_give_the_same(model, videos):
    tasks = [task(videos[0], 3, 4, 2), task(videos[1], 2, 0, 3)]
    whole = track(model, tasks, max_batch=64)
    assert sorted(whole) == [(0, o) for o in (-4, -3, -2, -1, 1, 2)] + [(1, o) for o in (1, 2, 3)]
    for max_batch in (1, 4):
        for where, result in track(model, tasks, max_batch=max_batch).items():
            torch.testing.assert_close(result.logits, whole[where].logits, rtol=0, atol=1e-4)
            assert (result.merged.index == whole[where].merged.index).mean() > 0.999
            np.testing.assert_allclose(result.presence, whole[where].presence, atol=1e-4)


def test_a_direction_does_not_see_the_other(model, videos):
    both = track(model, [task(videos[0], 2, 3, 3)])
    for alone in (task(videos[0], 2, 3, 0), task(videos[0], 2, 0, 3)):
        results = track(model, [alone])
        assert len(results) == 3
        for where, result in results.items():
            torch.testing.assert_close(result.logits, both[where].logits, rtol=0, atol=1e-4)


def test_each_frame_is_read_and_encoded_once(model, videos, monkeypatch):
    read, encoded = [], []
    one = task(videos[0], 5, 2, 2)
    counted = Task("clip", one.objects, 2, 2, lambda offset: read.append(offset) or one.read(offset))
    forward = type(model).forward_image
    monkeypatch.setattr(model, "forward_image", lambda images: encoded.append(len(images)) or forward(model, images))
    track(model, [counted], max_batch=2)
    assert read == [0, -1, 1, -2, 2]
    assert sum(encoded) == 5


def test_the_key_frame_can_be_remembered_at_full_resolution(model, videos):
    one = [task(videos[0], 2, 0, 2)]
    official, full = track(model, one), track(model, one, key_memory="full")
    differences = [(full[where].logits - official[where].logits).abs().max() for where in official]
    assert all(0 < difference < 5 for difference in differences)


def test_label_and_measures_follow_from_the_logits(model, videos):
    one = task(videos[0], 5, 0, 1)
    result = track(model, [one])[0, 1]
    full = torch.nn.functional.interpolate(result.logits[None], (HEIGHT, WIDTH), mode="bilinear")[0]
    best, winner = full.max(dim=0)
    index = result.merged.index
    np.testing.assert_array_equal(index, np.where(best > 0, winner, -1))
    assert 0 < (index == -1).mean() < 1
    np.testing.assert_allclose(result.area, (result.logits > 0).float().mean(dim=(1, 2)).numpy())
    assert ((result.presence > 0) & (result.presence < 1)).all()


def test_confidence_is_the_margin_to_the_next_class():
    def level(*values):
        return torch.tensor(values, dtype=torch.float32)[:, None, None].expand(-1, 2, 2)

    merger = Merger((4, 4), torch.device("cpu"))
    merger.add(level(3.0, 4.0), (True, True), 0, (0, 0))  # of one class: no rivals
    merger.add(level(2.0, -1.0), (True, False), 2, (5, 7))
    merged = merger.finish()
    assert (merged.index == 1).all() and (merged.confidence == round(255 * np.tanh(1.0))).all()
    alone = Merger((4, 4), torch.device("cpu"))
    alone.add(level(-3.0, 1.0), (False, True), 0, (2, 3))
    merged = alone.finish()
    assert (merged.index == 1).all() and (merged.confidence == round(255 * np.tanh(0.5))).all()


def test_masks_are_merged_where_they_are_wanted(model, videos):
    whole, one = task(videos[0], 2, 2, 3), task(videos[0], 2, 2, 3)
    wanted = Task(one.name, one.objects, one.past, one.future, one.read, frozenset({-2, 3}))
    every, some = track(model, [whole]), track(model, [wanted])
    assert every.keys() == some.keys()
    for where, result in some.items():
        np.testing.assert_array_equal(result.area, every[where].area)
        if where[1] in (-2, 3):
            np.testing.assert_array_equal(result.merged.index, every[where].merged.index)
        else:
            assert result.merged is None


def test_a_clip_without_objects_is_unclaimed_and_not_read(model, videos):
    def never(offset):
        raise AssertionError(offset)

    empty = Task("empty", Objects(np.full((6, 8), -1, np.int16), ()), 1, 2, never)
    results = track(model, [empty, task(videos[0], 1, 1, 0)])
    assert sorted(results) == [(0, -1), (0, 1), (0, 2), (1, -1)]
    assert all((m.index == -1).all() and m.index.shape == (6, 8) for m in (results[0, o].merged for o in (-1, 1, 2)))


def test_a_clip_of_one_frame_gives_nothing(model, videos):
    assert track(model, [task(videos[0], 2, 0, 0)]) == {}
    assert track(model, []) == {}


def test_numbers_that_are_not_finite_are_refused(model, videos, monkeypatch):
    step = model.track_step

    def broken(frame_idx, **inputs):
        out = step(frame_idx=frame_idx, **inputs)
        if frame_idx == 2:
            out["object_score_logits"][-1] = torch.nan
        return out

    monkeypatch.setattr(model, "track_step", broken)
    with pytest.raises(UserError, match=f"not finite for {videos[0].name} at offset 2"):
        track(model, [task(videos[0], 2, 0, 2)])


def test_a_batch_too_large_for_memory_is_halved(model, videos, monkeypatch):
    expected = track(model, [task(videos[0], 5, 1, 1)], max_batch=10)
    step, sizes = model.track_step, []

    def small(room, **inputs):
        rows = inputs["current_vision_feats"][-1].shape[1]
        sizes.append(rows)
        if rows > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(**inputs)

    monkeypatch.setattr(model, "track_step", functools.partial(small, 3))
    results = track(model, [task(videos[0], 5, 1, 1)], max_batch=10)
    assert sizes == [5, 2, 2, 1, 2, 2, 2, 2, 2]
    for where, result in results.items():
        torch.testing.assert_close(result.logits, expected[where].logits, rtol=0, atol=1e-4)
    monkeypatch.setattr(model, "track_step", functools.partial(small, 0))
    with pytest.raises(UserError, match="does not suffice for a single object"):
        track(model, [task(videos[0], 5, 1, 1)])


def test_bfloat16_gives_nearly_the_same_masks(model, official, videos):
    """Label maps of one object; what random weights make of several hangs on margins that mean nothing."""
    exact, rough = (track(model, [task(videos[0], 1, 3, 3)], bfloat16=half) for half in (False, True))
    with torch.autocast("cpu", torch.bfloat16):
        theirs = officially(official, videos[0], objects(1), 3)
    for (_, offset), result in rough.items():
        assert (result.merged.index == exact[0, offset].merged.index).mean() > 0.995
        assert ((result.logits > 0) == (theirs[offset] > 0)).float().mean() > 0.995
        assert not torch.equal(result.logits, exact[0, offset].logits)


def test_models_are_built_by_seed_and_leave_torch_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, same, other = (build_model("small", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_weights_from_a_file_are_the_ones_used(model, tmp_path):
    torch.save({"model": model.state_dict()}, tmp_path / "small.pt")
    loaded = build_model("small", tmp_path / "small.pt", image_size=SIDE).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EOFError"),
        (b"not weights", "UnpicklingError"),
        ({"model": {"no_mem_embed": torch.zeros(1, 1, 64)}}, "Missing key"),
        ({"state": {}}, "KeyError: 'model'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, content, reason):
    path = tmp_path / "bad.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError, match=f"bad.pt do not fit the SAM 2 configuration small .*{reason}"):
        build_model("small", path)


def test_absent_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none.pt do not exist"):
        build_model("small", tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: [", "is no readable YAML"),
        ("trainer: {}", "needs a key 'model'"),
        ("model: {image_size: 64, image_encoder: {_target_: os.system}}", "names os.system, which is no model class"),
        ("model: {image_size: 64, image_encoder: {}}", "cannot be built"),
        ("model: {image_size: 100}", "image_size .* is 100"),
        ("model: {image_size: 64, non_overlap_masks_for_mem_enc: true}", "non_overlap_masks_for_mem_enc to false"),
    ],
)
def test_configurations_that_are_none_are_refused(tmp_path, text, reason):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=reason):
        build_model(str(path))


def test_an_unknown_configuration_is_refused():
    with pytest.raises(UserError, match=r"no SAM 2 configuration 'sam3': name compact, small, sam2.1_hiera_t"):
        model_config("sam3")


def test_the_packaged_configurations_are_found_and_ours_can_be_a_file(tmp_path):
    from omegaconf import OmegaConf

    assert model_config("sam2.1_hiera_b+")["image_encoder"]["trunk"]["embed_dim"] == 112
    assert model_config("sam2_hiera_l", image_size=512)["image_size"] == 512
    OmegaConf.save({"model": model_config("small")}, tmp_path / "own.yaml")
    # The file's outermost class is one of the package's too.
    assert model_config(str(tmp_path / "own.yaml")) == model_config("small")
