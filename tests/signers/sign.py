#!/usr/bin/env python3
"""Signs random bodies as the providers do, for tests/signer_vectors.rs.

usage: sign.py [--seed N] [--count N] > vectors.jsonl

One JSON object a line: scheme, signer (package and version), now (Unix seconds at which the
request was signed), secret, headers and body. The signatures come from the providers' own client
libraries where there is one, and are checked by the library's verifier where it has one that
takes the time from its caller. Where there is none, they are made with Python's hmac module as
the provider's guide says. The same seed makes the same lines.
"""

import argparse
import base64
import hashlib
import hmac
import json
import pathlib
import random
import shutil
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from importlib.metadata import version

import standardwebhooks
from slack_sdk.signature import Clock, SignatureVerifier
from stripe import WebhookSignature
from svix.webhooks import Webhook as SvixWebhook

HERE = pathlib.Path(__file__).resolve().parent
STDLIB = f"python hmac {sys.version_info.major}.{sys.version_info.minor}"


def mac(secret, content, algorithm):
    return hmac.new(secret.encode(), content.encode(), algorithm)


def with_standard_webhooks(rng, now, body, library, name):
    secret = "whsec_" + base64.b64encode(rng.randbytes(rng.choice([24, 32, 64]))).decode()
    message = "msg_" + rng.randbytes(12).hex()
    signature = library(secret).sign(message, datetime.fromtimestamp(now, timezone.utc), body)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(now),
        "webhook-signature": signature,
    }
    return "standard-webhooks", f"{name} {version(name)}", secret, headers


def standard_webhooks(rng, now, body):
    return with_standard_webhooks(rng, now, body, standardwebhooks.Webhook, "standardwebhooks")


def svix(rng, now, body):
    return with_standard_webhooks(rng, now, body, SvixWebhook, "svix")


def stripe(rng, now, body):
    secret = "whsec_" + rng.randbytes(24).hex()
    header = WebhookSignature.generate_signature_header(body, secret, timestamp=now)
    WebhookSignature.verify_header(body, header, secret)
    return "stripe", f"stripe {version('stripe')}", secret, {"Stripe-Signature": header}


def slack(rng, now, body):
    class Then(Clock):
        def now(self):
            return now

    secret = rng.randbytes(16).hex()
    verifier = SignatureVerifier(secret, Then())
    signature = verifier.generate_signature(timestamp=str(now), body=body)
    assert verifier.is_valid(body, str(now), signature)
    headers = {"X-Slack-Request-Timestamp": str(now), "X-Slack-Signature": signature}
    return "slack", f"slack_sdk {version('slack_sdk')}", secret, headers


def shopify(rng, now, body):
    secret = rng.randbytes(16).hex()
    signature = base64.b64encode(mac(secret, body, hashlib.sha256).digest()).decode()
    return "shopify", STDLIB, secret, {"X-Shopify-Hmac-SHA256": signature}


def c4hxp(rng, now, body):
    secret = rng.randbytes(20).hex()
    signature = "sha256=" + mac(secret, body, hashlib.sha256).hexdigest()
    return "c4hxp", STDLIB, secret, {"X-C4HXP-Signature": signature}


def rxscale(rng, now, body):
    secret = "whsec_" + rng.randbytes(24).hex()
    signature = mac(secret, body, hashlib.sha256).hexdigest()
    return "rxscale", STDLIB, secret, {"X-Webhook-Signature": signature}


def sha1_upper_hex(rng, now, body):
    secret = rng.randbytes(20).hex()
    signature = mac(secret, body, hashlib.sha1).hexdigest().upper()
    return "sha1-upper-hex", STDLIB, secret, {"X-Lab-Signature": signature}


def sha512_template(rng, now, body):
    """Signs `{timestamp}|{header:X-Lab-Id}|{body}`; base64 behind a prefix, time in a header."""
    secret = rng.randbytes(20).hex()
    delivery = str(uuid.UUID(bytes=rng.randbytes(16)))
    digest = mac(secret, f"{now}|{delivery}|{body}", hashlib.sha512).digest()
    headers = {
        "X-Lab-Id": delivery,
        "X-Lab-Timestamp": str(now),
        "X-Lab-Signature": "sha512:" + base64.b64encode(digest).decode(),
    }
    return "sha512-template", STDLIB, secret, headers


SCHEMES = [
    standard_webhooks, svix, stripe, slack, shopify, c4hxp, rxscale, sha1_upper_hex,
    sha512_template,
]

ALPHABET = "abcXYZ019 \"\\/\b\n\t{}[]:,.=+&%\u00e9\u00df\u4e2d\u6587\u0416\u200b\u2028\U0001f48a"


def text(rng, longest):
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, longest)))


def value(rng, depth):
    kind = rng.randrange(6 if depth else 4)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randint(-(10**18), 10**18)
    if kind in (2, 3):
        return text(rng, 30)
    if kind == 4:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    return {text(rng, 10): value(rng, depth - 1) for _ in range(rng.randint(0, 5))}


def body(rng, number):
    """A body: mostly JSON objects of all kinds and spacings, now and then another thing."""
    special = ["0", "{}", '"\U0001f48a"', "a=1&b=%20" + text(rng, 40), " {\r\n}\n", "\u00e9" * 700]
    if number < len(special):
        return special[number]
    event = {"id": "evt_" + rng.randbytes(6).hex(), "data": value(rng, 4)}
    return json.dumps(
        event,
        ensure_ascii=rng.random() < 0.3,
        indent=rng.choice([None, None, 0, 2]),
        separators=rng.choice([None, (",", ":"), (" , ", " : ")]),
    )


def github(cases):
    """Octokit's signatures, by Node.js; none where Node.js or the package is missing."""
    if not (shutil.which("node") and (HERE / "node_modules").exists()):
        print("no Node.js with @octokit/webhooks-methods: no github vectors", file=sys.stderr)
        return []
    asked = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run(
        ["node", HERE / "sign.mjs"], input=asked, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=12, help="bodies for each signer")
    args = parser.parse_args()

    rng = random.Random(args.seed)
    cases = []
    for sign in SCHEMES:
        for number in range(args.count):
            now, content = rng.randint(1_500_000_000, 2_000_000_000), body(rng, number)
            scheme, signer, secret, headers = sign(rng, now, content)
            cases.append(
                {"scheme": scheme, "signer": signer, "now": now, "secret": secret,
                 "headers": headers, "body": content}
            )
    unsigned = [
        {"now": rng.randint(1_500_000_000, 2_000_000_000), "secret": rng.randbytes(20).hex(),
         "body": body(rng, number)}
        for number in range(args.count)
    ]
    for case in cases + github(unsigned):
        print(json.dumps(case))


if __name__ == "__main__":
    main()
