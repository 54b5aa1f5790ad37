"""The web page in a real browser, headless: the form, the answer, faults, keys, and that nothing leaves the server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, sync_playwright

from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.serving.openapi import openapi

CHROMIUM = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium: apt-get install chromium"),
]
HOSTILE = [
    "<img src=x onerror=document.title='broken'>",
    "__proto__",
    "7",
    "'\"><script>document.title=1</script>",
    "`",
]
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20) | st.sampled_from(HOSTILE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # No sandbox: the tests may run as root in a container, and open nothing but the server's own page.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(served: Any, serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "keys.txt").write_text("secret\n")
    with serving(served.bundle, folder, "--api-keys", "keys.txt") as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def open_page(browser: Browser, server: Any) -> Iterator[Callable[..., Page]]:
    """Opens the page with the key; at the end, it has asked no other host, and neither script nor policy failed."""
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(10_000)
    requests: list[str] = []
    complaints: list[str] = []

    def open_it(key: str | None = "secret", path: str = "/") -> Page:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(server.url + path)
        if key is not None:
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use this key").click()
            page.locator("#fields > *").first.wait_for()
        return page

    yield open_it
    context.close()
    assert requests
    assert [url for url in requests if not url.startswith(f"{server.url}/")] == []
    # The browser itself notes the statuses that are tested here.
    expected = ("status of 401", "status of 422")
    assert [line for line in complaints if not any(status in line for status in expected)] == []


def test_a_row_is_predicted(served: Any, server: Any, open_page: Callable[..., Page]) -> None:
    page = open_page()
    assert page.title() == "Predictions of dear"
    assert [label.inner_text() for label in page.locator("#fields label").all()] == list(served.rows[0])
    row = {"size": 0.25, "color": "blue", "rooms": None, "sold": "2024-06-15"}
    page.get_by_label("size", exact=True).fill("0.25")
    page.get_by_label("color", exact=True).select_option("blue")
    page.get_by_label("rooms", exact=True).fill("")
    page.get_by_label("sold", exact=True).fill("2024-06-15")
    with page.expect_response("**/predict") as asked:
        page.get_by_role("button", name="Predict").click()
    answer = asked.value.json()
    assert asked.value.request.post_data_json == row

    shown = page.get_by_role("status")
    assert shown.get_by_role("heading").inner_text() == str(answer["prediction"]).lower()
    bars = {
        bar.locator("th").inner_text(): (bar.locator("td").last.inner_text(), bar.locator(".bar").bounding_box())
        for bar in shown.locator(".bars tr").all()
    }
    for name, probability in answer["probabilities"].items():
        text, box = bars[name]
        assert float(text.rstrip("%")) == pytest.approx(100 * probability, abs=0.006)
        assert box is not None
        assert box["width"] > 0
    widths = [box["width"] for _, box in bars.values() if box is not None]
    assert widths[0] / sum(widths) == pytest.approx(max(answer["probabilities"].values()), abs=0.02)
    assert answer["model_version"] in shown.inner_text()
    assert page.locator("#card h2").inner_text() == "Houses"


def test_a_new_category_can_be_written_and_the_sample_comes_back(open_page: Callable[..., Page]) -> None:
    page = open_page()
    before = page.evaluate("[...document.querySelectorAll('#fields input, #fields select')].map((x) => x.value)")
    page.get_by_label("color", exact=True).select_option("another …")
    page.keyboard.type("never seen")
    with page.expect_response("**/predict") as asked:
        page.keyboard.press("Enter")
    assert asked.value.status == 200
    assert json.loads(asked.value.request.post_data or "")["color"] == "never seen"
    page.get_by_role("button", name="Back to the sample row").click()
    page.get_by_label("another value").wait_for(state="hidden")
    after = page.evaluate("[...document.querySelectorAll('#fields input, #fields select')].map((x) => x.value)")
    assert after == before


def test_a_fault_stands_at_its_field(open_page: Callable[..., Page]) -> None:
    page = open_page()
    field = page.get_by_label("rooms", exact=True)
    field.fill("many")
    page.get_by_role("button", name="Predict").click()
    page.locator(".field .fault", has_text="expected a number, got 'many'").wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == field.get_attribute("id")
    field.fill("1000")
    assert field.get_attribute("aria-invalid") is None
    assert page.locator(".beyond", has_text="Training has seen no such number.").count() == 1


def test_a_wrong_key_is_asked_for_again(open_page: Callable[..., Page]) -> None:
    page = open_page(key=None)
    for key in ("wrong", "secret"):
        page.get_by_label("API key").fill(key)
        page.get_by_label("API key").press("Enter")
        page.locator("#key-fault:not(:empty)" if key == "wrong" else "#fields > *").first.wait_for()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_files_that_need_the_key_come_with_it(open_page: Callable[..., Page]) -> None:
    page = open_page(key=None)
    page.locator("#key").wait_for()
    page.get_by_role("link", name="Metrics").click()
    page.locator("#key-fault", has_text="Metrics needs an API key.").wait_for()
    page.get_by_label("API key").fill("secret")
    page.get_by_label("API key").press("Enter")
    page.locator("#fields > *").first.wait_for()
    for link, name, begins in (("openapi.json", "openapi.json", '{"openapi":'), ("Metrics", "metrics.txt", "# HELP ")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert download.value.suggested_filename == name
        assert Path(download.value.path()).read_text(encoding="utf-8").startswith(begins)


def test_docs_lead_to_commands_that_can_be_copied(open_page: Callable[..., Page]) -> None:
    page = open_page(path="/docs")
    assert page.url.endswith("/#api")
    page.locator("summary", has_text="POST /predict").click()
    command = page.locator("#operations pre", has_text="/predict' -H").first.inner_text()
    assert '-H "Authorization: Bearer $KEY"' in command
    assert "secret" not in page.content()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    classes=st.lists(NAMES.filter(lambda name: name == name.strip()), min_size=2, max_size=5, unique=True),
)
def test_names_are_text_whatever_they_are(open_page: Any, columns: list[str], classes: list[str]) -> None:
    target = Column("".join(columns) + "!", Kind.CATEGORICAL, Role.TARGET)
    features = tuple(Column(name, Kind.CATEGORICAL, reason=name) for name in columns)
    card = "".join(f"# {name}\n\n{name}\n\n- {name}\n\n| a |\n|---|\n| {name} |\n\n" for name in columns)
    document = openapi(
        Schema((*features, target), Task(TaskKind.MULTICLASS, (target.name,), tuple(classes))),
        sample=dict.fromkeys(columns, classes[0]),
        ranges={},
        categories=dict.fromkeys(columns, classes),
        version="1",
        model_name=classes[0],
        model_version=classes[1],
        card=card,
    )
    shares = dict.fromkeys(classes, 1 / len(classes))
    answer = {"prediction": classes[0], "probabilities": shares, "confidence": 0.5, "model_version": classes[0]}
    page = open_page()
    page.route("**/openapi.json", lambda route: route.fulfill(json=document))
    page.route("**/predict", lambda route: route.fulfill(json=answer))
    page.goto(page.url)
    page.locator("#fields > *").first.wait_for()
    with page.expect_request("**/predict") as asked:
        page.get_by_role("button", name="Predict").click()
    page.locator("#answer table").wait_for()
    labels = page.evaluate("[...document.querySelectorAll('#fields label')].map((label) => label.textContent)")
    names = page.evaluate("[...document.querySelectorAll('.bars th')].map((name) => name.textContent)")
    assert labels == columns
    assert sorted(names) == sorted(classes)
    assert json.loads(asked.value.post_data or "") == dict.fromkeys(columns, classes[0])
    assert page.locator("img, body script, iframe").count() == 0
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_nothing_is_wider_than_the_window(
    browser: Browser, server: Any, scheme: Any, width: int, tmp_path: Path
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(server.url)
    page.get_by_label("API key").fill("secret")
    page.get_by_label("API key").press("Enter")
    page.get_by_role("button", name="Predict").click()
    page.locator("#answer table").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    context.close()
