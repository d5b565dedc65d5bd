"""Validates exported events against OCSF's schema, and shows first that the validation finds what is wrong.

usage: check.py HOOKWARD SAMPLES

SAMPLES has one event a line: of every reason and act, whole, bare and as a sum.
"""

import copy
import functools
import http.client
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

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

PATIENCE = 60
CLASS = "api_activity"

CONFIG = """
[server]
listen = "127.0.0.1:0"
max_body = "1KiB"
[admin]
listen = "127.0.0.1:0"
token = { env = "ADMIN_TOKEN" }
[store]
path = "data"
min_free = "0B"
[source.lab]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "LAB_KEY" }]
event.id = "/id"
[source.closed]
auth = { kind = "api-key", header = "X-API-Key" }
keys = [{ env = "LAB_KEY" }]
allow_ips = ["192.0.2.0/24"]
[upstream.app]
url = "http://127.0.0.1:1/"
[audit.output.file]
kind = "file"
path = "sent.jsonl"
format = "ocsf"
checkpoints = true
"""


@functools.cache
def schema(version):
    return get_ocsf_schema(version)


@functools.cache
def validator(version, profiles):
    document = OcsfJsonSchemaEmbedded(schema(version)).get_class_schema(CLASS, list(profiles))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def captions(event):
    """Ids whose caption is another one than the schema's. JSON Schema does not see that."""
    attributes = schema(event["metadata"]["version"])["classes"][CLASS]["attributes"]
    pairs = [("class_uid", "class_name"), ("category_uid", "category_name"), ("type_uid", "type_name"),
             ("activity_id", "activity_name")]
    pairs += [(name + "_id", name) for name in ("severity", "status", "action", "disposition")]
    for number, name in pairs:
        # The caption of what is none of the ids is the producer's own.
        if number not in event or event[number] == 99:
            continue
        known = attributes[number]["enum"].get(str(event[number]), {}).get("caption")
        if event.get(name) != known:
            yield f"{number} {event[number]} is {known!r}, and {name} is {event.get(name)!r}"
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield f"type_uid {event['type_uid']} is not of class and activity"


def faults(event):
    version = event.get("metadata", {}).get("version", "1.8.0")
    profiles = tuple(event.get("metadata", {}).get("profiles", []))
    found = [f"{error.json_path}: {error.message[:200]}" for error in validator(version, profiles).iter_errors(event)]
    return found or list(captions(event))


def controls(event):
    """Changes that must each be found."""
    def without(*path):
        changed = copy.deepcopy(event)
        place = changed
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]
        return changed

    def with_(value, *path):
        changed = copy.deepcopy(event)
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        return changed

    yield "an id that is none of the enumeration's", with_(77, "severity_id")
    yield "another id that is none", with_(77, "disposition_id")
    yield "an unknown attribute", with_("x", "surprise")
    yield "an unknown attribute within an object", with_("x", "src_endpoint", "surprise")
    yield "no actor", without("actor")
    yield "no version", without("metadata", "version")
    yield "an empty endpoint", with_({}, "src_endpoint")
    yield "a time in words", with_("2025-01-15T10:30:00Z", "time")
    yield "an address that is none", with_("nobody", "src_endpoint", "ip")
    yield "another class", with_(6004, "class_uid")
    yield "an attribute of a profile that is not named", without("metadata", "profiles")
    yield "another caption", with_("Low", "status")
    yield "a type of another activity", with_(event["type_uid"] + 1, "type_uid")


def judge(events, where):
    wrong = 0
    for event in events:
        for fault in faults(event):
            wrong += 1
            print(f"{where}: {event.get('metadata', {}).get('event_code')}: {fault}")
    return wrong


class Gateway:
    def __init__(self, binary, home):
        self.binary, self.home = binary, home
        self.config = home / "hookward.toml"
        self.config.write_text(CONFIG)
        self.token, self.key = secrets.token_hex(16), secrets.token_hex(16)
        self.env = {"ADMIN_TOKEN": self.token, "LAB_KEY": self.key}
        command = [binary, "run", "--config", str(self.config)]
        self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        for line in self.process.stderr:
            said = json.loads(line)
            if said.get("message") == "started":
                self.public, self.admin = said["listen"], said["admin"]
                break
        else:
            raise SystemExit("the gateway has not started")
        timer.cancel()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def send(self, path, body=b"{}", method="POST", address=None, **headers):
        connection = http.client.HTTPConnection(address or self.public, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Content-Type": "application/json", **named})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def refuse(self):
        key = {"X_API_Key": self.key}
        expected = [
            (404, self.send("/nowhere", User_Agent="scanner")), (405, self.send("/hooks/lab", method="PUT")),
            (405, self.send("/hooks/lab", method="PURGE")), (403, self.send("/hooks/closed", **key)),
            (401, self.send("/hooks/lab")), (401, self.send("/hooks/lab", X_API_Key="guess")),
            (413, self.send("/hooks/lab", b" " * 2000, **key)), (400, self.send("/hooks/lab", b"{", **key)),
            (415, self.send("/hooks/lab", Content_Encoding="gzip", **key)),
        ]
        assert all(status == answer[0] for status, answer in expected), expected
        status, headers, _ = self.send("/hooks/lab", b'{"id":"1"}', **key)
        assert status == 200, status
        looked = self.send(f"/api/v1/events/{headers['hookward-event-id']}?payload=1", None, "GET",
                           self.admin, Authorization="Bearer " + self.token)
        assert looked[0] == 200, looked

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def export(self):
        command = [self.binary, "audit", "export", "--format", "ocsf", "--config", str(self.config)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def sent(self):
        return [json.loads(line) for line in (self.home / "sent.jsonl").read_text().splitlines()]


def records(sent):
    """What an output has sent, as it is exported: without checkpoints, and without what names the one before."""
    numbers = [None]
    for event in copy.deepcopy(sent):
        unmapped = event.get("unmapped", {})
        assert unmapped.pop("previous", None) == numbers[-1], event
        if not unmapped:
            event.pop("unmapped", None)
        if event["metadata"]["event_code"] != "checkpoint":
            numbers.append(event["metadata"]["sequence"])
            yield event


def of_a_gateway(binary):
    with tempfile.TemporaryDirectory() as home:
        gateway = Gateway(binary, Path(home))
        try:
            gateway.refuse()
        finally:
            code = gateway.stop()
        assert code == 0, code
        return gateway.export(), gateway.sent()


def main():
    binary, samples = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
    begun = time.monotonic()
    made = [json.loads(line) for line in samples.read_text().splitlines()]
    real, sent = of_a_gateway(binary)
    assert list(records(sent)) == real, "an output sends what is exported"
    assert len(sent) > len(real), "and checkpoints"
    refused = next(event for event in real if event["metadata"]["event_code"] == "credential_invalid")
    assert not faults(refused), faults(refused)
    unseen = 0
    found = 0
    for what, changed in controls(refused):
        if faults(changed):
            found += 1
        else:
            unseen += 1
            print(f"not found: {what}")
    wrong = judge(made, "sample") + judge(real, "gateway") + judge(sent, "output")
    codes = {event["metadata"]["event_code"] for event in real}
    print(f"{len(made)} samples, {len(sent)} messages of an output and {len(real)} events of a gateway ({', '.join(sorted(codes))}), {wrong} faults; "
          f"{found} of {found + unseen} wrong events found, in {time.monotonic() - begun:.1f} s")
    expected = {"unknown_route", "method_not_allowed", "ip_not_allowed", "credential_missing", "credential_invalid",
                "body_too_large", "malformed_json", "unsupported_media_type", "payload_viewed", "started", "stopped"}
    if wrong or unseen or not expected <= codes or len(made) < 60:
        raise SystemExit(1)


main()
