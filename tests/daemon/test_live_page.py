"""The live page in a real browser, by what a person sees of it."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.access import PASSWORD, users_text
from tests.support.http_client import ask, port_of
from tests.support.ports import quiet_port
from tests.support.processes import Daemon, StartDaemon, wait_for

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
EVIL = "<script>document.title = 'owned'</script><b>bold</b>"


class Page:
    """What is shown."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def text(self, part: str) -> str:
        """Of the part with an id."""
        return str(self.driver.execute_script("return document.getElementById(arguments[0]).innerText", part))

    def rows(self) -> dict[str, str]:
        """Keys and values, as they are shown."""
        script = (
            "return [...document.querySelectorAll('#keys tr')].map(row => [...row.cells].map(cell => cell.innerText))"
        )
        return {key: value for key, value, _ in self.driver.execute_script(script)}

    def wait(self, what: str, condition: object) -> None:
        wait_for(what, condition)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that is found again where it was."""
    options = ("--http", f"127.0.0.1:{quiet_port()}", "--http-write", "--fsync", "no")
    daemon = Daemon(tmp_path_factory.mktemp("page") / "data", options)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile: Path = tmp_path_factory.mktemp("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                     "--disable-background-networking", "--disable-component-update"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, served: Daemon) -> Iterator[Page]:
    """Opened anew, and live; the browser has nothing to complain of."""
    with served.connect() as peer:
        for prefix in ("app/*", "bin", "other", "elsewhere"):
            peer.ask(f"DEL {prefix}")
        peer.send("SET app/one 1\nSET app/two 2\nSET other x\n")
        peer.lines(3)
    browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{port_of(served)}/")
    found = Page(browser)
    found.wait("the page", lambda: found.text("status") == "live")
    yield found
    said = [entry["message"] for entry in browser.get_log("browser") if "net::ERR" not in entry["message"]]
    assert not [line for line in said if "Content Security Policy" in line or "Uncaught" in line], said


def test_keys_are_shown_and_change_as_they_are_written(page: Page, served: Daemon) -> None:
    assert page.rows() == {"app/one": "1", "app/two": "2", "other": "x"}
    with served.connect() as peer:
        peer.send(f"SET app/one 11\nDEL other\nSET app/new {EVIL}\nPUT bin base64 = AAEC\n")
        peer.lines(4)
        wanted = {"app/new": EVIL, "app/one": "11", "app/two": "2", "bin": "binary, 3 bytes"}
        page.wait("the changes", lambda: page.rows() == wanted)
        assert "DEL" in page.text("feed")
        assert EVIL in page.text("feed")
    # It was shown as text, not run.
    assert page.driver.title == "kvd"
    assert page.driver.execute_script("return document.querySelectorAll('#keys b, #feed b, #keys script').length") == 0
    assert page.text("count") == "4 keys"


def test_a_prefix_filters_also_what_comes(page: Page, served: Daemon) -> None:
    page.find("#prefix").send_keys("app/")
    page.wait("the filter", lambda: page.rows() == {"app/one": "1", "app/two": "2"})
    page.wait("the watch", lambda: page.text("status") == "live")
    with served.connect() as peer:
        peer.send("SET elsewhere 1\nSET app/three 3\n")
        peer.lines(2)
    page.wait("a change", lambda: page.rows() == {"app/one": "1", "app/three": "3", "app/two": "2"})
    page.find("#prefix").clear()
    page.find("#prefix").send_keys("none/")
    page.wait("nothing", lambda: page.text("none") == "No keys here.")


def test_a_value_is_shown_whole_and_edited(page: Page, served: Daemon) -> None:
    with served.connect() as peer:
        peer.ask("SET app/one " + "long " * 200)
        page.wait("the value", lambda: page.rows()["app/one"].startswith("long long"))
        page.find("#keys tr").click()
        page.wait("all of it", lambda: len(page.find("#value").get_property("value")) == 1000)
        page.find("#value").clear()
        page.find("#value").send_keys(EVIL)
        page.find("#save").click()
        page.wait("the write", lambda: peer.ask("GET app/one") == f"OK {EVIL}")
        page.wait("the change", lambda: page.rows()["app/one"] == EVIL)
        page.find("#delete").click()
        page.wait("the end", lambda: "app/one" not in page.rows() and page.text("facts") == "gone")


def test_without_http_write_nothing_can_be_edited(browser: Any, start_daemon: StartDaemon, tmp_path: Path) -> None:
    """And one who may watch less than all is told what is wrong, and sees what they may read."""
    file = tmp_path / "users.toml"
    file.write_text(users_text({"alice": {"a/*": "read,watch"}, "root": {"*": "read,write,watch"}}))
    daemon = start_daemon("--http", "127.0.0.1:0", "--users", str(file))
    with daemon.connect() as peer:
        peer.ask(f"AUTH root {PASSWORD}")
        peer.send("SET a/x 1\nSET b/x 2\n")
        peer.lines(2)
    # What a person would type when the browser asks.
    browser.get(f"http://alice:{quote(PASSWORD)}@127.0.0.1:{port_of(daemon)}/")
    browser.get(f"http://127.0.0.1:{port_of(daemon)}/")
    page = Page(browser)
    page.wait("what may be read", lambda: page.rows() == {"a/x": "1"})
    page.wait("the reason", lambda: "alice may not watch all keys of this pattern" in page.text("status"))
    page.find("#prefix").send_keys("a/")
    page.wait("the watch", lambda: page.text("status") == "live")
    page.find("#keys tr").click()
    page.wait("the value", lambda: page.find("#value").get_property("value") == "1")
    assert not page.find("#actions").is_displayed()
    assert page.find("#value").get_property("readOnly")
    assert "right admin" in page.text("nobody")


def test_figures_and_watchers_are_shown(page: Page, served: Daemon) -> None:
    with served.connect() as peer:
        peer.ask("WATCH jobs/*")
        page.wait("a watcher", lambda: "jobs/*" in page.text("clients"))
        page.wait("figures", lambda: "MEMORY" in page.text("figures") and "MiB" in page.text("figures"))
        drawn = (
            "const canvas = document.querySelectorAll('#figures canvas')[6];"
            "return canvas.width > 0 && canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"
        )
        page.wait("a curve", lambda: page.driver.execute_script(drawn))


def test_a_daemon_that_is_lost_is_found_again_without_a_gap(page: Page, served: Daemon) -> None:
    position = page.text("position")
    served.kill(signal.SIGTERM)
    served.wait()
    page.wait("the loss", lambda: page.find("#status").get_attribute("class") == "lost")
    served.start()
    with served.connect() as peer:
        # Before the page is there again: it resumes from where it was.
        peer.send("SET app/one again\nDEL app/two\n")
        peer.lines(2)
    page.wait("the daemon", lambda: page.text("status") == "live")
    page.wait("the changes", lambda: page.rows() == {"app/one": "again", "other": "x"})
    assert "again" in page.text("feed")
    assert page.text("position") != position
    assert ask(served, "/healthz").status == 200
