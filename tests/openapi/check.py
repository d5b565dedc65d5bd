"""Starts a gateway, brings events into every state, and has Schemathesis ask it.

usage: check.py HOOKWARD SCHEMATHESIS
"""

import http.client
import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 60
# Of each of the app's answers this many events.
EACH = 40

# What the app answers, by the first part of an event's id.
ANSWERS = {"delivered": 200, "dead": 410, "pending": 503, "quarantined": 200, "discarded": 410}

CONFIG = """
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
token = {{ env = "ADMIN_TOKEN" }}
[store]
path = "data"
min_free = "0B"
[log]
level = "info"
[source.lab]
auth = {{ kind = "api-key", header = "X-API-Key" }}
keys = [{{ env = "LAB_KEY" }}]
event.id = "/id"
event.type = "/event"
event.subject = "/subject"
events = ["order.*"]
[upstream.app]
url = "http://127.0.0.1:{port}/"
ordering = "none"
retry = {{ first = "1s", max = "10m", give_up = "72h" }}
"""


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(ANSWERS.get(event["id"].split("-")[0], 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class Gateway:
    def __init__(self, binary, home, port):
        (home / "hookward.toml").write_text(CONFIG.format(port=port))
        self.token = secrets.token_hex(16)
        self.key = secrets.token_hex(16)
        env = {"ADMIN_TOKEN": self.token, "LAB_KEY": self.key}
        command = [binary, "run", "--config", str(home / "hookward.toml")]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.defects = []
        until = time.monotonic() + PATIENCE
        for line in self.process.stderr:
            said = json.loads(line)
            if said.get("message") == "started":
                self.public, self.admin = said["listen"], said["admin"]
                break
            assert time.monotonic() < until, "the gateway does not start"
        else:
            raise SystemExit("the gateway has not started")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stderr:
            if "panic" in line:
                self.defects.append(line)

    def call(self, address, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        body = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def send(self, event):
        status, said = self.call(self.public, "POST", "/hooks/lab", event, {"X-API-Key": self.key})
        assert status == 200, (status, said)

    def ask(self, method, path, body=None):
        return self.call(self.admin, method, path, body, {"Authorization": "Bearer " + self.token})

    def count(self, state):
        status, page = self.ask("GET", f"/api/v1/events?state={state}&limit=500")
        return len(page["items"]) if status == 200 else -1

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def until(what, holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def fill(gateway):
    for n in range(EACH):
        for name in ANSWERS:
            event = {"id": f"{name}-{n}", "event": "Order:Done", "subject": f"o-{n}"}
            gateway.send(event)
            if name == "quarantined":
                gateway.send({**event, "again": n})
        gateway.send({"id": f"filtered-{n}", "event": "visit.done"})
    until("dead letters", lambda: gateway.count("dead") == 2 * EACH)
    _, page = gateway.ask("GET", "/api/v1/dead-letters?limit=500")
    for event in page["items"]:
        if event["provider_id"].startswith("discarded"):
            status, said = gateway.ask("POST", f"/api/v1/events/{event['id']}/discard", {"reason": "a test"})
            assert status == 200, (status, said)
    for state in ["pending", "delivered", "dead", "quarantined", "discarded", "filtered"]:
        until(f"{EACH} {state} events", lambda: gateway.count(state) >= EACH)


def judge(schemathesis, gateway, home):
    command = [
        schemathesis, "--config-file", str(HERE / "schemathesis.toml"), "run", f"http://{gateway.admin}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {gateway.token}",
        "--checks", "all", "--mode", "all", "--max-examples", os.environ.get("HOOKWARD_OPENAPI_EXAMPLES", "60"),
        "--seed", os.environ.get("HOOKWARD_OPENAPI_SEED", str(secrets.randbelow(1 << 32))),
        "--continue-on-failure", "--request-timeout", "30", "--suppress-health-check", "all",
    ]
    return subprocess.run(command, cwd=home).returncode


def main():
    binary, schemathesis = (str(Path(path).resolve()) for path in sys.argv[1:])
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        gateway = Gateway(binary, Path(home), app.server_port)
        try:
            fill(gateway)
            judged = judge(schemathesis, gateway, home)
        finally:
            stopped = gateway.stop()
    assert stopped == 0, f"the gateway ended with {stopped}"
    assert not gateway.defects, gateway.defects
    raise SystemExit(judged)


main()
