// An app in Express: handlers in the manner of the providers' guides, and receivers of CloudEvents.
// Whatever a handler answers is told on stdout, a JSON object a line, for check.py to judge.

import { createHmac, timingSafeEqual } from "node:crypto";
import { HTTP } from "cloudevents";
import express from "express";
import { Webhook } from "standardwebhooks";

const app = express();
const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

app.use((req, res, next) => {
  res.on("finish", () => tell({ at: req.path, status: res.statusCode, id: req.get("webhook-id") }));
  next();
});

const json = express.json();
const raw = express.raw({ type: "application/json" });
const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
const sign = (body, encoding) => createHmac("sha256", process.env.HANDLER_KEY).update(body).digest(encoding);

// NovaMed's guide: a key in a header; answered first, worked on afterwards.
app.post("/novamed", json, async (req, res) => {
  if (req.headers["x-api-key"] !== process.env.HANDLER_KEY) {
    return res.status(401).json({ error: "unauthorized" });
  }
  res.status(200).json({ received: true });
  await Promise.resolve();
  // Two editions of the guide are in use.
  const { event_type, event_name, data, event_data } = req.body;
  tell({ at: req.path, event: event_type ?? event_name, data: data ?? event_data });
});

// C4HXP's guide: the raw body is signed.
app.post("/c4hxp", raw, (req, res) => {
  if (!same(`sha256=${sign(req.body, "hex")}`, req.get("x-c4hxp-signature") ?? "")) {
    return res.status(401).send("bad signature");
  }
  const event = JSON.parse(req.body);
  tell({ at: req.path, event: event.event, data: event.data });
  res.json({ received: true });
});

// RxScale's page on webhook security: the same, without a prefix; the type stands in a header too.
app.post("/rxscale", raw, (req, res) => {
  const event = JSON.parse(req.body);
  if (!same(sign(req.body, "hex"), req.get("x-webhook-signature") ?? "")) {
    return res.status(401).send("bad signature");
  }
  if (req.get("x-webhook-event") !== event.event_type) {
    return res.status(400).send("another event in the header");
  }
  tell({ at: req.path, event: req.get("x-webhook-event"), data: event.data });
  res.sendStatus(200);
});

// GitHub's and Shopify's documentation: what happened is told by headers alone.
app.post("/github", raw, (req, res) => {
  if (!same(`sha256=${sign(req.body, "hex")}`, req.get("x-hub-signature-256") ?? "")) {
    return res.status(401).send("bad signature");
  }
  if (!req.get("x-github-delivery")) return res.status(400).send("no delivery");
  tell({ at: req.path, event: req.get("x-github-event"), data: JSON.parse(req.body) });
  res.status(202).send("accepted");
});

app.post("/shopify", raw, (req, res) => {
  if (!same(sign(req.body, "base64"), req.get("x-shopify-hmac-sha256") ?? "")) {
    return res.status(401).send("bad signature");
  }
  const domain = req.get("x-shopify-shop-domain");
  if (!domain) return res.status(400).send("no shop");
  tell({ at: req.path, event: req.get("x-shopify-topic"), data: JSON.parse(req.body) });
  res.sendStatus(200);
});

// CloudEvents in either mode, signed by the gateway with its new key.
app.post(["/structured", "/binary"], express.text({ type: () => true }), (req, res) => {
  try {
    new Webhook(process.env.NEW_KEY).verify(req.body, req.headers, { jsonParse: false });
  } catch (error) {
    return res.status(401).send(error.message);
  }
  const event = HTTP.toEvent({ headers: req.headers, body: req.body });
  event.validate();
  const { data, ...attributes } = event.toJSON();
  const binary = req.get("ce-id") !== undefined;
  if (!(binary ? req.get("ce-time") : JSON.parse(req.body).time)) {
    // The library fills it in.
    delete attributes.time;
  }
  if (binary) {
    // The library leaves the percent-encoding of the HTTP binding as it is.
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "string") attributes[name] = decodeURIComponent(value);
    }
  }
  tell({ at: req.path, id: req.get("webhook-id"), attributes, data });
  res.sendStatus(204);
});

const server = app.listen(0, "127.0.0.1", () => tell({ port: server.address().port }));
// Whoever started it closes its standard input, and that is its end.
process.stdin.resume().on("end", () => process.exit(0));
