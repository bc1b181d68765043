import numpy as np
import pytest
from matplotlib.figure import Figure

from fewframes.reporting.figures.names import Point, name_points


@pytest.fixture
def axes():
    """A plot from 0 to 10 on either axis, of 400 x 300 points."""
    plot = Figure(figsize=(400 / 72, 300 / 72), dpi=72).subplots()
    plot.set(xlim=(0, 10), ylim=(0, 10))
    return plot


def named(axes, points, **options):
    name_points(axes, points, **options)
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


def test_a_name_stands_beside_its_point(axes):
    boxes = named(axes, [Point("a", "black", 5, 5)])
    x, y = axes.transData.transform((5, 5))
    assert boxes["a"].x0 == pytest.approx(x + 5, abs=1) and boxes["a"].y0 < y < boxes["a"].y1


def test_names_cover_neither_points_nor_bars_nor_each_other(axes):
    points = [Point(f"name {i}", "black", 2 + 2 * i, 5, sd=1.5) for i in range(4)]
    boxes = list(named(axes, points).values())
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    bars = [axes.transData.transform([(p.x, p.y - p.sd), (p.x, p.y + p.sd)]) for p in points]
    for box in boxes:
        assert not any(box.x0 < low[0] < box.x1 and box.y0 < high[1] and low[1] < box.y1 for low, high in bars)


def test_what_has_no_room_is_left_out_unless_it_is_needed(axes):
    crowd = [Point(f"crowded {i}", "black", 5 + 0.01 * i, 5, needed=i == 29) for i in range(30)]
    boxes = named(axes, crowd)
    assert "crowded 29" in boxes and 1 < len(boxes) < 30
    free = list(boxes.values())
    assert not any(a.overlaps(b) for i, a in enumerate(free) for b in free[:i])
    axes.texts[0].remove()
    needed = named(axes, [Point(p.name, p.colour, p.x, p.y) for p in crowd])
    assert len(needed) == 30


def test_names_stay_off_a_line_and_within_the_plot(axes):
    steps = np.array([(5, 5), (9.9, 5), (9.9, 9)])
    boxes = named(axes, [Point("a", "black", 5, 5), Point("corner", "black", 9.9, 9.9)], steps=steps)
    height = axes.transData.transform((0, 5))[1]
    right = axes.transData.transform((5, 5))[0]
    assert not (boxes["a"].x1 > right and boxes["a"].y0 < height < boxes["a"].y1)
    assert boxes["corner"].x1 <= axes.bbox.x1 and boxes["corner"].y1 <= axes.bbox.y1


def test_no_points_need_no_names(axes):
    assert named(axes, []) == {}
