"""The report in a browser: `make test-browser` runs these, `make test` does not."""

import base64
import json
import shutil

import pytest

from mlu.report.__main__ import main
from tests.support.made_runs import draw, fail, leave, metrics_of

pytestmark = pytest.mark.browser
LABELS = (*(f"Label_{number}_with_a_long_name" for number in range(9)), "Male")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Address of a page with every picture and wide tables."""
    folder = tmp_path_factory.mktemp("runs")
    for place, name in enumerate(("wp", "wf", "head", "salun", "scrub")):
        for seed in (1, 2, 3):
            metrics = metrics_of(
                retained=0.8 + place / 50 + seed / 500, excess=place / 50, labels=LABELS
            )
            draw(
                leave(
                    folder / f"{name}{seed}", metrics, method=name, seed=seed, seconds=3.0 + place
                ),
                LABELS,
            )
    for number, phi in enumerate((0.02, 0.1, 0.3)):
        metrics = metrics_of(retained=0.9 - phi, labels=LABELS)
        draw(
            leave(folder / f"grid{number}", metrics, phi=phi, epsilon=0.5, correlation=0.5), LABELS
        )
    fail(folder / "lost", error="<img src=x onerror=alert(1)>", method="unsir")
    assert main([str(folder), "--out", str(folder / "out")]) == 0
    return (folder / "out" / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium with its console's log."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    driver = shutil.which("chromedriver")
    assert driver, "no chromedriver: make test-browser installs it"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    yield chromium
    chromium.quit()


@pytest.fixture
def opened(browser, page):
    """Opens the page as on a screen of a width, height and scheme."""

    def at(width=1400, height=1000, scheme="light", mobile=False):
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for log in ("browser", "performance"):
            browser.get_log(log)  # what stands in it is of the page before
        browser.get(page)
        return browser

    return at


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_error_is_logged_and_nothing_is_asked_of_the_network(opened, page, scheme):
    browser = opened(scheme=scheme)
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert page in asked
    assert [url for url in asked if url != page and not url.startswith("data:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_pictures_are_there(opened, scheme):
    browser = opened(scheme=scheme)
    sizes = browser.execute_async_script(
        "const done = arguments[0], all = [...document.images];"
        "Promise.all(all.map((image) => image.decode())).then("
        "  () => done(all.map((image) => [image.naturalWidth, image.naturalHeight,"
        "    image.currentSrc.slice(0, 14)])),"
        "  (fault) => done(String(fault)));"
    )
    assert len(sizes) >= 10
    assert all(
        width > 100 and height > 50 and start == "data:image/svg" for width, height, start in sizes
    )


def test_dark_pictures_have_another_ink(opened):
    first = "return document.images[0].currentSrc"
    light, dark = (opened(scheme=scheme).execute_script(first) for scheme in ("light", "dark"))
    assert light != dark
    assert b"#e4e8ee" in base64.b64decode(dark.split(",")[1])


def column(browser, number):
    """Numbers of a column of the first table, as they stand; None for a dash."""
    return browser.execute_script(
        "return [...document.querySelector('table').tBodies[0].rows].map((row) => {"
        "  const text = row.cells[arguments[0]].dataset.sort;"
        "  return text === '' ? null : Number(text); })",
        number,
    )


def in_order(found, descending=False):
    """Whether numbers are in order, and what is missing below them."""
    known = [value for value in found if value is not None]
    return found == sorted(known, reverse=descending) + [None] * (len(found) - len(known))


def test_a_header_sorts_by_click_and_by_key(opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened()
    header, other = browser.find_elements("css selector", "table thead button")[1:3]
    assert not in_order(column(browser, 1))
    header.click()
    assert in_order(column(browser, 1))
    assert (
        browser.find_elements("css selector", "thead th")[1].get_attribute("aria-sort")
        == "ascending"
    )
    header.send_keys(Keys.ENTER)
    assert in_order(column(browser, 1), descending=True)
    assert None in column(browser, 1)
    other.send_keys(Keys.SPACE)
    assert in_order(column(browser, 2))
    assert browser.find_elements("css selector", "thead th")[1].get_attribute("aria-sort") == "none"


def test_rows_keep_their_cells_when_they_are_sorted(opened):
    browser = opened()
    cells = (
        "return [...document.querySelector('table').tBodies[0].rows].map((row) => row.innerText)"
    )
    before = browser.execute_script(cells)
    browser.find_elements("css selector", "table thead button")[4].click()
    after = browser.execute_script(cells)
    assert sorted(after) == sorted(before)
    assert after != before


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 640), (820, 1180), (1400, 1000)])
def test_tables_scroll_in_their_boxes_and_the_page_does_not(opened, width, height):
    browser = opened(width, height, mobile=width < 800)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.box')]"
        ".map((box) => [box.scrollWidth, box.clientWidth])"
    )
    assert width > 800 or any(inside > outside for inside, outside in boxes)


def test_headers_and_methods_stay_in_sight(opened):
    browser = opened(390, 844, mobile=True)
    places = browser.execute_script(
        "const box = document.querySelector('.box');"
        "box.style.maxHeight = '200px'; box.scrollTo(150, 150);"
        "const at = (name) => box.querySelector(name).getBoundingClientRect(),"
        "edge = box.getBoundingClientRect();"
        "return [box.scrollLeft, box.scrollTop,"
        "at('thead th').left - edge.left, at('thead th').top - edge.top,"
        "        at('tbody th').left - edge.left];"
    )
    assert places[:2] == [150, 150]
    assert places[2:] == pytest.approx([1, 1, 1], abs=1)


def test_it_prints(opened):
    printed = opened().execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert len(content) > 50_000
