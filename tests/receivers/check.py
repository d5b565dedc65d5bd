"""Runs the gateway in front of the two apps, sends what the providers send, and judges what arrives.

usage: check.py HOOKWARD NODE-APP-DIRECTORY
"""

import base64
import datetime
import http.client
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 60
EACH = 3

# Source, and the handlers that get what it sends: app, path, and how they know it is genuine.
HANDLERS = {
    "c4hxp": [("py", "c4hxp", "resign"), ("py", "c4hxp-kept", "keep"), ("js", "c4hxp", "resign")],
    "novamed": [("py", "novamed", "resign"), ("js", "novamed", "resign")],
    "nimbus": [("py", "nimbus", "resign")],
    "stripe": [("py", "stripe", "resign")],
    "rxscale": [("js", "rxscale", "resign")],
    "github": [("js", "github", "resign")],
    "shopify": [("js", "shopify", "resign")],
}
CLOUDEVENTS = [(app, mode) for app in ("py", "js") for mode in ("structured", "binary")]

# Attributes with all that a header cannot hold as it is.
ODD = {"id": 'e 1%"ü', "type": "order:größer 100%", "subject": "Anaïs \u20ac \U0001f600", "data": [1.5, "ä"]}


class App:
    """An app, and what it has said so far."""

    def __init__(self, command, env, cwd=None):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, cwd=cwd, stdin=pipe, stdout=pipe, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.said = []

    def read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self, until):
        said = self.lines.get(timeout=max(0.1, until - time.monotonic()))
        self.said.append(said)
        return said

    def stop(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)


def config(ports):
    text = '[server]\nlisten = "127.0.0.1:0"\n[store]\npath = "data"\nmin_free = "0B"\n'
    text += '[source.lab]\nauth = { kind = "api-key", header = "X-Key" }\nkeys = [{ env = "LAB_KEY" }]\n'
    text += "".join(f'event.{part} = "/{part}"\n' for part in ODD)
    routes = ""
    for source, handlers in HANDLERS.items():
        text += f'[source.{source}]\npreset = "{source}"\nkeys = [{{ env = "{source.upper()}_KEY" }}]\n'
        text += 'allow_ips = ["127.0.0.0/8"]\n'
        for app, path, how in handlers:
            text += f'[upstream.{app}-{path}]\nurl = "http://127.0.0.1:{ports[app]}/{path}"\n'
            text += 'format = "passthrough"\n'
            if how == "keep":
                text += 'original_signature = "keep"\n'
            else:
                text += f'resign = {{ {source} = {{ env = "HANDLER_KEY" }} }}\n'
        names = ", ".join(f'"{app}-{path}"' for app, path, _ in handlers)
        routes += f'[[route]]\nsource = "{source}"\nto = [{names}]\n'
    for app, mode in CLOUDEVENTS:
        form = {"structured": "cloudevents", "binary": "cloudevents-binary"}[mode]
        text += f'[upstream.{app}-{mode}]\nurl = "http://127.0.0.1:{ports[app]}/{mode}"\n'
        text += f'format = "{form}"\nsigning_key = [{{ env = "NEW_KEY" }}, {{ env = "OLD_KEY" }}]\n'
    names = ", ".join(f'"{app}-{mode}"' for app, mode in CLOUDEVENTS)
    return text + routes + f"[[route]]\nto = [{names}]\n"


def start_gateway(hookward, file, env):
    """The gateway, and where it listens, once it does."""
    process = subprocess.Popen(
        [hookward, "run", "--config", file], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told = queue.Queue()

    def read():
        for line in process.stdout:
            told.put(line)

    threading.Thread(target=read, daemon=True).start()
    lines = []
    while True:
        try:
            lines.append(told.get(timeout=PATIENCE))
        except queue.Empty:
            sys.exit("the gateway does not start:\n" + "".join(lines))
        try:
            line = json.loads(lines[-1])
        except ValueError:
            continue
        if line.get("message") == "started":
            return process, line["listen"]


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def rounded(value):
    """What JavaScript makes of numbers: all of them have 53 bits."""
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    if isinstance(value, list):
        return [rounded(element) for element in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def view(said):
    """A CloudEvent as any receiver should see it."""
    attributes = dict(said["attributes"])
    for time_attribute in ("time", "recordedtime"):
        if attributes.get(time_attribute):
            attributes[time_attribute] = round(instant(attributes[time_attribute]), 3)
    present = {name: value for name, value in attributes.items() if value is not None}
    return present, rounded(said["data"])


def judge(apps, ids):
    """All that is wrong with what the apps have said."""
    wrong = [f"{app}: {said}" for app in apps for said in apps[app].said if said.get("status", 200) >= 300]
    for handlers in HANDLERS.values():
        for app, path, _ in handlers:
            handled = [said for said in apps[app].said if said["at"] == f"/{path}" and "event" in said]
            if len(handled) != EACH or not all(said["event"] and said["data"] for said in handled):
                wrong.append(f"{app} /{path}: {len(handled)} events: {handled}")
    views = {}
    for app, mode in CLOUDEVENTS:
        events = [said for said in apps[app].said if said["at"] == f"/{mode}" and "attributes" in said]
        if len(events) != len(ids):
            wrong.append(f"{app} /{mode}: {len(events)} of {len(ids)} events")
        for said in events:
            views.setdefault(said["id"], {})[f"{app} {mode}"] = view(said)
    for name, seen in views.items():
        first = next(iter(seen.values()))
        for receiver, other in seen.items():
            if other != first:
                wrong.append(f"{name}: {receiver} sees {other}, others see {first}")
    odd, data = next(iter(views.get(ids[-1], {}).values()), ({}, None))
    expected = (ODD["id"], ODD["subject"], ODD["type"], ODD["data"])
    if (odd.get("id"), odd.get("subject"), odd.get("providertype"), data) != expected:
        wrong.append(f"the odd event arrives as {odd} {data}")
    return wrong


def main(hookward, node_app):
    env = dict(os.environ)
    for name in [*(source.upper() for source in HANDLERS), "LAB", "HANDLER"]:
        env[f"{name}_KEY"] = secrets.token_hex(24)
    for name in ("NEW", "OLD"):
        env[f"{name}_KEY"] = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    apps = {
        "py": App([sys.executable, str(HERE / "app.py")], env),
        "js": App(["node", "app.mjs"], env, cwd=node_app),
    }
    until = time.monotonic() + PATIENCE
    ports = {app: apps[app].next(until)["port"] for app in apps}
    for app in apps.values():
        app.said.clear()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        file = Path(directory) / "hookward.toml"
        file.write_text(config(ports))
        gateway, address = start_gateway(hookward, file, env)
        ids = []
        for source in HANDLERS:
            command = [hookward, "send", source, "--config", file, "--count", str(EACH)]
            command += ["--url", f"http://{address}/hooks/{source}"]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            ids += [source] * EACH
        host, port = address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port))
        headers = {"Content-Type": "application/json", "X-Key": env["LAB_KEY"]}
        connection.request("POST", "/hooks/lab", json.dumps(ODD), headers)
        ids.append(connection.getresponse().headers["Hookward-Event-Id"])
        # What a handler does and what it answers are told apart: both are waited for.
        expected = {app: 0 for app in apps}
        for handlers in HANDLERS.values():
            for app, _, _ in handlers:
                expected[app] += 2 * EACH
        for app, _ in CLOUDEVENTS:
            expected[app] += 2 * len(ids)
        until = time.monotonic() + PATIENCE
        for name, app in apps.items():
            while len(app.said) < expected[name]:
                try:
                    app.next(until)
                except queue.Empty:
                    break
        gateway.terminate()
        gateway.wait(PATIENCE)
    for app in apps.values():
        app.stop()
    wrong = judge(apps, ids)
    if wrong:
        sys.exit("receivers: what arrives is wrong:\n" + "\n".join(wrong))
    handlers = sum(map(len, HANDLERS.values()))
    print(f"receivers: {len(ids)} events, {handlers} handlers and {len(CLOUDEVENTS)} CloudEvents receivers agree")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
