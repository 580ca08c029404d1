#!/usr/bin/env python3
"""Checks the pages that a browser shows: the play page of rps-server, and the status pages of both servers.

    scripts/browser-check.py [--screenshots DIR] [--only NAME...]

Builds the servers and starts them on free ports, and drives a headless Chromium over the DevTools protocol. Prints a
line per passed check, and stops at the first failed one. With --screenshots, writes pictures of the pages to DIR, those
of the README included. The variable BIN names a folder with built programs; without it, the script builds them in debug
mode. The variable CHROMIUM names the browser.

Exit code 0: all checks passed; 1: a check failed; 2: there is no Chromium, or the arguments are invalid.

Needs Python 3.8 or later, Chromium, and a Rust toolchain unless BIN is set. Takes about two minutes.
"""

import argparse
import base64
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
WAIT = 60  # limit of each wait in seconds: far longer than a slow machine needs, so only a hang reaches it
WIDTHS = [(320, 640), (768, 1024), (1280, 800)]
SCHEMES = ["light", "dark"]
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
MOVES = {"1": "scissors", "2": "rock", "3": "paper"}
PICTURE_WIDTH = 960  # of the pictures for the README


class Failed(Exception):
    """A check failed."""


def fail(reason):
    raise Failed(reason)


def require(condition, reason):
    if not condition:
        fail(reason)


passed = 0


def ok(check):
    global passed
    passed += 1
    print(f"ok: {check}", flush=True)


# --- The browser


def find_chromium():
    for name in filter(None, [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]):
        path = shutil.which(name)
        if path:
            return path
    return None


class Browser:
    """A headless Chromium. Commands and events are JSON texts with a NUL after each, on its descriptors 3 and 4."""

    def __init__(self, program, folder):
        # Numbers above 4, so that neither `dup2` in the child overwrites the other descriptor.
        from_here, self.commands = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in os.pipe())
        self.events, to_here = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in os.pipe())

        def set_descriptors():
            os.dup2(from_here, 3)
            os.dup2(to_here, 4)

        arguments = [
            "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}/profile", "--no-first-run",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
            "--disable-component-update", "--no-default-browser-check", "--hide-scrollbars",
            "--font-render-hinting=none",
            # Otherwise a page in the background has timers of a second.
            "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
        ]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        with open(f"{folder}/chromium.log", "wb") as log:
            # A new session, so that the processes of the browser can be ended together.
            self.process = subprocess.Popen(
                [program, *arguments, "about:blank"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(3, 4), preexec_fn=set_descriptors, start_new_session=True)
        os.close(from_here)
        os.close(to_here)
        self.buffer = b""
        self.last_id = 0
        self.replies = {}
        self.pages = {}
        self.user_agent = self.call("Browser.getVersion")["userAgent"].replace("Headless", "")

    def call(self, method, session=None, **parameters):
        """Sends a command and returns its result."""
        self.last_id += 1
        number = self.last_id
        command = {"id": number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        deadline = time.monotonic() + WAIT
        while number not in self.replies:
            require(time.monotonic() < deadline, f"the browser did not reply to {method} within {WAIT} s")
            self.receive(1)
        reply = self.replies.pop(number)
        require("error" not in reply, f"the browser rejected {method}: {reply.get('error')}")
        return reply["result"]

    def receive(self, seconds):
        """Waits for messages for at most this long, and takes those that have arrived."""
        if not select.select([self.events], [], [], seconds)[0]:
            return
        data = os.read(self.events, 1 << 20)
        require(data, "the browser exited")
        *messages, self.buffer = (self.buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.replies[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].observe(message["method"], message["params"])

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Page:
    """A tab with cookies, cache and storage of its own."""

    def __init__(self, browser, width=1280, height=800, scheme="light", language="en", scripts=True,
                 forced_colors=False):
        self.browser = browser
        self.problems = []
        self.requests = []
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = {"url": "about:blank", "browserContextId": self.context, "width": width, "height": height}
        self.target = browser.call("Target.createTarget", **target)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        media = {"prefers-color-scheme": scheme, "forced-colors": "active" if forced_colors else "none"}
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": name, "value": value} for name, value in media.items()])
        self.call("Emulation.setUserAgentOverride", userAgent=browser.user_agent, acceptLanguage=LANGUAGES[language])
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        del self.browser.pages[self.session]

    def observe(self, event, values):
        """Keeps what a page must not cause: messages, exceptions, and failed requests."""
        if event == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {[argument.get('value') for argument in values['args']]}")
        elif event == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"log: {values['entry']['text']}")
        elif event == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.problems.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.requests.append(re.sub("^ws", "http", values["url"]))
        elif event == "Network.loadingFailed" and not values.get("canceled"):
            self.problems.append(f"request failed: {values['errorText']}")
        elif event == "Network.responseReceived" and values["response"]["status"] >= 400:
            self.problems.append(f"status {values['response']['status']}: {values['response']['url']}")

    def open(self, url):
        reply = self.call("Page.navigate", url=url)
        require("errorText" not in reply, f"{url}: {reply.get('errorText')}")
        self.origin = re.match("https?://[^/]+", url)[0]
        self.wait("document.readyState === 'complete'", f"{url} does not load")
        return self

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        require("exceptionDetails" not in result, f"{expression}: {result.get('exceptionDetails')}")
        return result["result"].get("value")

    def wait(self, expression, reason):
        """Waits until the expression is true."""
        deadline = time.monotonic() + WAIT
        while not self.evaluate(expression):
            require(time.monotonic() < deadline,
                    f"{reason} within {WAIT} s ({expression}); the page says: {self.text()}")
            self.browser.receive(0.02)

    def text(self, selector="body"):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText")

    def wait_text(self, selector, text):
        where = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{where}?.innerText.includes({json.dumps(text)})", f"{selector} does not say '{text}'")

    def click(self, selector):
        """Clicks with the mouse, in the middle of the element."""
        x, y = self.evaluate(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            "it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()")
        for event in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def press(self, key):
        """Presses a key: Tab, Enter or a character."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}.get(key, (ord(key[0].upper()), key))
        for event in ["keyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=event, key=key, windowsVirtualKeyCode=code, **(
                {"text": text} if text and event == "keyDown" else {}))

    def screenshot(self, path):
        """Writes a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with contextlib.closing(Page(self.browser)) as blank:
            width, height, palette, pixels = blank.evaluate(f"({PALETTE_OF})('{picture}')")
        path.write_bytes(png(width, height, bytes(palette), base64.b64decode(pixels)))

    def check(self, name):
        """Checks what holds for each page at any time."""
        require(not self.problems, f"{name}: {self.problems}")
        others = [url for url in self.requests if not url.startswith((self.origin, "data:", "about:"))]
        require(not others, f"{name}: requests to another origin: {others}")
        wide = self.evaluate("document.documentElement.scrollWidth - innerWidth")
        require(wide <= 0, f"{name}: {wide} px wider than the window")
        faint = self.evaluate(FAINT_TEXT)
        require(not faint, f"{name}: contrast of less than 4.5:1: {faint}")


# Returns the width, the height, the most frequent colours (at most 256) and, for each pixel, the number of the nearest
# one.
PALETTE_OF = """async (picture) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const color of pixels) counts.set(color, (counts.get(color) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 256).map(([color]) => color);
  const channels = (color) => [color & 255, color >> 8 & 255, color >> 16 & 255];
  const distance = (a, b) => channels(a).reduce((sum, value, index) => sum + (value - channels(b)[index]) ** 2, 0);
  const nearest = new Map([...counts.keys()].map((color) => {
    const distances = palette.map((other) => distance(color, other));
    return [color, distances.indexOf(Math.min(...distances))];
  }));
  let text = '';
  for (const color of pixels) text += String.fromCharCode(nearest.get(color));
  return [image.width, image.height, palette.flatMap(channels), btoa(text)];
}"""


def png(width, height, palette, pixels):
    """Encodes a picture with a palette. It has half the size of the browser's own encoding."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # Each row begins with its filter type, 0 for none.
    rows = b"".join(b"\0" + pixels[start:start + width] for start in range(0, width * height, width))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
            + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


# The visible texts whose contrast with their background is below that of WCAG 2, 1.4.3.
FAINT_TEXT = """(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => parse(color).slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const background = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const color = getComputedStyle(it).backgroundColor;
      if ((parse(color)[3] ?? 1) === 1) return color;
    }
    return getComputedStyle(document.documentElement).colorScheme.includes('dark')
      && matchMedia('(prefers-color-scheme: dark)').matches ? 'rgb(18, 18, 18)' : 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter((it) => it.checkVisibility())
    .filter((it) => [...it.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((it) => [luminance(getComputedStyle(it).color), luminance(background(it)), it.textContent.trim().slice(0, 40)])
    .map(([a, b, text]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text])
    .filter(([contrast]) => contrast < 4.5).map(([contrast, text]) => `${contrast.toFixed(1)} ${text}`);
})()"""


# --- The servers


class Server:
    """A server process. It listens on free ports and, after a restart, on the same ones."""

    def __init__(self, kind, folder, *settings):
        self.kind = kind
        self.settings = settings
        self.addresses = {}
        self.services = {"power": ["power", "admin"], "rps": ["solo", "duel", "web", "admin"]}[kind]
        self.log = pathlib.Path(folder, f"{kind}-{id(self)}.log")
        self.process = None
        # A copy, which a check can change.
        self.config = pathlib.Path(shutil.copy(f"{ROOT}/config/{kind}-server.toml", f"{folder}/{id(self)}.toml"))
        self.start()

    def start(self):
        keys = {service: "listen" if service == "power" else f"{service}.listen" for service in self.services}
        listen = [f"{key}={self.addresses.get(service, '127.0.0.1:0')}" for service, key in keys.items()]
        arguments = list(itertools.chain(*(("--set", setting) for setting in [*listen, *self.settings])))
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("RUST_LOG", "POWER_", "RPS_", "SOLO_", "DUEL_", "CLIENT_"))}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [f"{BIN}/{self.kind}-server", "--config", self.config, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        for service in self.services:
            self.addresses[service] = self.wait_log(f'listening service="{service}" .*address=([^ \n]+)')

    def wait_log(self, pattern):
        deadline = time.monotonic() + WAIT
        while True:
            # Read the state first, so that the last lines of a process that has exited are seen.
            exited = self.process.poll() is not None
            found = re.search(pattern, self.log.read_text())
            if found:
                return found[1]
            require(not exited, f"{self.kind}-server exited: {self.log.read_text()[-2000:]}")
            require(time.monotonic() < deadline, f"{self.kind}-server: no log line matched '{pattern}' within {WAIT} s")
            time.sleep(0.02)

    def url(self, service, path="/"):
        return f"http://{self.addresses[service]}{path}"

    def connect(self, service):
        host, port = self.addresses[service].rsplit(":", 1)
        return socket.create_connection((host, int(port)), WAIT)

    def metric(self, name):
        with urllib.request.urlopen(self.url("admin", "/metrics"), timeout=WAIT) as reply:
            found = re.search(f"^{re.escape(name)} ([0-9.]+)$", reply.read().decode(), re.MULTILINE)
        return float(found[1]) if found else fail(f"{self.kind}-server has no metric {name}")

    def reload(self, before, after):
        """Replaces this line of the configuration, and waits until the server uses it."""
        text = self.config.read_text()
        require(text.count(f"\n{before}\n") == 1, f"the configuration needs one line '{before}'")
        self.config.write_text(text.replace(f"\n{before}\n", f"\n{after}\n"))
        reloads = 'rps_config_reloads_total{result="ok"}'
        count = self.metric(reloads)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT
        while self.metric(reloads) == count:
            require(time.monotonic() < deadline, f"the server does not reload within {WAIT} s")
            time.sleep(0.02)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        status = self.process.wait(WAIT)
        require(status == 0, f"{self.kind}-server: exit code {status}: {self.log.read_text()[-2000:]}")

    def stop(self):
        self.terminate()
        self.wait()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Run:
    """What the checks share: the browser, the servers to end, and where pictures go."""

    def __init__(self, browser, folder, screenshots):
        self.browser = browser
        self.folder = folder
        self.screenshots = screenshots
        self.servers = []

    def server(self, kind, *settings):
        # The server is known before it listens, so that it is killed if it never does.
        server = Server.__new__(Server)
        self.servers.append(server)
        server.process = None
        server.__init__(kind, self.folder, *settings)
        return server

    @contextlib.contextmanager
    def page(self, url, **options):
        page = Page(self.browser, **options).open(url)
        try:
            yield page
        finally:
            with contextlib.suppress(Failed):
                page.close()

    def picture(self, page, name):
        if self.screenshots:
            page.screenshot(self.screenshots / f"{name}.png")

    def close(self):
        for server in self.servers:
            server.kill()


def appearances():
    """Each combination of width, colour scheme and language."""
    for (width, height), scheme, language in itertools.product(WIDTHS, SCHEMES, LANGUAGES):
        options = {"width": width, "height": height, "scheme": scheme, "language": language}
        yield f"{width}-{scheme}-{language}", options


# --- The play page

LOG_SUMMARY = "document.getElementById('log-summary').textContent"
SCORE = "['win', 'draw', 'lose', 'void'].map((id) => Number(document.getElementById(id).textContent))"
TOTAL = f"{SCORE}.reduce((a, b) => a + b)"


def move(page, byte):
    page.click(f"#moves button[value='{byte}']")


def rows(page, kind):
    """The rows of the log of this kind, oldest first, with a tab between the cells."""
    return page.evaluate(f"[...document.querySelectorAll('#log-rows .{kind}')].reverse()"
                         ".map((row) => [...row.cells].map((cell) => cell.textContent).join('\\t'))")


def round_of(page):
    """The outcome and the two hands that the page shows."""
    return page.evaluate(
        "[document.getElementById('outcome').className, ...['mine', 'theirs'].map((id) => "
        "document.querySelector(`#${id} use`).getAttribute('href').replace('#draw-', ''))]")


def check_round(page):
    outcome, mine, theirs = round_of(page)
    beaten = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
    expected = "draw" if mine == theirs else "win" if beaten[mine] == theirs else "lose"
    require(outcome == expected, f"{mine} against {theirs} is {expected}, not {outcome}")
    return outcome, mine, theirs


def play_appearance(run):
    server = run.server("rps")
    backgrounds = {}
    for name, options in appearances():
        with run.page(server.url("web"), **options) as page:
            page.check(f"play page {name}")
            for count, byte in enumerate("123", 1):
                move(page, byte)
                page.wait(f"{TOTAL} === {count}", "a round does not end")
            page.click("#log summary")
            page.wait("document.getElementById('log').open", "the byte log does not open")
            page.check(f"play page {name}, after three rounds")
            language = page.evaluate("document.documentElement.lang")
            require(language.split("-")[0] == options["language"], f"play page {name}: lang is {language}")
            backgrounds[options["scheme"]] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            run.picture(page, f"play-{name}")
        ok(f"play page {name}: no message, no foreign request, no overflow, contrast of 4.5:1 or more")
    require(backgrounds["light"] != backgrounds["dark"], "the play page has no dark colours")
    with run.page(server.url("web"), scripts=False) as page:
        for text in ["JavaScript", "cli-client rps play", "终端"]:
            page.wait_text("noscript", text)
        page.check("play page without scripts")
    ok("play page without scripts: both languages name the client")
    with run.page(server.url("web")) as page:
        page.click("#language")
        page.wait_text("h1", "石头")
        require(page.evaluate("document.documentElement.lang") == "zh-CN", "the language switch does not set lang")
        page.click("#language")
        page.wait_text("h1", "Rock")
        page.check("play page, language")
    ok("play page: the language can be switched")
    for scheme in SCHEMES:
        with run.page(server.url("web"), scheme=scheme, forced_colors=True) as page:
            choose_duel(page)
            move(page, "2")
            page.wait_text("#countdown", "Waiting")
            page.wait_text("#connection", "Connected")
            outlines = page.evaluate("[...document.querySelectorAll('#opponents input')].map((radio) => "
                                     "[radio.checked, getComputedStyle(radio.nextElementSibling).outlineStyle])")
            require(outlines == [[False, "none"], [True, "solid"]], f"forced colours: the outlines are {outlines}")
            background, dot, border = page.evaluate(
                "[getComputedStyle(document.body).backgroundColor, "
                "getComputedStyle(document.getElementById('connection'), '::before').backgroundColor, "
                "getComputedStyle(document.getElementById('bar')).borderTopStyle]")
            require(background != dot and border == "solid",
                    f"forced colours: background {background}, dot {dot}, border of the bar {border}")
            page.check(f"play page, forced colours, {scheme}")
            run.picture(page, f"play-forced-{scheme}")
    ok("play page with forced colours: the chosen opponent, the bar and the open connection are visible")
    server.stop()


def play_solo(run):
    server = run.server("rps")
    with run.page(server.url("web")) as page:
        page.wait_text("#connection", "Not connected")
        keys = "132SRp"
        for count, byte in enumerate("12321", 1):
            move(page, byte)
            page.wait(f"{TOTAL} === {count}", "a round does not end")
            require(check_round(page)[1] == MOVES[byte], "the page shows another hand than the one clicked")
        page.wait_text("#connection", "Connected")
        ok("solo: five rounds by mouse")
        for count, key in enumerate(keys, 6):
            page.press(key)
            page.wait(f"{TOTAL} === {count}", f"the key {key} plays no round")
            expected = {"s": "scissors", "r": "rock", "p": "paper"}.get(key.lower()) or MOVES[key]
            require(check_round(page)[1] == expected, f"the key {key} plays another hand")
        page.press("x")
        shortcuts = "document.querySelectorAll('[aria-keyshortcuts]').length"
        require(page.evaluate(shortcuts) == 3, "the moves do not name their keys")
        page.evaluate("document.getElementById('keys').click()")
        require(page.evaluate(shortcuts) == 0, "the moves name keys that are off")
        page.press("1")
        page.evaluate("document.getElementById('keys').click()")
        require(page.evaluate(shortcuts) == 3, "the moves do not name their keys again")
        for _ in range(20):
            page.press("2")
        page.wait(f"{TOTAL} === 31", "20 moves in a row do not all end")
        ok("solo: rounds by keyboard, 20 of them without a pause")
        wins, draws, losses, void = page.evaluate(SCORE)
        require(void == 0 and wins + draws + losses == 31, "the score does not add up")
        sent, received = (sum(len(row.split("\t")[2].split()) for row in rows(page, kind))
                          for kind in ["sent", "received"])
        require(sent == received == 31, f"the byte log has {sent} bytes sent and {received} received, not 31 each")
        opened = [row for row in rows(page, "event") if "open" in row]
        require(len(opened) == 2, f"the byte log shows more than one connection: {opened}")
        require("reply after" in rows(page, "received")[0], "the byte log has no reply time")
        page.check("play page, solo")
        ok(f"solo: {wins} wins, {draws} draws, {losses} losses; the byte log has both directions, on one connection")
        # The move comes while the connection is closing.
        page.evaluate("game.connection.close(), document.querySelector(\"#moves button[value='1']\").click()")
        page.wait_text("#connection", "Your last move was not sent.")
        page.wait_text("#outcome", "Choose your move")
        page.check("play page, closing")
        ok("a move while the connection is closing: the page says that it was not sent")
    server.stop()


def choose_duel(page):
    page.click("#opponents input[value='duel']")
    page.wait_text("#theirs figcaption", "Other player")


def play_duel(run):
    # The moves of a round meet within this time, also on a slow machine.
    window = 10
    server = run.server("rps", f"duel.window={window}s")
    with run.page(server.url("web"), width=320, height=640) as one:
        with run.page(server.url("web")) as two:
            for page in [one, two]:
                choose_duel(page)
            for count, (first, second) in enumerate(["23", "13", "22"], 1):
                move(one, first)
                one.wait_text("#countdown", "Waiting for the other player's move")
                if count == 2:
                    run.picture(one, "play-waiting")
                move(one, "1")
                move(two, second)
                for page in [one, two]:
                    page.wait(f"{TOTAL} === {count}", "the duel's round does not end")
                outcomes = check_round(one), check_round(two)
                expected = MOVES[first], MOVES[second]
                require(outcomes[0][1:] == expected and outcomes[1][1:] == expected[::-1],
                        f"the hands are {outcomes}, not {expected}")
                require([len(rows(page, "sent")) for page in [one, two]] == [count, count],
                        "a second move was sent while one was in play")
            require(one.evaluate(SCORE)[:3] == two.evaluate(SCORE)[2::-1], "the scores of the two players do not fit")
            one.check("play page, duel")
            two.check("play page, duel")
            ok("duel: three rounds in two tabs, one move in play at a time, outcomes fit")
        move(one, "3")
        one.wait_text("#outcome", "Void")
        one.wait_text("#detail", f"no other player moved within {window} s")
        require(one.evaluate(SCORE)[3] == 1, "the void round is not counted")
        require(one.evaluate("document.getElementById('waiting').hidden"), "the countdown stays after the round")
        one.check("play page, void round")
        run.picture(one, "play-void")
        ok("duel: one tab is closed; the other one says that the round is void, and why")
    server.stop()


def play_leave(run):
    # A move that is left behind would stay for longer than each wait of this check.
    server = run.server("rps", f"duel.window={2 * WAIT}s")

    def switch(page):
        page.click("#opponents input[value='solo']")
        page.wait_text("#theirs figcaption", "The house")

    def reload(page):
        page.evaluate("globalThis.isOld = true")
        page.call("Page.reload")
        page.wait("!globalThis.isOld && document.readyState === 'complete'", "the page does not load again")

    with run.page(server.url("web")) as two:
        choose_duel(two)
        for count, (name, leave) in enumerate([("switch to the house", switch), ("reload", reload)], 1):
            with run.page(server.url("web")) as one:
                choose_duel(one)
                move(one, "1")
                wait_for_moves(server, 1)
                leave(one)
                wait_for_moves(server, 0)
                choose_duel(one)
                move(one, "2")
                wait_for_moves(server, 1)
                require(one.evaluate(TOTAL) == 0, f"{name}: a move met the one that was left behind")
                move(two, "3")
                for page, total in [(one, 1), (two, count)]:
                    page.wait(f"{TOTAL} === {total}", "the duel's round does not end")
                    check_round(page)
                require(round_of(one)[1:] == ["rock", "paper"], f"{name}: the round is {round_of(one)}")
                one.check(f"play page, {name}")
            ok(f"duel: {name} during a move leaves no move behind")
    server.stop()


def wait_for_moves(server, count):
    """Waits until this many duel moves wait for another player."""
    deadline = time.monotonic() + WAIT
    while server.metric("rps_duel_waiting") != count:
        require(time.monotonic() < deadline, f"not {count} waiting duel moves within {WAIT} s")
        time.sleep(0.02)


def play_window(run):
    server = run.server("rps")
    server.reload('window = "30s"', 'window = "1s"')
    with run.page(server.url("web")) as one, run.page(server.url("web")) as two:
        for page in [one, two]:
            choose_duel(page)
        move(one, "1")
        one.wait_text("#outcome", "Void")
        one.wait("performance.getEntriesByType('resource').length === 1", "the page does not read the window")
        long = 2 * WAIT
        server.reload('window = "1s"', f'window = "{long}s"')
        move(one, "2")
        one.wait_text("#countdown", "later than expected")
        one.wait_text("#connection", "Connected")
        one.wait_text("#announcements", "later than expected")
        one.check("play page, late reply")
        move(two, "3")
        for page, total in [(one, 2), (two, 1)]:
            page.wait(f"{TOTAL} === {total}", "the duel's round does not end")
            check_round(page)
        ok("duel: a window that is longer after a reload does not end the connection")
        move(one, "3")
        one.wait(f"/\\d+/.exec(document.getElementById('countdown').textContent)?.[0] > {long / 2}",
                 "the page does not show the new window")
        require(len([row for row in rows(one, "event") if "opening" in row]) == 1, "the page connected again")
        ok("duel: the page reads the window after a late reply")
    server.stop()


def play_drain(run):
    server = run.server("rps")
    with run.page(server.url("web")) as solo, run.page(server.url("web")) as duel:
        move(solo, "1")
        solo.wait(f"{TOTAL} === 1", "the round does not end")
        choose_duel(duel)
        move(duel, "2")
        duel.wait_text("#connection", "Connected")
        duel.wait_text("#countdown", "Waiting")
        # The page has read the duel's window, so it has no request during the drain.
        duel.wait("performance.getEntriesByType('resource').length > 0", "the page does not read the window")
        server.terminate()
        for page in [solo, duel]:
            page.wait_text("#connection", "The server is stopping")
            page.wait("document.querySelector('#log-rows .event').textContent.includes('1001')", "no close code 1001")
            page.check("play page, drain")
        duel.wait_text("#outcome", "Void")
        run.picture(duel, "play-drain")
        server.wait()
        ok("drain: both games say that the server stops; code 1001; the waiting move is void")
        move(solo, "2")
        solo.wait_text("#connection", "cannot be reached")
        ok("stopped server: the page says that it cannot be reached")
        server.start()
        for page, total in [(solo, 2), (duel, 1)]:
            move(page, "3")
            page.wait_text("#connection", "Connected")
        solo.wait(f"{TOTAL} === 2", "the round after the restart does not end")
        ok("restart on the same port: the next move connects again")
    server.stop()


def play_idle(run):
    server = run.server("rps", "duel.window=500ms", "timeouts.idle=1s")
    with run.page(server.url("web")) as page:
        move(page, "1")
        page.wait_text("#connection", "it was idle for too long")
        move(page, "2")
        page.wait(f"{TOTAL} === 2", "the move after the idle timeout plays no round")
        events = [row.split("\t")[2] for row in rows(page, "event")]
        require("connection 1: closed, code 1000, reason idle_timeout" in events, f"the events are {events}")
        page.check("play page, idle timeout")
        ok("idle timeout: the page says so; the next move connects again")
    server.stop()


def play_full(run):
    server = run.server("rps", "limits.max_connections=1")
    with run.page(server.url("web")) as page:
        deadline = time.monotonic() + WAIT
        while True:
            # The connection that loaded the page may still count.
            connection = server.connect("solo")
            connection.sendall(b"1")
            with contextlib.suppress(ConnectionError):
                if connection.recv(1) in (b"x", b"y", b"z"):
                    break
            connection.close()
            require(time.monotonic() < deadline, "the connection that loaded the page does not end")
            page.browser.receive(0.05)
        with connection:
            move(page, "1")
            page.wait_text("#connection", "The server is full")
            run.picture(page, "play-full")
        deadline = time.monotonic() + WAIT
        while page.evaluate(TOTAL) == 0:
            require(time.monotonic() < deadline, "the server stays full")
            move(page, "1")
            page.wait(f"{TOTAL} > 0 || document.getElementById('connection').className === 'closed'", "no reply")
        ok("full server: the page says so, and plays when there is room again")
    server.stop()


def play_accessibility(run):
    server = run.server("rps")
    with run.page(server.url("web")) as page:
        check_tree(page, "play page", live=1)
        small = page.evaluate(
            "[...document.querySelectorAll('button, summary, #opponents label, .setting label')].map((it) => "
            "[it.textContent, it.getBoundingClientRect()]).filter(([, box]) => Math.min(box.width, box.height) < 44)"
            ".map(([text]) => text)")
        require(not small, f"targets of less than 44 px: {small}")
        tab_to(page, "button[value='2']")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        require(outline == "solid", f"the focus is not visible: outline-style is {outline}")
        for count in [1, 2]:
            page.press("Enter")
            page.wait(f"{TOTAL} === {count}", "Enter on a move plays no round")
        require(page.evaluate("document.activeElement.value") == "2", "the focus moves after a round")
        page.check("play page, keyboard")
        ok("play page: named controls, headings in order, one live region, targets of 44 px, rounds with Tab and Enter")
    server.stop()


def check_tree(page, name, live):
    """Checks the accessibility tree, and the outline of headings and landmarks."""
    nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    role = {node["nodeId"]: node["role"]["value"] for node in nodes}
    named = {"button", "link", "radio", "checkbox", "textbox", "combobox", "spinbutton", "table", "region",
             "progressbar", "DisclosureTriangle", "image", "img"}
    nameless = [role[node["nodeId"]] for node in nodes
                if role[node["nodeId"]] in named and not node.get("name", {}).get("value")]
    require(not nameless, f"{name}: without a name: {nameless}")
    roots = [node for node in nodes for property in node.get("properties", [])
             if property["name"] == "live" and property["value"]["value"] in ("polite", "assertive")
             and role[node["nodeId"]] in ("status", "alert", "log", "generic")
             and role.get(node.get("parentId")) not in ("status", "alert", "log")]
    # A live region that is empty and hidden is not in the tree.
    require(len(roots) == live or (live is None and len(roots) <= 1), f"{name}: {len(roots)} live regions")
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].filter((it) => it.checkVisibility())"
                           ".map((it) => Number(it.tagName[1]))")
    require(levels[:1] == [1] and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])),
            f"{name}: the levels of the headings are {levels}")
    require(page.evaluate("document.querySelectorAll('main').length === 1 && document.documentElement.lang !== ''"),
            f"{name}: it needs one main landmark, and lang")


def tab_to(page, selector):
    for _ in range(40):
        page.press("Tab")
        if page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
    fail(f"40 times Tab does not reach {selector}")


def play_picture(run):
    """Writes the picture of the play page for the README."""
    if not run.screenshots:
        return
    server = run.server("rps")
    with run.page(server.url("web"), width=PICTURE_WIDTH, height=600) as page:
        page.evaluate("document.getElementById('log').open = true")
        for count, byte in enumerate("2312", 1):
            move(page, byte)
            page.wait(f"{TOTAL} === {count}", "a round does not end")
            page.wait(f"/open for (\\d+) s/.exec({LOG_SUMMARY})?.[1] >= {count}", "the open time does not change")
        run.picture(page, "play")
    size = (run.screenshots / "play.png").stat().st_size
    require(size < 60_000, f"play.png has {size} bytes, more than 60,000")
    ok(f"picture of the play page for the README: {size:,} bytes")
    server.stop()


# --- The status pages

MAIN_TEXT = "document.querySelector('main').innerText"


def status_pages(run, server):
    """The paths of the pages that the navigation names."""
    with run.page(server.url("admin")) as page:
        paths = page.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))")
    require("/" in paths, f"{server.kind}-server has no status page: the links are {paths}")
    return paths


def send_moves(server, count):
    """Plays this many rounds against the house, on one connection, which it returns."""
    connection = server.connect("solo")
    connection.sendall(b"2" * count)
    replies = 0
    while replies < count:
        replies += len(connection.recv(65536)) or fail("the server closed the connection")
    return connection


def status_appearance(run):
    for kind in ["power", "rps"]:
        server = run.server(kind)
        # A connection and a reply for the tables.
        connection = server.connect(server.services[0])
        connection.sendall({"power": b"a2\n", "rps": b"2"}[kind])
        require(connection.recv(16), f"{kind}-server closed the connection")
        for path in status_pages(run, server):
            backgrounds = {}
            for name, options in appearances():
                with run.page(server.url("admin", path), **options) as page:
                    name = f"{kind}{path.replace('/', '-').rstrip('-') or '-status'}-{name}"
                    language = page.evaluate("document.documentElement.lang")
                    require(language.split("-")[0] == options["language"], f"status page {name}: lang is {language}")
                    page.check(f"status page {name}")
                    backgrounds[options["scheme"]] = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    run.picture(page, f"status-{name}")
            require(backgrounds["light"] != backgrounds["dark"], f"{path} has no dark colours")
            with run.page(server.url("admin", path)) as page:
                check_tree(page, path, live=None)
                page.check(path)
            ok(f"{kind}-server {path}: widths, colour schemes and languages as above; named controls, ordered headings")
        connection.close()
        server.stop()


def status_live(run):
    server = run.server("rps")
    with run.page(server.url("admin")) as page:
        page.wait_text("#state", "ready")
        before = page.text("main")
        with send_moves(server, 1234) as connection:
            page.wait(f"/1[,.\\u00a0\\u202f ]?234/.test({MAIN_TEXT})", "the 1,234 requests do not show")
            page.check("status page, live")
            require(page.text("main") != before, "the page does not change")
            ok("status page: the numbers change without a reload")
            with run.page(server.url("admin"), scripts=False) as still:
                # Scripts of this check run even so.
                still.wait_text("#state", "ready")
                still.wait(f"/1[,.\\u00a0\\u202f ]?234/.test({MAIN_TEXT})", "without scripts, the requests do not show")
                still.check("status page without scripts")
            ok("status page without scripts: the same numbers")
            pages = status_pages(run, server)
            if "/connections" in pages:
                address = "%s:%d" % connection.getsockname()
                with run.page(server.url("admin", "/connections"), width=320, height=640) as connections:
                    connections.wait_text("#table-open", address)
                    lines, small = connections.evaluate(
                        "[Math.max(...[...document.querySelectorAll('#table-open tr > *')].map((cell) => "
                        "{ const range = document.createRange(); range.selectNodeContents(cell);"
                        "return range.getClientRects().length; })), "
                        "[...document.querySelectorAll('.filters :is(input, select, button)')].map((it) => "
                        "it.getBoundingClientRect()).filter((box) => box.height < 44).length]")
                    require(lines == 1, f"/connections: a cell has {lines} lines")
                    require(small == 0, f"/connections: {small} controls of less than 44 px")
                    connections.check("/connections")
                    run.picture(connections, "connections-320")
                ok("/connections: shows an open connection, without a line break, and has controls of 44 px")
            if "/slow" in pages:
                with run.page(server.url("admin", "/slow")) as slow:
                    slow.wait_text("main", "solo")
                    slow.check("/slow")
                ok("/slow: shows a reply of the house")
    server.stop()


def status_drain(run):
    server = run.server("rps", "timeouts.write=30s", f"timeouts.drain={WAIT}s")
    with run.page(server.url("admin")) as page, server.connect("solo") as connection:
        page.wait_text("#state", "ready")
        # A client that does not read its replies holds up the drain.
        connection.settimeout(0.5)
        with contextlib.suppress(socket.timeout):
            while True:
                connection.sendall(b"2" * 65536)
        server.terminate()
        page.wait_text("#state", "draining")
        page.check("status page, drain")
        ok("status page: shows the drain")
    server.kill()


def status_picture(run):
    """Writes the picture of the status page for the README."""
    if not run.screenshots:
        return
    server = run.server("rps")
    with run.page(server.url("admin"), width=PICTURE_WIDTH, height=600) as page:
        loads = [("rps", "solo", "300", "6s"), ("rps", "solo", "900", "8s"), ("duel", "duel", "200", "6s"),
                 ("rps", "solo", "500", "8s")]
        for game, service, rate, duration in loads:
            command = [f"{BIN}/cli-client", "bench", game, "--addr", server.addresses[service], "-c", "16",
                       "--rate", rate, "-z", duration]
            load = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            require(load.returncode == 0, f"{' '.join(command)}: {load.stdout.decode(errors='replace')}")
        page.wait(f"/[1-9][0-9][,.]?[0-9]{{3}}/.test({MAIN_TEXT})", "the load does not show")
        page.check("status page under load")
        run.picture(page, "status")
    size = (run.screenshots / "status.png").stat().st_size
    require(size < 60_000, f"status.png has {size} bytes, more than 60,000")
    ok(f"picture of the status page for the README: {size:,} bytes")
    server.stop()


CHECKS = [play_appearance, play_solo, play_duel, play_leave, play_window, play_drain, play_idle, play_full,
          play_accessibility, play_picture, status_appearance, status_live, status_drain, status_picture]


def main():
    global BIN
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--screenshots", metavar="DIR", type=pathlib.Path, help="write pictures of the pages to DIR")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=[check.__name__ for check in CHECKS],
                        help="run only these: " + ", ".join(check.__name__ for check in CHECKS))
    arguments = parser.parse_args()
    program = find_chromium()
    if not program:
        print("browser-check: Chromium is not installed; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    BIN = os.environ.get("BIN")
    if not BIN:
        packages = ["-p", "power-server", "-p", "rps-server", "-p", "cli-client"]
        build = subprocess.run(["cargo", "build", "--locked", *packages], cwd=ROOT)
        if build.returncode != 0:
            return 1
        BIN = f"{os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')}/debug"
    # SIGTERM ends the script on the path that cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp()
    browser = run = None
    try:
        browser = Browser(program, folder)
        run = Run(browser, folder, arguments.screenshots)
        for check in CHECKS:
            if not arguments.only or check.__name__ in arguments.only:
                check(run)
    except (Failed, OSError, subprocess.TimeoutExpired) as failed:
        for server in run.servers[-1:] if run else []:
            print(f"--- {server.kind}-server\n{''.join(server.log.open().readlines()[-50:])}", file=sys.stderr, end="")
        print(f"browser-check: FAILED: {failed}", file=sys.stderr)
        print(f"{passed} passed, 1 failed")
        return 1
    finally:
        if run:
            run.close()
        if browser:
            browser.close()
        # Processes of the browser may still write there.
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
