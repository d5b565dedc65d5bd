// Signs as GitHub does, with Octokit's own library: JSON lines with `now`, `secret` and `body`
// come in, test vectors go out. Called by sign.py.

import { sign, verify } from "@octokit/webhooks-methods";
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const { now, secret, body } = JSON.parse(line);
  const signature = await sign(secret, body);
  if (!(await verify(secret, body, signature))) throw new Error("octokit refuses its own");
  const signer = `@octokit/webhooks-methods ${sign.VERSION}`;
  const headers = { "X-Hub-Signature-256": signature };
  console.log(JSON.stringify({ scheme: "github", signer, now, secret, headers, body }));
}
