"""The compact models' clips, losses, prompts and training; what they are worth is in `test_compact_quality`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.compact_scores import OBJECTS, boundary_f, by_propagator, follow_toy_city, nearest_filled
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE
from fewframes.datasets.toycity.scene import build_scene
from fewframes.labelling.compact import losses, prompting
from fewframes.labelling.compact.image import ImageTask
from fewframes.labelling.compact.recipes import build_sam, build_sam2, look_where_prompted, write_weights
from fewframes.labelling.compact.scenes import drawn_clip
from fewframes.labelling.compact.sources import TOY_SEED, Sources, camvid_files, photograph, toy_clip, toy_frames
from fewframes.labelling.compact.training import Phase, Schedule, train
from fewframes.labelling.compact.video import VideoTask, chosen
from fewframes.labelling.models import sam, sam2
from fewframes.labelling.models.loading import load_weights
from fewframes.labelling.propagation import build_propagator
from fewframes.labelling.propagation.sam2.engine import Tracker
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.tracks import Task

CAMVID = Path(__file__).resolve().parents[3] / "shared" / "data" / "camvid"
TINY = Schedule((Phase(3, 64, 2, 2), Phase(2, 128, 2, 3)), rate=1e-3)


def rng(seed=0):
    return np.random.default_rng(seed)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


# --- clips


@pytest.mark.parametrize("sources", [Sources(toy=0.0), Sources(toy=1.0), Sources(toy=1.0, squashed=0.0)])
def test_a_clip_depends_on_its_number_alone(sources):
    one, again, other = sources.clip(7, 3, 64), sources.clip(7, 3, 64), sources.clip(8, 3, 64)
    assert one.frames.shape == (3, 64, 64, 3) and one.ids.shape == one.pieces.shape == (3, 64, 64)
    for name in ("frames", "ids", "pieces"):
        assert (getattr(one, name) == getattr(again, name)).all()
    assert (one.frames != other.frames).any()


def test_without_motion_nothing_moves():
    clip = drawn_clip(rng(3), 3, 96, motion=0.0)
    assert (clip.ids == clip.ids[0]).all() and (clip.pieces == clip.pieces[0]).all()
    assert np.abs(clip.frames.astype(int) - clip.frames[0]).mean() < 15  # grain and light


def test_a_drawn_object_keeps_its_number_and_moves_on_step_by_step():
    moved = []
    for seed in range(6):
        clip = drawn_clip(rng(seed), 3, 128)
        for number in np.unique(clip.ids[0]):
            areas = [(ids == number).sum() for ids in clip.ids]
            if min(areas) < 200:
                continue
            middles = [np.argwhere(ids == number).mean(0) for ids in clip.ids]
            moved.append(np.abs(middles[1] - middles[0]).max())
            assert np.abs(middles[2] - 2 * middles[1] + middles[0]).max() < 30
    assert len(moved) > 20 and 0.5 < np.median(moved) < 10


def test_a_piece_looks_alike_wherever_it_went():
    """Of the pixels of a piece, colours in two frames are nearer to each other than those of one place."""
    same, still = [], []
    for seed in range(16):
        clip = drawn_clip(rng(seed), 2, 128, motion=1.5)
        first, second = (frame.astype(float) for frame in clip.frames)
        common = np.intersect1d(clip.pieces[0], clip.pieces[1])
        for piece in common[:: max(1, len(common) // 60)]:
            before, after = clip.pieces[0] == piece, clip.pieces[1] == piece
            if before.sum() > 60 and after.sum() > 60 and (before & after).mean() < 0.5 * before.mean():
                same.append(np.abs(first[before].mean(0) - second[after].mean(0)).mean())
                still.append(np.abs(first[before].mean(0) - second[before].mean(0)).mean())
    assert len(same) > 30 and np.mean(same) < 0.7 * np.mean(still)


def test_toy_ids_are_one_object_of_one_label_in_every_frame():
    scene = build_scene(TOY_SEED, 0, 0, 1.0, 96, 192)
    times = [-4, 0, 4]
    _, ids = toy_frames(scene, times)
    labels: dict[int, set[str]] = {}
    for time, of_frame in zip(times, ids, strict=True):
        frame = scene.frame(time)
        names = np.array(["", *(label for label, _ in frame.objects)])[frame.owner]
        assert not of_frame[names == "ego vehicle"].any()
        for number in np.unique(of_frame[of_frame > 0]):
            labels.setdefault(int(number), set()).update(np.unique(names[of_frame == number]))
    assert all(len(names) == 1 for names in labels.values())
    things = [n for n, names in labels.items() if names == {"car"}]
    assert len(things) > 1  # cars are told apart


def test_what_is_measured_is_never_learned_from(tmp_path):
    with pytest.raises(ValueError, match="train on"):
        follow_toy_city(by_propagator(build_propagator("copy", {}, OBJECTS)), TOY_SEED, [0])
    (tmp_path / "train").mkdir()
    for name in ("0001TP_006690", "0016E5_06990", "0016E5_07959", "0016E5_08100"):
        (tmp_path / "train" / f"{name}.jpg").touch()
    assert [f.stem for f in camvid_files(tmp_path)] == ["0001TP_006690", "0016E5_06990"]
    with pytest.raises(UserError, match="has no photographs"):
        camvid_files(tmp_path / "other")
    with pytest.raises(UserError, match="--camvid"):
        Sources(photographs=0.5)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CamVid is not here")
def test_photographs_are_objects_on_a_ground():
    picture, ids = photograph(rng(1), camvid_files(CAMVID), 256)
    assert picture.shape == (256, 256, 3) and ids.shape == (256, 256) and len(np.unique(ids)) > 3
    clip = Sources(toy=0.0, photographs=1.0, camvid=CAMVID).clip(0, 2, 128)
    assert clip.frames.shape == (2, 128, 128, 3) and len(np.unique(clip.ids)) > 2


def test_toy_clips_are_squashed_or_cropped():
    whole, part = toy_clip(rng(5), 2, 64, squashed=1.0), toy_clip(rng(5), 2, 64, squashed=0.0)
    assert whole.ids.shape == part.ids.shape == (2, 64, 64)
    assert (whole.ids[0] != part.ids[0]).any()


# --- losses and scores


def test_losses_of_right_and_wrong_masks():
    truth = torch.zeros(2, 16, 16)
    truth[:, 4:9, 4:9] = 1
    right, wrong = 40 * truth - 20, 20 - 40 * truth
    assert float(losses.dice(right, truth).max()) < 1e-3 < 0.9 < float(losses.dice(wrong, truth).min())
    assert float(losses.focal(right, truth).max()) < 1e-6 < 5 < float(losses.focal(wrong, truth).min())
    assert losses.mask_iou(right, truth).tolist() == [1, 1] and losses.mask_iou(wrong, truth).tolist() == [0, 0]
    assert losses.mask_iou(-right.abs(), torch.zeros_like(truth)).tolist() == [1, 1]


def test_of_several_masks_only_the_best_is_trained_and_every_score():
    truth = torch.zeros(1, 16, 16)
    truth[:, :8] = 1
    logits = torch.stack([20 - 40 * truth, 2 * truth - 1], 1).requires_grad_(True)
    ious = torch.zeros(1, 2, requires_grad=True)
    losses.mask_loss(logits, ious, truth).sum().backward()
    assert not logits.grad[:, 0].any() and logits.grad[:, 1].all()
    assert ious.grad[0, 1] != 0  # its IoU is 1; that of the first is 0, as was said


def test_matching_finds_the_place_that_a_piece_came_from():
    places = torch.eye(16).view(1, 16, 4, 4)
    pieces = torch.arange(1, 17).view(1, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
    moved, where = places.roll(1, 3), pieces.roll(2, 2)
    found = losses.matching_loss(places, moved, pieces, where, 10.0)
    missed = losses.matching_loss(places, places, pieces, where, 10.0)
    assert float(found) < 0.01 < 5 < float(missed)
    assert float(losses.matching_loss(places, moved, pieces, torch.zeros_like(where), 10.0)) == 0


MASKS = arrays(np.bool_, (12, 15))


@settings(max_examples=40)
@given(MASKS)
def test_a_boundary_is_its_own(mask):
    assert boundary_f(mask, mask) == 1


def test_boundaries_count_within_the_tolerance():
    truth = np.zeros((100, 100), bool)
    truth[30:60, 30:60] = True
    assert boundary_f(np.roll(truth, 1, 0), truth) == 1  # the diagonal's 0.8 % is a pixel
    assert boundary_f(np.roll(truth, 8, (0, 1)), truth) < 0.2
    assert boundary_f(np.zeros_like(truth), truth) == 0


@settings(max_examples=40)
@given(arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1, IGNORE])))
def test_unclaimed_pixels_take_a_nearest_label(label):
    filled = nearest_filled(label)
    claimed = np.argwhere(label != IGNORE)
    if not len(claimed):
        assert (filled == IGNORE).all()
        return
    for y, x in np.ndindex(label.shape):
        distance = np.hypot(*(claimed - (y, x)).T)
        near = claimed[distance <= distance.min() + 0.5]  # the transform's distances are near the true ones
        assert filled[y, x] in label[tuple(near.T)]
        assert label[y, x] in (IGNORE, filled[y, x])


# --- prompts


@settings(max_examples=30)
@given(arrays(np.bool_, (3, 10, 14)), st.integers(0, 99))
def test_prompts_are_where_they_say(masks, seed):
    masks[:, 4, 5] = True
    truth = torch.from_numpy(masks).float()
    points, kinds = prompting.inside_points(truth, chance(seed), 3)
    assert kinds.eq(1).all()
    for mask, of_mask in zip(masks, points.long(), strict=True):
        assert all(mask[y, x] for x, y in of_mask)
    guess = torch.from_numpy(np.roll(masks, 1, 2)).float() * 2 - 1
    for row, (at, kind) in enumerate(zip(*prompting.error_points(guess, truth, chance(seed)), strict=True)):
        x, y = at[0].long().tolist()
        assert masks[row, y, x] == bool(kind[0])
        if (guess[row].numpy() > 0).tolist() != masks[row].tolist():
            assert (guess[row, y, x] > 0) != masks[row, y, x]


def test_boxes_hold_their_masks_but_for_the_jitter():
    truth = torch.zeros(2, 64, 96)
    truth[0, 10:30, 20:60] = truth[1, 5, 7] = 1
    corners, kinds = prompting.box_corners(truth, chance(), jitter=0.0)
    assert corners.tolist() == [[[20, 10], [60, 30]], [[7, 5], [8, 6]]] and kinds.tolist() == [[2, 3]] * 2
    loose, _ = prompting.box_corners(truth, chance(), jitter=0.1)
    assert (loose[0] - corners[0]).abs().max() <= 4


def test_objects_are_chosen_that_are_large_enough():
    ids = torch.zeros(2, 8, 8, dtype=torch.int64)
    ids[0, :4], ids[0, 5, :3], ids[1] = 3, 4, 9
    assert chosen(ids, 3, 8, chance()) == [(0, 3), (1, 9)]
    assert chosen(ids, 3, 2, chance()) in ([(0, 3), (0, 4), (1, 9)], [(0, 4), (0, 3), (1, 9)])


# --- models


def test_prompts_are_looked_for_where_they_are():
    model, _ = build_sam()
    look_where_prompted(model.mask_decoder.transformer)
    position = model.prompt_encoder.get_dense_pe()[0].flatten(1).T
    attention = model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    cell = 37 * 64 + 21
    scores = attention.k_proj(position) @ attention.q_proj(position[cell])  # of all heads together
    assert scores.argmax() == cell and scores[cell] > 2 * scores.quantile(0.9)


def test_images_decoded_together_are_as_the_package_decodes_each():
    model = sam.build_model("compact", seed=3)
    task = ImageTask(model)
    with torch.no_grad():
        images = torch.randn(3, 64, 64, 64)
        points = torch.rand(3, 2, 2) * 500
        sparse, dense = model.prompt_encoder(points=(points, torch.ones(3, 2)), boxes=None, masks=None)
        position = model.prompt_encoder.get_dense_pe()
        masks, ious = task._decoded(images, position, sparse, dense)
        for n in range(3):
            one, score = model.mask_decoder.predict_masks(images[n : n + 1], position, sparse[n : n + 1], dense[:1])
            torch.testing.assert_close(masks[n], one[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(ious[n], score[0], atol=1e-5, rtol=1e-4)


def test_what_is_trained_is_what_the_propagator_runs():
    """The masks in training are those of the engine, which equal the official predictor's."""
    model = sam2.build_model("compact", image_size=64, seed=1)
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(9.0)  # all present
    clip = Sources(toy=0.0).clip(3, 4, 64)
    number = int(np.bincount(clip.ids[0].ravel())[1:].argmax()) + 1
    task = VideoTask(model, rows_per_clip=1, least=1)
    kept = []
    model.sam_mask_decoder.register_forward_hook(lambda module, given, made: kept.append(made[0].detach()))
    ids = np.where(clip.ids == number, 1, 0)
    frames = sam2.normalised(list(clip.frames), torch.device("cpu"))
    with torch.no_grad():
        task.propagation(frames[None], torch.from_numpy(ids)[None], torch.from_numpy(ids)[None], chance())
    trained = torch.stack(kept[-3:])[:, 0, :1]
    objects = Objects(np.where(ids[0] == 1, np.int16(0), np.int16(-1)), (0,))
    kept.clear()
    assert len(list(Tracker(model).track([Task("clip", objects, 0, 3, lambda o: clip.frames[o])]))) == 3
    followed = torch.stack(kept[-3:])[:, 0, :1]
    torch.testing.assert_close(trained, followed, atol=2e-2, rtol=2e-2)  # memories are in bfloat16 there


@pytest.mark.parametrize("build", [build_sam, build_sam2])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(build, tmp_path, monkeypatch, capsys):
    sources = Sources(toy=0.5)
    whole = train(build, sources, TINY, tmp_path / "whole")
    monkeypatch.setattr("fewframes.labelling.compact.training._SAVE_EVERY", 2)

    class KilledError(Exception):
        pass

    def dying():
        model, step = build()

        def fatal(*batch):
            if batch[-1] == 3:
                raise KilledError
            return step(*batch)

        return model, fatal

    with pytest.raises(KilledError):
        train(dying, sources, TINY, tmp_path / "parts")
    parts = train(build, sources, TINY, tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert "5 of 5:" in capsys.readouterr().err
    assert (tmp_path / "whole" / "curve.csv").read_text().startswith("5,")


def test_weights_are_written_in_half_precision_and_load(tmp_path):
    model, _ = build_sam2()
    path = tmp_path / "sam2_compact.safetensors"
    write_weights(model.state_dict(), path)
    assert path.stat().st_size < 6e6
    other = sam2.build_model("compact", path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    with pytest.raises(UserError, match="do not fit"):
        load_weights(sam.build_model("compact"), path, "SAM configuration compact")


def test_processes_share_a_batch(tmp_path):
    train(build_sam, Sources(toy=0.0), Schedule((Phase(2, 64, 2, 1),), rate=1e-3), tmp_path, processes=2)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["iteration"] == 2 and all(v.isfinite().all() for v in state["averaged"].values())
