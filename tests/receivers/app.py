"""An app in Flask: handlers in the manner of the providers' guides, and receivers of CloudEvents.

Whatever a handler answers is told on stdout, a JSON object a line, for check.py to judge.
"""

import hashlib
import hmac
import json
import logging
import os
import sys
import threading
import time

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from flask import Flask, jsonify, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from werkzeug.serving import make_server

app = Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
out = threading.Lock()


def tell(**said):
    with out:
        print(json.dumps(said), flush=True)


@app.after_request
def tell_answer(response):
    tell(at=request.path, status=response.status_code, id=request.headers.get("webhook-id"))
    return response


def hex_hmac(secret, content):
    return hmac.new(os.environ[secret].encode(), content, hashlib.sha256).hexdigest()


# C4HXP's guide: the signature is over the raw body, with a prefix.


def c4hxp(secret):
    signature = request.headers.get("X-C4HXP-Signature", "")
    if not hmac.compare_digest("sha256=" + hex_hmac(secret, request.data), signature):
        return "bad signature", 401
    event = request.get_json()
    tell(at=request.path, event=event["event"], data=event["data"])
    return jsonify({"status": "received"})


@app.post("/c4hxp")
def c4hxp_with_the_apps_key():
    return c4hxp("HANDLER_KEY")


@app.post("/c4hxp-kept")
def c4hxp_with_the_providers_key():
    return c4hxp("C4HXP_KEY")


# NovaMed's and Nimbus OS's guides: a key in a header, and the work is done in a thread.


def work(at, kind, data):
    tell(at=at, event=kind, data=data)


@app.post("/novamed")
def novamed():
    if request.headers.get("x-api-key") != os.environ["HANDLER_KEY"]:
        return jsonify({"error": "unauthorized"}), 401
    event = request.get_json()
    # Two editions of the guide are in use.
    kind = event.get("event_type") or event["event_name"]
    data = event.get("data") or event["event_data"]
    threading.Thread(target=work, args=("/novamed", kind, data)).start()
    return jsonify({"received": True})


@app.post("/nimbus")
def nimbus():
    if request.headers.get("X-API-Key") != os.environ["HANDLER_KEY"]:
        return jsonify({"error": "unauthorized"}), 401
    event = request.get_json()
    threading.Thread(target=work, args=("/nimbus", event["event_name"], event["event_data"])).start()
    return jsonify({"received": True})


# Stripe's documentation, without its library: what is signed includes the time, which must be now.


@app.post("/stripe")
def stripe():
    parts = dict(part.split("=", 1) for part in request.headers["Stripe-Signature"].split(","))
    content = parts["t"].encode() + b"." + request.data
    if abs(time.time() - int(parts["t"])) > 300:
        return "too old", 400
    if not hmac.compare_digest(hex_hmac("HANDLER_KEY", content), parts["v1"]):
        return "bad signature", 400
    event = json.loads(request.data)
    tell(at=request.path, event=event["type"], data=event["data"])
    return jsonify(success=True)


# CloudEvents in either mode, signed by the gateway with a key that is about to be retired.


@app.post("/structured")
@app.post("/binary")
def cloudevent():
    structured = request.content_type == "application/cloudevents+json"
    try:
        webhook = Webhook(os.environ["OLD_KEY"])
        webhook.verify(request.data, dict(request.headers), json_parse=False)
    except WebhookVerificationError as error:
        return str(error), 401
    event = from_http_event(HTTPMessage(headers=dict(request.headers), body=request.data))
    attributes = {
        name: value if isinstance(value, str) else value.isoformat()
        for name, value in event.get_attributes().items()
    }
    data = event.get_data()
    if isinstance(data, (bytes, str)):
        data = json.loads(data)
    if not ("ce-time" in request.headers or "time" in (request.get_json() if structured else ())):
        # The library fills it in.
        attributes.pop("time")
    tell(at=request.path, id=request.headers["webhook-id"], attributes=attributes, data=data)
    return "", 204


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    tell(port=server.port)
    # Whoever started it closes its standard input, and that is its end.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
