import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import write_confusion

from fewframes.core import metrics
from fewframes.core.errors import UserError
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import (
    Arm,
    Arms,
    block_counts,
    compare,
    expected,
    image_blocks,
    leave_one_out,
    student,
)

NAMES = ("road", "car")


def test_the_quantiles_of_students_t_are_the_tables():
    # Two-sided 95 %, from any printed table.
    known = {1: 12.706, 2: 4.303, 3: 3.182, 8: 2.306, 30: 2.042, 1000: 1.962}
    assert {free: student(free) for free in known} == pytest.approx(known, abs=6e-4)


def arm_of(scores, without=(50.0, 50.0, 50.0), runs=None):
    scores = np.asarray(scores, float)
    keys = runs or tuple((0, seed) for seed in range(len(scores)))
    return Arm(tuple(keys), scores, np.asarray(without, float), ("a", "b", "c"))


def test_a_paired_interval_by_hand():
    # Differences by seed are 1, 2, 3: mean 2, variance 1, of the mean 1/3, 2 degrees of freedom. Images: left out one
    # by one the difference is 2, 2, 2.3: mean 2.1, squares .01 + .01 + .04, times 2/3 is .04, 2 degrees of freedom.
    result = compare(arm_of([11, 22, 33], (12, 12, 12.3)), arm_of([10, 20, 30], (10, 10, 10)))
    assert result.difference == pytest.approx(2)
    assert result.high - 2 == pytest.approx(4.3027 * (1 / 3 + 0.04) ** 0.5, rel=1e-4)
    assert (result.high + result.low) / 2 == pytest.approx(2)
    assert (result.runs, result.verdict) == ((3, 3), "no difference shown")


def test_the_quantile_is_weighted_by_the_two_variances():
    # Runs: as above, 1/3 with 2 degrees of freedom. Images: 4, 4, 4, 4.6 and 3.4, squares .36 + .36, times 4/5 is .576
    # with 4. Quantiles 4.303 and 2.776.
    result = compare(arm_of([11, 22, 33], (14, 14, 14, 14.6, 13.4)), arm_of([10, 20, 30], [10] * 5))
    total = 1 / 3 + 0.576
    assert result.high - 2 == pytest.approx((4.3027 / 3 + 0.576 * 2.7764) / total * total**0.5, rel=1e-4)


def test_runs_of_different_draws_are_not_paired():
    # Draw means 10, 11, 12 (variance 1) and, of one draw, seeds 1, 2, 3: Welch, 1/3 + 1/3 with 4 degrees of freedom.
    drawn = arm_of([9, 11, 10, 12, 11, 13], (50, 50), [(d, s) for d in range(3) for s in range(2)])
    result = compare(drawn, arm_of([1, 2, 3], (50, 50)))
    assert result.difference == pytest.approx(9)
    assert result.high - 9 == pytest.approx(student(4) * (2 / 3) ** 0.5)
    assert result.verdict == "better"


@pytest.mark.parametrize(
    ("runs", "blocks", "verdict"), [(2, 3, "not established"), (3, 1, "not established"), (3, 3, "better")]
)
def test_few_runs_or_one_block_establish_nothing(runs, blocks, verdict):
    many = arm_of([9.0, 9.1, 9.2, 9.3], [50.0] * blocks)
    few = arm_of([1.0, 1.1, 1.2][:runs], [50.0] * blocks)
    result = compare(many, few)
    assert result.verdict == verdict and (result.low is None) == (verdict == "not established")
    assert result.difference == pytest.approx(float(many.scores.mean() - few.scores.mean()))


SCORES = st.lists(st.floats(0, 100), min_size=3, max_size=3)


@given(SCORES, SCORES, SCORES, SCORES)
def test_exchanged_arms_give_the_mirrored_interval(ours, theirs, our_images, their_images):
    arm, other = arm_of(ours, our_images), arm_of(theirs, their_images)
    there, back = compare(arm, other), compare(other, arm)
    assert [there.difference, there.low, there.high] == pytest.approx([-back.difference, -back.high, -back.low])
    mirrored = {"better": "worse", "worse": "better"}
    assert back.verdict == mirrored.get(there.verdict, there.verdict)
    assert compare(arm, arm).verdict == "no difference shown"


def simulated(generator, count, draws, seeds, quality, block, shared):
    """Arms of runs: matrices by block of two classes, with chance by draw, seed, block and both; and the true mIoU.

    Hits of a class are a share of its pixels; the other class gets the misses, so mIoU follows the share.
    """
    images = np.arange(60)
    blocks = images // block
    by_block = generator.normal(0, 0.02, (count, 60 // block))[:, blocks] + shared
    # One draw is N1's, which takes every clip.
    by_draw = generator.normal(0, 0.02 if draws > 1 else 0, (count, draws, 1, 1))
    by_seed = generator.normal(0, 0.02, (count, draws, seeds, 1))
    noise = generator.normal(0, 0.02, (count, draws, seeds, 60))
    right = np.clip(quality + by_draw + by_seed + by_block[:, None, None] + noise, 0, 1)
    pixels = np.array([1000, 400])
    hits = np.round(right[..., None] * pixels).astype(np.int64)
    confusion = np.zeros((*right.shape, 2, 2), np.int64)
    for c in (0, 1):
        confusion[..., c, c] = hits[..., c]
        confusion[..., c, 1 - c] = pixels[c] - hits[..., c]
    return confusion.reshape(count, draws * seeds, 60, 2, 2), blocks


def arm_from(confusion, blocks, draws, seeds):
    counts = [block_counts(run, blocks) for run in confusion]
    scores = [100 * metrics.mean(metrics.iou_per_class(run.sum(axis=0))) for run in confusion]
    without = np.mean([leave_one_out(count) for count in counts], axis=0)
    return Arm(tuple((d, s) for d in range(draws) for s in range(seeds)), np.array(scores), without, ("images",))


@pytest.mark.parametrize(("draws", "seeds"), [((3, 3), (3, 3)), ((1, 3), (3, 3))])
def test_intervals_hold_the_known_difference_as_often_as_they_say(draws, seeds):
    generator, count = np.random.default_rng(7), 300
    shared = generator.normal(0, 0.05, (count, 12))[:, np.arange(60) // 5]
    qualities = (0.8, 0.9)
    arms = [
        [arm_from(one, blocks, d, s) for one in confusion]
        for d, s, quality in zip(draws, seeds, qualities, strict=True)
        for confusion, blocks in [simulated(generator, count, d, s, quality, 5, shared)]
    ]
    # The truth from very many images and runs: chance has mean zero, and mIoU is nearly linear in it.
    true = []
    for quality in qualities:
        share = np.array([[1000 * quality, 1000 * (1 - quality)], [400 * (1 - quality), 400 * quality]])
        true.append(100 * metrics.mean(metrics.iou_per_class(share)))
    results = [compare(arm, other) for arm, other in zip(*arms, strict=True)]
    held = np.mean([r.low <= true[0] - true[1] <= r.high for r in results])
    assert 0.94 <= held <= 0.99
    # And they are not so wide that nothing is ever shown.
    assert np.mean([r.verdict == "worse" for r in results]) > 0.5 and not any(r.verdict == "better" for r in results)


def test_without_a_difference_few_verdicts_show_one():
    generator, count = np.random.default_rng(8), 300
    shared = generator.normal(0, 0.05, (count, 12))[:, np.arange(60) // 5]
    first, second = (
        [arm_from(one, blocks, 3, 1) for one in confusion]
        for confusion, blocks in (simulated(generator, count, 3, 1, 0.8, 5, shared) for _ in range(2))
    )
    shown = [compare(arm, other).verdict != "no difference shown" for arm, other in zip(first, second, strict=True)]
    assert np.mean(shown) <= 0.07


def test_one_more_run_falls_into_the_expected_interval():
    generator, count = np.random.default_rng(9), 300
    confusion, blocks = simulated(generator, count, 4, 1, 0.8, 5, 0)
    arms = [arm_from(one[:3], blocks, 3, 1) for one in confusion]
    fresh, _ = simulated(generator, count, 1, 1, 0.8, 5, 0)
    scores = [arm_from(one, blocks, 1, 1).scores[0] for one in fresh]
    inside = [low <= score <= high for (low, high), score in zip(map(expected, arms), scores, strict=True)]
    # Another evaluation set has chance of its own, which the interval does not count: nearly all the same.
    assert np.mean(inside) > 0.88


def test_blocks_are_neighbours_in_a_place():
    groups = {f"a_{i:06d}_000019": f"a_{i:06d}" for i in range(11)}
    groups |= {f"b_000000_{i * 40:06d}": "b_000000" for i in range(16)}
    images = list(groups)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(images))
    blocks = dict(zip([images[i] for i in order], image_blocks([images[i] for i in order], groups), strict=True))
    # 27 images: blocks of 3; the 11 of place a are 4 blocks, the 16 of b are 5.
    ours = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    theirs = [4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8]
    assert [blocks[image] for image in images] == [*ours, *theirs]


def test_numbers_in_names_sort_by_value_and_unknown_images_by_their_own_name():
    images = ["v_2", "v_10", "v_1", "w_1", "v_9", "w_2", "w_3", "v_11"]
    blocks = image_blocks(images, {})
    # Blocks of 2; v has 1, 2, 9 | 10, 11 and w has 1, 2, 3 (one and a half blocks, rounded to two).
    assert blocks.tolist() == [0, 1, 0, 2, 0, 2, 3, 1]


@given(st.integers(1, 60), st.integers(1, 4))
def test_every_image_is_in_one_block_and_blocks_are_numbered_without_holes(count, places):
    images = [f"p{i % places}_{i:03d}" for i in range(count)]
    blocks = image_blocks(images, {image: image.split("_")[0] for image in images})
    assert sorted(set(blocks.tolist())) == list(range(blocks.max() + 1))
    assert all(len({images[i][:2] for i in np.flatnonzero(blocks == b)}) == 1 for b in set(blocks.tolist()))


@given(st.integers(0, 10_000))
def test_leaving_a_block_out_is_counting_without_its_images(seed):
    generator = np.random.default_rng(seed)
    confusion, blocks = generator.integers(1, 50, (9, 3, 3)), np.repeat([0, 1, 2], 3)
    without = leave_one_out(block_counts(confusion, blocks))
    for block in range(3):
        rest = confusion[blocks != block].sum(axis=0)
        assert without[block] == pytest.approx(100 * metrics.mean(metrics.iou_per_class(rest)))


def test_a_class_of_one_block_keeps_its_iou_and_absent_ones_do_not_count():
    confusion = np.zeros((2, 3, 3), np.int64)
    confusion[0, 0, 0] = confusion[1, 0, 0] = 5
    confusion[0, 1, 1], confusion[0, 1, 0] = 3, 1  # the second class is in the first image alone, the third in none
    assert leave_one_out(block_counts(confusion, np.array([0, 1]))) == pytest.approx(
        [(100 + 75) / 2, (500 / 6 + 75) / 2]
    )


def write_run(results, experiment, run, hits, images=("x_000000_000001", "x_000001_000001", "y_000000_000001")):
    """Of 100 pixels a class and image so many are hit, and the rest are taken for the other class."""
    confusion = np.array([[[h, 100 - h], [100 - h, h]] for h in hits])
    iou = [100 * value for value in metrics.iou_per_class(confusion.sum(axis=0))]
    folder = results / "runs" / "tmanet" / experiment / run
    folder.mkdir(parents=True)
    rows = [f"{name},{value},{value},1" for name, value in zip((*NAMES, "mean"), (*iou, np.mean(iou)), strict=True)]
    (folder / "metrics.csv").write_text("\n".join(["class,iou,accuracy,pixels", *rows]))
    write_confusion(folder, images, confusion)


@pytest.fixture
def results(tmp_path):
    rows = [f"{c},{c[:8]}" for c in ("x_000000_000001", "x_000001_000001", "y_000000_000001")]
    (tmp_path / "index.csv").write_text("\n".join(["clip,group", *rows]))
    for seed in range(3):
        write_run(tmp_path, "n1", f"draw0-seed{seed}", [90 + seed, 91, 92])
        write_run(tmp_path, "b3", f"draw0-seed{seed}", [70 + seed, 71, 72])
    return tmp_path


def arms_of(results):
    return Arms(Grid(results, ("tmanet",), {"n1": (0,), "b3": (0,), "p2": (0,)}, (0, 1, 2, 3)), NAMES)


def test_runs_are_read_and_compared(results):
    result = arms_of(results).compare("tmanet", "b3", "n1")
    means = [np.mean(arms_of(results).arm("tmanet", e).scores) for e in ("b3", "n1")]
    assert result.difference == pytest.approx(means[0] - means[1])
    assert result.verdict == "worse" and result.runs == (3, 3)
    assert arms_of(results).compare("tmanet", "p2", "n1") is None
    assert arms_of(results).compare("tdnet", "b3", "n1") is None


def test_classes_may_be_compared_alone(results):
    for seed in range(3):
        folder = results / "runs" / "tmanet" / "b3" / f"draw0-seed{seed}"
        text = (folder / "metrics.csv").read_text()
        (folder / "metrics.csv").write_text(
            "\n".join(x if not x.startswith("car") else "car,99,99,1" for x in text.split("\n"))
        )
    alone, road = (arms_of(results).compare("tmanet", "b3", "n1", (name,)) for name in ("car", "road"))
    assert alone.difference > 0 > road.difference


def test_runs_on_different_images_are_refused(results):
    write_run(results, "p2", "draw0-seed0", [1, 2], ("x_000000_000001", "x_000001_000001"))
    with pytest.raises(UserError, match=r"p2 and n1 .* different images"):
        arms_of(results).compare("tmanet", "p2", "n1")
    write_run(results, "n1", "draw0-seed3", [1, 2], ("x_000000_000001", "x_000001_000001"))
    with pytest.raises(UserError, match=r"Runs of n1 .* different images"):
        arms_of(results).arm("tmanet", "n1")


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_matrix_is_named(results, damage):
    path = results / "runs" / "tmanet" / "n1" / "draw0-seed1" / "confusion.npz"
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"draw0-seed1/confusion\.npz cannot be read"):
        arms_of(results).arm("tmanet", "n1")


def test_no_damaged_byte_of_a_matrix_is_a_traceback_or_other_numbers(results):
    path = results / "runs" / "tmanet" / "n1" / "draw0-seed1" / "confusion.npz"
    whole, mean = path.read_bytes(), arms_of(results).arm("tmanet", "n1").without.tolist()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert arms_of(results).arm("tmanet", "n1").without.tolist() == mean, place
        except UserError:
            refused += 1
    assert refused > len(whole) / 6
