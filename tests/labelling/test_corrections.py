"""Reviewed labels back in: they return as they were drawn, nothing is skipped silently, nothing is lost."""

import fcntl
import io
import shutil
import threading
import unicodedata
import zipfile
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fewframes.core.clips import LABEL_COLUMNS, Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, write_csv
from fewframes.core.labelfile import Layer, read_fingerprints, write_label_file
from fewframes.core.labels import load_class_table
from fewframes.labelling import correctionfolder, corrections
from fewframes.labelling.correctionfolder import Correction, corrected_label, keep, read_corrections
from fewframes.labelling.corrections import import_corrections
from fewframes.labelling.exporting import image_hash
from fewframes.labelling.exporting.cvat import task_labels
from fewframes.labelling.exporting.driver import export

SIZE = (6, 8)
OWN = [("background", [0, 0, 0]), ("Way: side", [9, 9, 9]), ("car", [9, 9, 9]), ("#x 'y'", [1, 2, 3])]
"""Class id 0 is evaluated, nothing is ignored, colours are shared, and names that CVAT cannot hold."""
BASE = "aachen_000000"
BUILT_IN = ("cityscapes", "camvid", "idd", "idd-cityscapes")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "own.yaml"
    rows = [
        {"name": name, "id": i, "train_id": i, "rgb": rgb, "instances": i == 2} for i, (name, rgb) in enumerate(OWN)
    ]
    path.write_text(yaml.safe_dump({"minutes": {"fine": 1}, "offsets": [-5, 5], "classes": rows}))
    return {"own": load_class_table(path)} | {n: load_class_table(n) for n in BUILT_IN}


def exported(folder, form, classes, labels, offsets=(), kind="pseudo", name=BASE):
    """Export the labels, given by offset, of one clip; returns the folder."""
    root, results = folder / "data", folder / "results"
    clip = Clip(f"{BASE}_000019", "train", BASE, f"{name}_000019.png", f"{name}_{{frame:06d}}.png", 19, 1, -5, 5)
    write_clips(results / "index.csv", [clip])
    for offset, label in labels.items():
        (root / clip.image_at(offset)).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", label.shape[::-1]).save(root / clip.image_at(offset))
    file = f"{kind}/flow/labels/c.h5"
    write_label_file(results / file, {o: Layer(label, f"f{o}") for o, label in labels.items()}, {})
    rows = [[clip.id, o, file, *facts] for o, facts in read_fingerprints(results / file).items()]
    write_csv(results / kind / "flow/labels.csv", LABEL_COLUMNS, rows)
    out = folder / f"{form}-export"
    export(form, results / kind / "flow/labels.csv", results, root, classes, out, offsets=offsets)
    return out


def random_label(classes, seed):
    return np.random.default_rng(seed).choice([*range(len(classes.trained)), 255], SIZE).astype(np.uint8)


def png(path):
    return np.array(Image.open(path))


def repacked(source, target, change):
    """Write a zip anew; `change` turns a member's name and bytes into others, or into None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if (member := change(name, old.read(name))) is not None:
                new.writestr(*member)
    return target


def edited_png(content, change):
    pixels = np.array(Image.open(io.BytesIO(content)))
    change(pixels)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def city(tables):
    return tables["cityscapes"]


@pytest.fixture
def folder(tmp_path, city):
    """A Cityscapes-style export of three neighbours and the key frame."""
    return exported(tmp_path, "cityscapes", city, {o: random_label(city, o + 5) for o in (-1, 0, 1, 2)})


@pytest.fixture
def task(tmp_path, city):
    """A CVAT task of three neighbours."""
    return exported(tmp_path, "cvat", city, {o: random_label(city, o + 5) for o in (-1, 1, 2)})


def picture(folder, number, kind="labelIds"):
    return next(folder.rglob(f"{BASE}_{number:06d}_gtFine_{kind}.png"))


def take(package, exported_to, out, classes, **options):
    return import_corrections(package, exported_to, out, classes, **{"minutes": 2.5, "by": "Ann"} | options)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("table", ["own", *BUILT_IN])
@pytest.mark.parametrize("form", ["labelIds", "labelTrainIds", "cvat"])
def test_labels_come_back_unchanged(tmp_path, tables, table, form, data):
    classes = tables[table]
    values = st.sampled_from([*range(len(classes.trained)), 255])
    label = data.draw(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=values))
    for path in tmp_path.iterdir():
        shutil.rmtree(path)
    folder = exported(tmp_path, "cvat" if form == "cvat" else "cityscapes", classes, {1: label})
    package = folder / "annotations.zip" if form == "cvat" else folder
    if form == "labelTrainIds":
        for other in [*folder.rglob("*_labelIds.png"), *folder.rglob("*_color.png")]:
            other.unlink()
    done = take(package, folder, tmp_path / "out", classes)
    assert (done.changed, done.unchanged) == (0, 1) and not done.left_out.rows
    (correction,) = read_corrections(tmp_path / "out")
    back = png(tmp_path / "out" / correction.file)
    assert (back == classes.to_native_ids(label)).all()
    assert (classes.to_train_ids(back, "") == label).all()
    assert (corrected_label(tmp_path / "out", correction, classes) == label).all()


@pytest.mark.parametrize("table", BUILT_IN)
def test_colours_come_back_where_they_tell(tmp_path, tables, table):
    folder = exported(tmp_path, "cityscapes", tables[table], {1: random_label(tables[table], 1)})
    for other in folder.rglob("*Ids.png"):
        other.unlink()
    assert take(folder, folder, tmp_path / "out", tables[table]).unchanged == 1


def test_colours_that_do_not_tell_are_refused(tmp_path, tables):
    folder = exported(tmp_path, "cityscapes", tables["own"], {1: random_label(tables["own"], 1)})
    for other in folder.rglob("*Ids.png"):
        other.unlink()
    with pytest.raises(UserError, match="means both"):
        take(folder, folder, tmp_path / "out", tables["own"])


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds", "color"])
def test_an_edit_of_any_picture_is_exactly_that_edit(folder, tmp_path, city, kind):
    path = picture(folder, 20, kind)
    train = png(picture(folder, 20, "labelTrainIds"))
    train[2, 3:5] = np.where(train[2, 3:5] == 0, 13, 0)
    values = {"labelIds": city.to_native_ids(train), "labelTrainIds": train, "color": city.colour(train)}
    Image.fromarray(values[kind]).save(path)
    done = take(folder, folder, tmp_path / "out", city)
    assert (done.changed, done.unchanged) == (1, 2)
    corrections = {c.offset: c for c in read_corrections(tmp_path / "out")}
    assert (png(tmp_path / "out" / corrections[1].file) == city.to_native_ids(train)).all()
    assert corrections[1].changed == pytest.approx(100 * 2 / train.size)
    assert corrections[-1].changed == corrections[2].changed == 0


def test_an_edit_of_all_pictures_alike_leaves_nothing_to_compare_with(folder, tmp_path, city):
    train = np.zeros(SIZE, np.uint8)
    for kind, pixels in (("labelIds", city.to_native_ids(train)), ("labelTrainIds", train), ("color", None)):
        Image.fromarray(city.colour(train) if pixels is None else pixels).save(picture(folder, 20, kind))
    assert take(folder, folder, tmp_path / "out", city).changed == 1
    assert {c.offset: c.changed for c in read_corrections(tmp_path / "out")}[1] is None


def test_pictures_edited_differently_are_a_fault(folder, tmp_path, city):
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(picture(folder, 20))
    Image.fromarray(np.full(SIZE, 1, np.uint8)).save(picture(folder, 20, "labelTrainIds"))
    with pytest.raises(UserError, match="were changed and differ"):
        take(folder, folder, tmp_path / "out", city)


def test_a_cvat_review_in_its_own_order_and_colours(task, tmp_path, city):
    names = list(task_labels(city))
    recoloured = {name: [i + 100, 255 - i, 7] for i, name in enumerate(reversed(names))}
    old = [*task_labels(city).items(), ("background", (0, 0, 0))]

    def change(name, content):
        if name == "labelmap.txt":
            lines = [f"{n}:{r},{g},{b}::" for n, (r, g, b) in sorted(recoloured.items())] + ["background:0,0,0::"]
            return name, "# label:color_rgb:parts:actions\n" + "\n".join(lines)
        if name.startswith("SegmentationClass"):
            before = np.array(Image.open(io.BytesIO(content)))

            def repaint(pixels):
                for label, rgb in old:
                    pixels[(before == rgb).all(axis=2)] = recoloured.get(label, [0, 0, 0])
                if "000020" in name:
                    pixels[0, 0], pixels[0, 1] = recoloured["bus"], recoloured["(ignored)"]
                    pixels[0, 2] = 0

            return name, edited_png(content, repaint)
        return name, content

    package = repacked(task / "annotations.zip", tmp_path / "reviewed.zip", change)
    done = take(package, task, tmp_path / "out", city)
    assert (done.changed, done.unchanged) == (1, 2)
    correction = next(c for c in read_corrections(tmp_path / "out") if c.offset == 1)
    expected = city.to_native_ids(random_label(city, 6))
    expected[0, :3] = 28, 0, 0
    assert (png(tmp_path / "out" / correction.file) == expected).all()
    assert correction.tool == "cvat"


def test_a_folder_in_a_folder_and_other_spellings_of_letters(tmp_path, city):
    labels = {1: random_label(city, 1)}
    task = exported(tmp_path, "cvat", city, labels, name="Zürich 'é'")
    with zipfile.ZipFile(task / "annotations.zip") as archive:
        for name in archive.namelist():
            path = tmp_path / "unpacked" / "task 1" / unicodedata.normalize("NFD", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    (tmp_path / "unpacked/task 1/SegmentationClass/.DS_Store").write_text("x")
    done = take(tmp_path / "unpacked", task, tmp_path / "out", city)
    assert done.unchanged == 1
    assert done.left_out.rows == [("no label picture", "task 1/SegmentationClass/.DS_Store")]


def test_grey_and_palette_masks(task, tmp_path, city):
    rows = ["background", *task_labels(city)]

    def change(mode, name, content):
        if not name.startswith("SegmentationClass"):
            return name, content
        label = random_label(city, int(name[-6:-4]) - 19 + 5).astype(int)
        index = np.where(label == 255, 0, label + rows.index("road")).astype(np.uint8)
        image = Image.fromarray(index)
        if mode == "P":
            image = image.convert("P")
            image.putpalette([v for rgb in ((0, 0, 0), *task_labels(city).values()) for v in rgb])
        stream = io.BytesIO()
        image.save(stream, "png")
        return name, stream.getvalue()

    for mode in "LP":
        package = repacked(task / "annotations.zip", tmp_path / f"{mode}.zip", lambda *m, mode=mode: change(mode, *m))
        assert take(package, task, tmp_path / mode, city).unchanged == 3


def test_a_label_map_that_begins_with_a_class_does_not_tell_unlabelled_pixels(task, tmp_path, city):
    def change(name, content):
        if name == "labelmap.txt":
            lines = content.decode().splitlines()
            return name, "\n".join([lines[3], *lines[:3], *lines[4:]])
        if name.startswith("SegmentationClass"):
            return name, edited_png(content, lambda pixels: pixels.__setitem__((0, 0), (128, 64, 128)))
        return name, edited_png(content, lambda p: p.__setitem__((0, 0), 0)) if name.endswith("png") else content

    with pytest.raises(UserError, match="does not tell 'road' from pixels without a label"):
        take(repacked(task / "annotations.zip", tmp_path / "p.zip", change), task, tmp_path / "out", city)


def test_what_a_correction_knows(task, tmp_path, city):
    take(task / "annotations.zip", task, tmp_path / "out", city, imported=date(2026, 5, 4))
    correction = read_corrections(tmp_path / "out")[1]
    assert correction == Correction(
        clip=f"{BASE}_000019",
        offset=1,
        kind="pseudo",
        method="flow",
        fingerprint="f1",
        file=f"labels/{BASE}_000019_1-{correction.hash}.png",
        hash=content_hash(tmp_path / "out" / correction.file),
        classes=correction.classes,
        image_hash=image_hash(png(tmp_path / f"data/{BASE}_000020.png")),
        minutes=2.5,
        by="Ann",
        tool="cvat",
        imported="2026-05-04",
        changed=0.0,
    )
    assert (tmp_path / "out" / correction.classes).read_bytes() == (task / "classes.csv").read_bytes()


def test_without_the_unchanged_only_changes_are_kept_and_paid(folder, tmp_path, city):
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(picture(folder, 20))
    done = take(folder, folder, tmp_path / "out", city, keep_unchanged=False)
    assert (done.changed, done.unchanged) == (1, 0)
    assert [c.offset for c in read_corrections(tmp_path / "out")] == [1]
    assert ("unchanged", f"{BASE}_000018") in done.left_out.rows


def test_importing_again_updates_adds_and_never_loses(folder, tmp_path, city):
    out = tmp_path / "out"
    first, second = tmp_path / "first", tmp_path / "second"
    for package, number in ((first, 20), (second, 21)):
        package.mkdir()
        Image.fromarray(np.full(SIZE, 7, np.uint8)).save(package / f"{BASE}_{number:06d}_gtFine_labelIds.png")
    take(first, folder, out, city, imported=date(2026, 1, 1))
    take(second, folder, out, city, imported=date(2026, 1, 2))
    assert [c.offset for c in read_corrections(out)] == [1, 2]
    before = (out / "corrections.csv").read_bytes()
    take(first, folder, out, city, imported=date(2026, 1, 3))
    assert (out / "corrections.csv").read_bytes() == before
    done = take(folder, folder, out, city, minutes=1)  # as exported: an unchanged frame undoes no correction
    assert ("unchanged, and an earlier correction stays", f"{BASE}_000020") in done.left_out.rows
    assert [(c.offset, c.minutes) for c in read_corrections(out)] == [(-1, 1), (1, 2.5), (2, 2.5)]
    Image.fromarray(np.full(SIZE, 26, np.uint8)).save(first / f"{BASE}_000020_gtFine_labelIds.png")
    take(first, folder, out, city, by="Bob")
    corrections = {c.offset: c for c in read_corrections(out)}
    assert corrections[1].by == "Bob" and (png(out / corrections[1].file) == 26).all()
    assert set(corrections) == {-1, 1, 2} and not list(out.glob(".import*"))


def test_refined_labels_are_corrected_at_the_key_frame(tmp_path, city):
    folder = exported(tmp_path, "cvat", city, {0: random_label(city, 1)}, kind="refined")
    take(folder / "annotations.zip", folder, tmp_path / "out", city)
    assert [(c.offset, c.kind) for c in read_corrections(tmp_path / "out")] == [(0, "refined")]


def test_the_annotation_itself_is_not_corrected_here(folder, tmp_path, city):
    done = take(folder, folder, tmp_path / "out", city)
    assert ("a key frame, whose label is the annotation itself", f"{BASE}_000019") in done.left_out.rows
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(picture(folder, 19))
    with pytest.raises(UserError, match="correct it in the dataset"):
        take(folder, folder, tmp_path / "out", city)


def test_strangers_and_missing_are_counted_and_named(folder, tmp_path, city, capsys):
    for kind in ("labelIds", "labelTrainIds", "color"):
        picture(folder, 18, kind).rename(picture(folder, 18, kind).with_name(f"stranger_gtFine_{kind}.png"))
    (folder / "notes.txt").write_text("x")
    done = take(folder, folder, tmp_path / "out", city)
    reasons = dict(done.left_out.rows)
    assert reasons["not in export.csv"].endswith("stranger_gtFine_color.png")
    assert reasons["exported, but not in the package"] == f"{BASE}_000018"
    assert reasons["no label picture"] == "notes.txt"
    assert "1 left out: not in export.csv" in capsys.readouterr().err


def test_all_faults_in_one_go_and_nothing_imported(folder, tmp_path, city, capsys):
    for number, pixels in ((18, np.zeros((3, 3), np.uint8)), (20, np.full(SIZE, 99, np.uint8))):
        Image.fromarray(pixels).save(picture(folder, number))
    picture(folder, 21).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"has 3 faulty label pictures, the first: .*000018_gtFine_labelIds\.png is 3x3"
    ):
        take(folder, folder, tmp_path / "out", city)
    said = capsys.readouterr().err
    assert "000020_gtFine_labelIds.png holds label ids [99]" in said and "(it is empty)" in said
    assert not list((tmp_path / "out").rglob("*.png")) and not (tmp_path / "out/corrections.csv").exists()


def test_faults_in_a_zip_are_named_by_their_place_in_it(task, tmp_path, city):
    def unknown(name, content):
        return name, content.replace(b"road:", b"Strasse:") if name == "labelmap.txt" else content

    package = repacked(task / "annotations.zip", tmp_path / "p.zip", unknown)
    with pytest.raises(
        UserError, match=r"p\.zip/SegmentationClass/.*000020\.png has pixels of the labels \['Strasse'\]"
    ):
        take(package, task, tmp_path / "out", city)

    def damaged(name, content):
        return name, content[:60] if name.startswith("SegmentationClass") else content

    package = repacked(task / "annotations.zip", tmp_path / "q.zip", damaged)
    with pytest.raises(UserError, match=r"q\.zip/SegmentationClass/aachen_000000_000018\.png is "):
        take(package, task, tmp_path / "out", city)


def test_an_unknown_label_without_pixels_is_no_fault(task, tmp_path, city):
    def more(name, content):
        return name, content + b"tram: line:1,1,1::\n" if name == "labelmap.txt" else content

    package = repacked(task / "annotations.zip", tmp_path / "p.zip", more)
    assert take(package, task, tmp_path / "out", city).unchanged == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"road:1,1,1:", "is not name:r,g,b:parts:actions"),
        (b"road:128,64::", "is not name:r,g,b:parts:actions"),
        (b"tram:128,64,128::", r"means both 'road' and 'tram'"),
    ],
)
def test_bad_label_maps(task, tmp_path, city, line, said):
    def more(name, content):
        return name, content + line + b"\n" if name == "labelmap.txt" else content

    with pytest.raises(UserError, match=said):
        take(repacked(task / "annotations.zip", tmp_path / "p.zip", more), task, tmp_path / "out", city)


def test_bad_packages(task, tmp_path, city):
    def refused(package, said, **options):
        with pytest.raises(UserError, match=said):
            take(package, task, tmp_path / "out", city, **options)

    refused(tmp_path / "none.zip", "does not exist")
    (tmp_path / "text.zip").write_text("no zip")
    refused(tmp_path / "text.zip", "no intact zip")
    refused(task, "holds no label pictures")

    def without(name, content):
        return None if name == "labelmap.txt" else (name, content)

    refused(repacked(task / "annotations.zip", tmp_path / "p.zip", without), "0 files labelmap.txt")

    def renamed(name, content):
        return name.replace("aachen", "bonn"), content

    refused(repacked(task / "annotations.zip", tmp_path / "q.zip", renamed), "No frame in .* was exported")

    def twice(name, content):
        return (name if "000018" not in name else name.replace("000018", "000020").replace("Segm", "x/Segm")), content

    refused(repacked(task / "annotations.zip", tmp_path / "r.zip", twice), r"000020\.png is there twice")
    broken = bytearray((task / "annotations.zip").read_bytes())
    broken[200] ^= 255
    (tmp_path / "s.zip").write_bytes(broken)
    refused(tmp_path / "s.zip", r"s\.zip/Segmentation.*cannot be unpacked")
    refused(task / "annotations.zip", "--minutes is -1", minutes=-1)
    refused(task / "annotations.zip", "--by is empty", by=" ")
    with pytest.raises(UserError, match=r"has no export\.csv"):
        take(task / "annotations.zip", tmp_path, tmp_path / "out", city)


def test_corrections_that_are_not_as_imported(task, tmp_path, city):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"has no corrections\.csv"):
        read_corrections(out)
    take(task / "annotations.zip", task, out, city)
    file = out / read_corrections(out)[0].file
    content = file.read_bytes()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(file)
    with pytest.raises(UserError, match="is not as it was imported: restore it"):
        read_corrections(out)
    file.unlink()
    with pytest.raises(UserError, match="does not exist: restore it"):
        read_corrections(out)
    take(task / "annotations.zip", task, out, city)
    assert file.read_bytes() == content and len(read_corrections(out)) == 3
    meaning = out / read_corrections(out)[0].classes
    meaning.write_text(meaning.read_text().replace("road,7,", "road,8,"))
    with pytest.raises(UserError, match=r"classes/.*\.csv is not as it was imported: restore it"):
        read_corrections(out)
    take(task / "annotations.zip", task, out, city)
    assert len(read_corrections(out)) == 3
    listing = out / "corrections.csv"
    rows = listing.read_text()
    for changed, said in (
        (rows.replace("labels/", "../labels/"), "its file lies elsewhere"),
        (rows.replace("classes/", "/classes/"), "its file lies elsewhere"),
        (rows.replace(",2.5,", ",long,"), "is damaged"),
        (rows + rows.splitlines()[1] + "\n", "two rows of clip"),
        (rows.replace("minutes", "hours"), "no column 'minutes'"),
    ):
        listing.write_text(changed)
        with pytest.raises(UserError, match=said):
            read_corrections(out)


def table(folder, name, rows):
    """A class table of (name, id, train id) rows; colours go with the ids, `void` is the class called so."""
    listed = [{"name": n, "id": i, "train_id": t, "rgb": [i, i, 90]} for n, i, t in rows]
    facts = {"minutes": {}, "offsets": [-5, 5], "classes": listed}
    if any(n == "void" and t == 255 for n, _, t in rows):
        facts["void"] = "void"
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(facts))
    return load_class_table(folder / f"{name}.yaml")


@pytest.mark.parametrize("form", ["cityscapes", "cvat"])
def test_a_table_that_is_renumbered_reads_the_same_classes(tmp_path, form):
    before = table(tmp_path, "before", [("floor", 0, 0), ("box", 1, 1), ("void", 2, 255)])
    within = table(tmp_path, "within", [("void", 0, 255), ("floor", 2, 0), ("box", 1, 1)])
    after = table(tmp_path, "after", [("ball", 0, 0), ("box", 1, 1), ("floor", 2, 2), ("void", 3, 3)])
    label = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    folder = exported(tmp_path, form, before, {1: label})
    package = folder / "annotations.zip" if form == "cvat" else folder
    done = take(package, folder, tmp_path / "out", within)  # the table is edited while the review is out
    assert (done.changed, done.unchanged) == (0, 1)
    (correction,) = read_corrections(tmp_path / "out")
    for now in (before, within, after):
        floor, box = now.names.index("floor"), now.names.index("box")
        assert corrected_label(tmp_path / "out", correction, now).tolist() == [[floor, box, 255], [box, box, floor]]


def test_reviews_by_different_tables_lie_side_by_side(tmp_path):
    first = table(tmp_path, "first", [("floor", 0, 0), ("box", 1, 1)])
    second = table(tmp_path, "second", [("box", 0, 0), ("floor", 1, 1)])
    for number, classes in enumerate((first, second), 1):
        (tmp_path / str(number)).mkdir()
        folder = exported(tmp_path / str(number), "cityscapes", classes, {number: np.zeros((2, 2), np.uint8)})
        take(folder, folder, tmp_path / "out", classes)
    one, two = read_corrections(tmp_path / "out")
    assert (corrected_label(tmp_path / "out", one, first) == 0).all()
    assert (corrected_label(tmp_path / "out", two, first) == 1).all()


def test_a_class_that_is_gone_is_refused_where_it_has_pixels(tmp_path):
    before = table(tmp_path, "before", [("floor", 0, 0), ("box", 1, 1)])
    after = table(tmp_path, "after", [("floor", 0, 0), ("crate", 1, 1)])
    labels = {1: np.array([[0, 1]], np.uint8), 2: np.array([[0, 255]], np.uint8)}
    folder = exported(tmp_path, "cityscapes", before, labels)
    take(folder, folder, tmp_path / "out", before)
    one, two = read_corrections(tmp_path / "out")
    with pytest.raises(UserError, match=r"_1-.*\.png has pixels of \['box'\], which the class table 'after' lacks"):
        corrected_label(tmp_path / "out", one, after)
    assert (corrected_label(tmp_path / "out", two, after) == labels[2]).all()


def test_another_table_than_the_exports_is_refused(task, tmp_path, city, tables):
    with pytest.raises(UserError, match=r"another class table than 'camvid': its train id 0 is 'road', not 'sky'"):
        take(task / "annotations.zip", task, tmp_path / "out", tables["camvid"])
    (task / "classes.csv").unlink()
    with pytest.raises(UserError, match=r"classes\.csv does not exist"):
        take(task / "annotations.zip", task, tmp_path / "out", city)
    assert not (tmp_path / "out").exists()


def test_imports_at_once_lose_nothing(folder, tmp_path, city, monkeypatch):
    """Two have read their packages before either writes."""
    both = threading.Barrier(2, timeout=10)
    monkeypatch.setattr(corrections, "keep", lambda *given: (both.wait(), keep(*given))[1])
    faults = []

    def run(number):
        package = tmp_path / str(number)
        package.mkdir()
        shutil.copy(picture(folder, number), package)
        try:
            take(package, folder, tmp_path / "out", city)
        except Exception as error:  # a thread's own would be lost
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (20, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert [c.offset for c in read_corrections(tmp_path / "out")] == [1, 2]


def test_an_import_waits_until_the_other_has_written(task, tmp_path, city):
    out = tmp_path / "out"
    take(task / "annotations.zip", task, out, city)
    listing = (out / "corrections.csv").read_text()
    (out / "corrections.csv").unlink()
    second = threading.Thread(target=take, args=(task / "annotations.zip", task, out, city), kwargs={"by": "Bob"})
    with (out / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        second.join(0.5)
        assert second.is_alive() and not (out / "corrections.csv").exists()
        (out / "corrections.csv").write_text(listing.splitlines()[0] + "\n")
    second.join()
    assert [c.by for c in read_corrections(out)] == ["Bob"] * 3


def test_a_file_system_without_locks_is_named(task, tmp_path, city, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    take(task / "annotations.zip", task, tmp_path / "out", city)
    assert "cannot be locked (No locks available): let no two imports" in capsys.readouterr().err
    assert len(read_corrections(tmp_path / "out")) == 3


def test_what_a_killed_import_left_is_not_read(task, tmp_path, city):
    left = tmp_path / "out/.import-killed/labels"
    left.mkdir(parents=True)
    (left / f"{BASE}_000019_1.png").write_text("half a pict")
    take(task / "annotations.zip", task, tmp_path / "out", city)
    assert len(read_corrections(tmp_path / "out")) == 3


def test_an_import_that_is_killed_at_its_end_takes_nothing_away(task, tmp_path, city, monkeypatch):
    out = tmp_path / "out"
    take(task / "annotations.zip", task, out, city)
    before = read_corrections(out)
    file = correctionfolder.label_file(before[0].clip, before[0].offset, "other")

    def add():
        with correctionfolder.beside(out) as aside:
            (aside / "labels").mkdir()
            shutil.copytree(out / "classes", aside / "classes")
            Image.new("L", SIZE[::-1], 7).save(aside / file)
            new = replace(before[0], file=file, hash=content_hash(aside / file), changed=5.0)
            keep({"new": new}, aside, out)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(correctionfolder, "write_csv", killed)
        add()
    assert read_corrections(out) == before
    add()
    assert read_corrections(out)[0].file == file and not (out / before[0].file).exists()
