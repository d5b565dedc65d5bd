//! What `hookward init` writes around the sources that are asked for.

/// What stands before the sources.
pub(super) const HEAD: &str = "\
# Hookward's configuration. As it stands it runs on one machine: providers call
# http://127.0.0.1:8080, and the app behind it listens on http://127.0.0.1:3000/webhooks.
#
# Unknown keys are errors. Durations take ms, s, m, h, d; sizes B, KiB, MiB, GiB. Relative paths
# are relative to this file. Secrets never stand here: a secret is { env = \"NAME\" } or
# { file = \"PATH\" }, a file that only its owner can read.

[server]
listen = \"127.0.0.1:8080\"    # for providers: the address behind your TLS terminator
# Behind a terminator, whose X-Forwarded-For is believed (or its PROXY header, which then must come):
# trusted_proxies = [\"127.0.0.1/32\"]
# proxy_protocol = false
# Without one: listen = \"0.0.0.0:8443\", and a certificate from files, or from Let's Encrypt by
# itself with { acme = { domains = [\"hooks.clinic.example\"] } }, reachable on port 443.
# tls = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" }
# client_rate_limit = { per_second = 50, burst = 200 }    # for one client address; 429 beyond
# sandbox = true               # gives up what it does not need of the file system (Landlock)
# ack_deadline = \"4s\"        # every answer leaves within this
# max_body = \"1MiB\"

[admin]
listen = \"127.0.0.1:9443\"    # /healthz, /readyz; never the public listener
token = { file = \"secrets/admin.token\" }

[store]
path = \"data\"
retention = \"30d\"            # of events and their dedupe keys
# Everything stored is encrypted. Keep a copy of the key elsewhere: without it nothing can be read.
# Rotation: [{ file = \"secrets/store.new.key\" }, { file = \"secrets/store.key\" }] and `hookward store rekey`.
encryption_key = { file = \"secrets/store.key\" }
min_free = \"256MiB\"          # with less free space new events get 503, and the provider retries

# What was refused and done is in audit/ of the store, chained and signed. To keep it, and proof of it, elsewhere:
# [audit]
# retention = \"2192d\"        # six years
# archive = \"/mnt/archive/hookward\"    # where records go that are past it; without it they are removed
# checkpoints = { file = \"/mnt/other/checkpoints.jsonl\" }    # with them nobody can cut the trail unseen
# [audit.output.siem]          # sent on as it is recorded
# kind = \"syslog\"
# address = \"tls://siem.clinic.example:6514\"

[log]
format = \"json\"              # or \"text\"
level = \"info\"
";

/// A source without a preset, with NAME for its name.
pub(super) const PLAIN_SOURCE: &str = "\
# An example with everything spelled out: put in what your provider's guide says.
path = \"/hooks/NAME\"
auth = { kind = \"hmac\", header = \"X-Signature\", algorithm = \"sha256\", encoding = \"hex\", prefix = \"sha256=\", signed = \"{body}\" }
# auth = { kind = \"api-key\", header = \"X-API-Key\" }
# A random secret. Give it to the provider, or write the one that it gave you into the file.
# During a rotation list both: any of them will do.
keys = [{ file = \"secrets/NAME\" }]
# allow_ips = [\"203.0.113.0/24\"]    # who may call; without it, anyone with the key
# rate_limit = { per_second = 50, burst = 200 }    # verified requests; 429 beyond
# max_event_age = \"24h\"             # older events are refused as replays
# Where in the body (JSON Pointer) or the headers (\"header:X-Name\") an event's parts stand:
event.type = \"/type\"
event.id = \"/id\"
event.time = \"/created\"
event.subject = \"/data/id\"          # the entity: its events are delivered in order
event.data = \"/data\"
# dedupe = [\"/type\", \"/data/id\"]    # what identifies an event; without it, the event id
";

/// What stands behind the sources.
pub(super) const TAIL: &str = "
[upstream.app]
url = \"http://127.0.0.1:3000/webhooks\"
signing_key = { file = \"secrets/upstream.key\" }    # so that the app can tell the gateway from anyone else
# headers = { Authorization = { env = \"APP_TOKEN\" } }
# timeout = \"10s\"
# retry = { first = \"1s\", max = \"10m\", give_up = \"72h\" }
";
