"""The report in a browser: opened from disk, without a network, at the widths of a screen and of a phone."""

import re
import shutil
from pathlib import Path

import pytest

from fewframes.reporting.printing import GAP

driver = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
STYLE = Path(__file__).parents[3] / "src/fewframes/reporting/site/report.css"
SCREEN, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Visit:
    """An opened report, and what it asked for and complained of."""

    def __init__(self, chromium, path, viewport, **given):
        self.context = chromium.new_context(viewport=viewport, offline=True, **given)
        self.page = self.context.new_page()
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())
        self.page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")

    def style(self, selector, name):
        return self.page.eval_on_selector(selector, f"(e) => getComputedStyle(e).{name}")

    def table(self, title):
        """The table below a heading."""
        return self.page.locator(".table", has=self.page.get_by_role("heading", name=title)).locator("table")

    def column(self, table, heading):
        """The texts of a column's cells, and its heading."""
        heads = table.locator("thead th")
        place = next(i for i in range(heads.count()) if heads.nth(i).inner_text().startswith(heading))
        cells = table.locator(f"tbody tr > :nth-child({place + 1})").all_text_contents()
        return cells, heads.nth(place)


@pytest.fixture(scope="module")
def report(whole, tmp_path_factory):
    """The report of the whole study, taken to another folder."""
    whole.write()
    return shutil.copytree(whole.results, tmp_path_factory.mktemp("taken") / "toy") / whole.page.name


@pytest.fixture
def visit(chromium, report):
    """Open the report; at the end nothing may have gone wrong."""
    visits = []

    def opened(viewport=SCREEN, **given):
        visits.append(Visit(chromium, report, viewport, **given))
        return visits[-1]

    yield opened
    for one in visits:
        one.context.close()
    assert [one.complaints for one in visits] == [[] for _ in visits]
    assert {url for one in visits for url in one.asked if not url.startswith("data:")} == {report.as_uri()}


def test_it_opens_from_disk_and_every_picture_loads(visit):
    page = visit().page
    assert page.title() == "Fewframes: toy"
    sizes = page.evaluate("[...document.images].map((i) => [i.naturalWidth, i.clientWidth])")
    assert len(sizes) == 5 + 6 * 3 and all(there and shown for there, shown in sizes)


def test_a_click_sorts_by_number_and_gaps_stay_last(visit):
    visit = visit()
    table = visit.table("Table 1")
    before, head = visit.column(table, "mIoU")
    assert GAP in before and head.get_attribute("aria-sort") == "none"
    numbers = sorted(float(text.split()[0]) for text in before if text != GAP)
    gaps = [GAP] * before.count(GAP)
    for direction, expected in (("ascending", numbers), ("descending", numbers[::-1])):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        after, _ = visit.column(table, "mIoU")
        assert [float(text.split()[0]) for text in after if text != GAP] == expected
        assert after[len(expected) :] == gaps
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none" and visit.column(table, "mIoU")[0] == before


def test_the_keyboard_sorts_and_one_column_at_a_time(visit):
    visit = visit()
    table = visit.table("Pseudo-labels by distance")
    distances, head = visit.column(table, "Frames away")
    head.get_by_role("button").focus()
    for _ in range(2):
        visit.page.keyboard.press("Enter")
    assert visit.column(table, "Frames away")[0] == distances[::-1] == ["10", "2", "1"]
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Space")
    sorts = table.locator("thead th").evaluate_all("(all) => all.map((e) => e.ariaSort)")
    assert sorts[1:3] == ["none", "ascending"] and sorts.count("none") == len(sorts) - 1


def test_words_are_sorted_as_people_count(visit):
    visit = visit()
    table = visit.table("Table 3")
    visit.page.locator(".hide-gaps").nth(1).uncheck()
    names, head = visit.column(table, "ID")
    head.get_by_role("button").click()
    after = visit.column(table, "ID")[0]
    shares = [int(name.split()[0]) for name in after if re.match(r"\d+ % coarse$", name)]
    assert shares == sorted(shares) and len(shares) > 8 and sorted(after) == sorted(names)


def test_rows_that_were_not_run_are_hidden_until_asked_for(visit):
    visit = visit()
    rows = visit.table("Table 1").locator("tbody tr")
    every, seen = rows.count(), rows.filter(visible=True).count()
    assert 0 < seen < every
    option = visit.page.get_by_label(f"Hide the {every - seen} of {every} rows")
    option.uncheck()
    assert rows.filter(visible=True).count() == every


def test_a_figure_is_enlarged_and_closed_by_the_keyboard(visit):
    page = visit().page
    button = page.locator(".enlarge").first
    button.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog img")
    assert large.is_visible() and large.get_attribute("alt") == button.locator("img").get_attribute("alt")
    page.keyboard.press("Escape")
    assert not large.is_visible() and button.evaluate("(e) => document.activeElement === e")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(visit, scheme):
    page = visit(PHONE, color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [390, 390]
    # What is wider has a part of its own to scroll in.
    wide = page.evaluate("""[...document.querySelectorAll("main *, header *, nav *")]
        .filter((e) => !e.closest(".scroll, pre") && e.getBoundingClientRect().right > 390.5)
        .map((e) => e.outerHTML)""")
    assert wide == []
    sizes = page.evaluate("""[...document.querySelectorAll("p, dd, td, summary, figcaption, a")]
        .filter((e) => e.textContent.trim()).map((e) => parseFloat(getComputedStyle(e).fontSize))""")
    assert min(sizes) >= 13
    # 24 pixels are what WCAG 2.2 asks of a target at level AA.
    assert min(link.bounding_box()["height"] for link in page.locator("nav a").all()) >= 24


def test_links_lead_to_their_sections(visit):
    page = visit().page
    for link in page.locator("nav a").all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        page.wait_for_function(
            "(e) => Math.abs(e.getBoundingClientRect().top) < innerHeight", arg=target.element_handle()
        )


def test_paper_shows_what_is_folded_and_hides_what_can_be_pressed(visit):
    visit = visit()
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.locator("#config pre").is_visible() and not visit.page.locator("nav").is_visible()
    assert visit.style("body", "backgroundColor") == "rgb(255, 255, 255)"


def test_a_script_among_the_results_does_not_run(chromium, made):
    gallery = made.results / "figures" / "labels-flow.html"
    evil = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    gallery.write_text(gallery.read_text().replace("<figcaption>", f"<figcaption>{evil}"))
    made.write()
    visit = chromium.new_page()
    visit.goto(made.page.as_uri())
    assert visit.title() == "Fewframes: toy"
    visit.close()


def luminance(colour):
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_in_light_and_dark(visit):
    schemes = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)[:2]
    pages = []
    for scheme, name in zip(schemes, ("light", "dark"), strict=True):
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", scheme))
        for ground in ("page", "soft"):
            for text in ("ink", "quiet", "link", "held", "failed", "open", "manual"):
                low, high = sorted(luminance(colours[place]) for place in (text, ground))
                # 4.5 is what WCAG 2.2 asks of text at level AA.
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, text, ground)
        shown = visit(color_scheme=name).style("body", "backgroundColor")
        assert shown == "rgb({}, {}, {})".format(*(int(colours["page"][i : i + 2], 16) for i in (1, 3, 5)))
        pages.append(shown)
    assert len(set(pages)) == 2
