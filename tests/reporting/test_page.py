"""The page of a report: what is on it, and how Chromium shows it."""

import base64
import dataclasses
import html.parser
import importlib.metadata
import importlib.util
import re
import shutil

import numpy as np
import pytest

from sassn_jax.data.statistics import LabelCounts
from sassn_jax.errors import InputError
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import score_run
from sassn_jax.reporting import page
from sassn_jax.reporting.collecting import summarize_run

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jinja2", "matplotlib")),
    reason="needs the extra `report`",
)
ODD_NAMES = ("<script>alert(1)</script>", "[bold]&amp;", "$größe_照片$", "a" * 200)
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Parsed(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]


@pytest.fixture(scope="module")
def summary(small_run):
    return summarize_run(small_run, "first <run>")


@pytest.fixture(scope="module")
def odd(summary):
    """The same run as if its classes had odd names and its config another seed."""
    names = (*ODD_NAMES, *summary.info.class_names[len(ODD_NAMES) :])
    info = dataclasses.replace(summary.info, class_names=names)
    fields = {**summary.fields, "seed": 7}
    return dataclasses.replace(summary, name="second [run]", info=info, fields=fields)


@pytest.fixture(scope="module")
def two_runs(summary, odd):
    return page.render([summary, odd])


def test_the_scores_are_those_of_evaluate(small_run, summary):
    expected = score_run(load_run(small_run), "test")
    assert summary.matrix.summary(summary.info.class_names)["iou"] == expected["iou"]
    parsed = Parsed(page.render([summary]))
    assert f"mIoU {100 * expected['miou']:.1f}%" in parsed.text
    for name, iou in expected["iou"].items():
        assert f"{name} {100 * iou:.1f}%" in parsed.text if iou is not None else name in parsed.text


def test_images_are_ranked_by_their_own_miou(small_run, summary):
    run = load_run(small_run)
    source, expected = run.dataset.splits["test"], {}
    for index in range(len(source)):
        example = source[index]
        truth, guess = example["label"], run.predict(example["image"]).ids
        union = [np.sum((truth == c) | (guess == c)) for c in range(run.info.num_classes)]
        hits = [np.sum((truth == c) & (guess == c)) for c in range(run.info.num_classes)]
        ious = [hit / both for hit, both in zip(hits, union, strict=True) if both]
        expected[example["id"]] = np.mean(ious)
    ranked = sorted(expected, key=expected.get, reverse=True)
    assert [image.id for image in summary.best] == ranked[:3]
    assert [image.id for image in summary.worst] == ranked[:2:-1]
    for image in (*summary.best, *summary.worst):
        assert image.miou == pytest.approx(expected[image.id])
        assert len(image.pictures) == 4  # D's confidence among them


def test_the_page_has_all_sections_and_loads_nothing(summary):
    text = page.render([summary])
    parsed = Parsed(text)
    ids = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    parts = ("health", "data", "curves", "classes", "confusion", "images", "config")
    assert {f"run-1-{part}" for part in parts} <= ids
    assert "train, labelled 4 images train, unlabelled 28 images val 3 images" in parsed.text
    assert re.search(r"Loss of the discriminator: [\d.]+\. \(loss/discriminator\)", parsed.text)
    assert "after stage 4" in parsed.text or "alpha/attention4" not in parsed.text
    assert f"sassn_jax {importlib.metadata.version('sassn_jax')}" in parsed.text
    assert re.search(r"trained until 20\d\d-\d\d-\d\d\.", parsed.text)
    assert "The command that began" not in parsed.text  # it was begun from Python
    assert "mIoU on val over the steps" not in text  # one evaluation is no curve
    assert "crop_size (32, 48)" in parsed.text
    links = [attributes["href"] for attributes in parsed.all("a")]
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    loaded = [
        attributes[name]
        for _, attributes in parsed.tags
        for name in ("src", "srcset", "href")
        if name in attributes and not attributes[name].startswith("#")
    ]
    assert all(address.startswith("data:") for address in loaded)
    assert "http:" not in text
    assert "https:" not in text
    assert all(image["alt"] for image in parsed.all("img"))
    assert len(text.encode()) < page.LIMIT


def test_few_images_come_with_the_difference_that_means_nothing(summary):
    mious = np.array([0.2, 0.3, 0.1, 0.4])
    few = dataclasses.replace(summary, image_mious=tuple(mious), command="sassn train --x='a b'")
    error = np.sqrt(((mious - mious.mean()) ** 2).sum() / 3) / 2
    text = Parsed(page.render([few])).text
    points = int(np.ceil(100 * 2 * error))
    assert "4 images are few" in text
    assert (
        f"a difference of up to about {points} points of mIoU between two runs means nothing"
        in text
    )
    assert "sassn train --x='a b'" in text
    many = dataclasses.replace(summary, image_mious=(0.1, 0.9) * 15)
    assert "are few" not in Parsed(page.render([many])).text


def test_shares_are_of_all_pixels_as_inspect_counts_them(summary):
    pixels = summary.matrix.counts.sum(axis=1)
    other = dataclasses.replace(summary, ignored=int(pixels.sum()))
    classes = page._classes(other)
    for of_class, count in zip(classes, pixels, strict=True):
        assert of_class["scored"] == f"{50 * count / pixels.sum():.1f}%"
    labeled = summary.labeled
    for of_class, count in zip(classes, labeled.pixels, strict=True):
        assert of_class["labeled"] == f"{100 * labeled.share(count):.1f}%"


def test_several_runs_are_compared(two_runs):
    text = Parsed(two_runs).text
    assert "seed 0 7" in text
    assert "The runs have different classes" in text


def test_the_highest_of_several_is_marked(summary):
    """Of two runs with the same classes, in the table of results and in that of the classes."""
    counts = np.array(summary.matrix.counts)
    counts[0] = [counts[0].sum(), *np.zeros(len(counts) - 1, int)]  # one class all right
    other = dataclasses.replace(summary, name="other", matrix=ConfusionMatrix(counts))
    text = page.render([summary, other])
    ious = [run.matrix.iou() for run in (summary, other)]
    expected = 1 + sum(f"{100 * a:.1f}" != f"{100 * b:.1f}" for a, b in zip(*ious, strict=True))
    marked = re.findall(r"<mark>([\d.]+)%</mark>", text)
    assert len(marked) == expected
    assert marked[0] == f"{100 * max(run.matrix.miou() for run in (summary, other)):.1f}"
    assert "<mark>" not in page.render([summary])


def test_many_classes_and_long_curves_leave_room_for_three_runs(summary):
    """A run of 20 classes with 20,000 lines of metrics, and noise for photos."""
    rng = np.random.default_rng(0)
    names = tuple(f"class {number}" for number in range(20))
    colors = rng.integers(0, 256, (20, 3)).astype(np.uint8)
    keys = summary.rows[-2].keys() | {"val/miou"}
    noise = np.tile(rng.random(2000), 10)
    photo = rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    mask = colors[rng.integers(0, 20, (30, 40))].repeat(10, axis=0).repeat(10, axis=1)
    images = tuple(
        dataclasses.replace(image, pictures=(photo, mask, mask, photo))
        for image in (*summary.best, *summary.best)
    )
    run = dataclasses.replace(
        summary,
        info=dataclasses.replace(summary.info, class_names=names, palette=colors),
        labeled=LabelCounts.empty(20),
        rows=tuple(dict.fromkeys(keys, x) | {"step": i} for i, x in enumerate(noise)),
        matrix=ConfusionMatrix(rng.integers(0, 10**6, (20, 20))),
        best=images[:3],
        worst=images[3:],
    )
    assert len(page.render([run]).encode()) < page.LIMIT / 3


def test_names_are_shown_as_they_are(two_runs):
    parsed = Parsed(two_runs)
    assert not parsed.all("script")
    for name in (*ODD_NAMES, "first <run>", "second [run]"):
        assert name in parsed.text


def test_mistakes_are_one_line_before_anything_is_scored(small_run, tmp_path, monkeypatch):
    for name in ("absent/report.html", "report.png", "report"):
        with pytest.raises(InputError, match=r"output=.*expected a name that ends in .html"):
            page.write_report([small_run], tmp_path / name)
    with pytest.raises(InputError, match="is given twice"):
        page.write_report([small_run, small_run], tmp_path / "report.html")
    with pytest.raises(InputError, match=r"no config\.json; expected the workdir of a run"):
        page.write_report([tmp_path], tmp_path / "report.html")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sassn_jax\[report\]'"):
        page.write_report([small_run], tmp_path / "report.html")
    assert not list(tmp_path.glob("*.html"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(word)
    service = webdriver.ChromeService(executable_path=CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def brightness(driver):
    """The mean of the page's first screen, 0-255."""
    import io

    from PIL import Image

    content = base64.b64decode(driver.get_screenshot_as_base64())
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).mean()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_chromium_shows_it(browser, two_runs, tmp_path, width, theme):
    (tmp_path / "report.html").write_text(two_runs, encoding="utf-8")
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((tmp_path / "report.html").as_uri())
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut_off = (
        "return [...document.querySelectorAll('.stacked')]"
        ".filter(table => table.scrollWidth > table.parentElement.clientWidth).length"
    )
    assert browser.execute_script(cut_off) == 0
    broken = "return [...document.images].filter(image => !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.get_log("browser") == []
    assert brightness(browser) > 150 if theme == "light" else brightness(browser) < 100


def test_the_keyboard_reaches_links_tables_and_details(browser, two_runs, tmp_path):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    (tmp_path / "report.html").write_text(two_runs, encoding="utf-8")
    browser.get((tmp_path / "report.html").as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(x => { x.open = true })")
    reachable = "a[href], summary, [tabindex='0']"
    count = browser.execute_script(f'return document.querySelectorAll("{reachable}").length')
    reached = []
    while len({element.id for element in reached}) < count and len(reached) < count + 5:
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.switch_to.active_element)
    assert reached[0].get_attribute("href").endswith("#content")  # the skip link
    assert len({element.id for element in reached}) == count
