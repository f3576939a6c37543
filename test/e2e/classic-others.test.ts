/** tcplike, sum, fetch, hashed and heartbeat through the built command line, on real sockets. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLinkRelay } from "../../src/node/link-relay.ts";
import { patternBytes } from "../support/classic-memory.ts";
import { Scene } from "./godwit.ts";
import type { Ended, Running } from "./godwit.ts";

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});
afterEach(() => scene.close());

const LOCAL = "127.0.0.1";

async function portOf(server: Running): Promise<string> {
  const { address } = await server.event("listening");
  return String(address).split(":").at(-1) ?? "";
}

const start = (...words: string[]): Running => scene.start("server", ["classic", ...words]);
const run = (input: Uint8Array | undefined, ...words: string[]): Promise<Ended> =>
  scene.run("client", ["classic", ...words], input === undefined ? {} : { input });

test("tcplike: text in, text out, the original's log on the client", async () => {
  const server = start("tcplike", "server", "0", "--bind", LOCAL, "--output", "out", "--json");
  const text = Buffer.from("Fr\u00fchling, one line of it.\n");
  const client = await run(text, "tcplike", "client", LOCAL, await portOf(server), "--quick");
  expect(client.status).toBe(0);
  expect((await server.ended).status).toBe(0);
  expect(readFileSync(scene.path("out"))).toEqual(text);
  // 26 characters in 27 bytes: 43 + 26 = 69, and the FIN-ACK adds the last 26 again.
  expect(client.stdout.toString().replace(/ (\d+) (ACK|FIN|$)/gm, " ID $2")).toBe(
    [
      "SEND 42 0 0 SYN",
      "RECV 42 43 ID ACK SYN",
      "SEND 43 0 ID ACK",
      "RECV 43 69 ID ACK",
      "SEND 69 0 ID FIN",
      "RECV 69 95 ID ACK FIN",
      "RECV 69 0 ID FIN",
      "SEND 69 70 ID ACK FIN",
      "",
    ].join("\n"),
  );
});

test("tcplike --extended: any bytes over a link that loses, doubles and reorders", async () => {
  const content = patternBytes(20_000);
  const server = start("tcplike", "server", "0", "--bind", LOCAL, "--output", "out", "--json");
  const bad = {
    lossProbability: 0.03,
    duplicateProbability: 0.05,
    reorderProbability: 0.05,
    reorderDelayUs: 5_000,
  };
  const target = { host: LOCAL, port: Number(await portOf(server)) };
  const relay = await openLinkRelay({
    listen: { host: LOCAL, port: 0 },
    target,
    up: bad,
    down: bad,
    seed: 5,
  });
  const client = await run(
    content,
    "tcplike",
    "client",
    LOCAL,
    String(relay.port),
    "--extended",
    "--quick",
    "--quiet",
  );
  await relay.close();
  expect(client.status).toBe(0);
  expect((await server.ended).status).toBe(0);
  expect(readFileSync(scene.path("out")).equals(content)).toBe(true);
});

test("tcplike refuses what the original cannot carry, before it asks for a server", async () => {
  const client = await run(Buffer.from("abc\0\0"), "tcplike", "client", LOCAL, "9");
  expect(client.status).toBe(2);
  expect(client.stderr).toContain("ends in NUL");
});

test("sum: the number from standard input, the sum on both sides, and the end", async () => {
  const server = start("sum", "server", "0", "--bind", LOCAL, "--name", "Bob", "--number", "42", "--json");
  const port = await portOf(server);
  const client = await run(Buffer.from("17\n"), "sum", "client", LOCAL, port, "--name", "Ada");
  expect(client.status).toBe(0);
  expect(client.stdout.toString()).toBe("Ada: 17\nBob: 42\n17 + 42 = 59\n");
  expect((await run(undefined, "sum", "client", LOCAL, port, "--number", "0")).status).toBe(0);
  const ended = await server.ended;
  expect(ended.status).toBe(0);
  expect(ended.stdout.toString()).toContain("17 + 42 = 59");
});

test("fetch: whole files, missing ones, and nothing outside the directory", async () => {
  mkdirSync(scene.path("files"));
  writeFileSync(scene.path("secret"), "secret");
  const content = patternBytes(300_000);
  writeFileSync(scene.path("files", "big"), content);
  writeFileSync(scene.path("files", "exact"), content.subarray(0, 4_096));
  const server = start("fetch", "server", "0", "files", "--bind", LOCAL, "--json");
  const port = await portOf(server);
  const fetch = (name: string, out: string, ...more: string[]): Promise<Ended> =>
    run(undefined, "fetch", "client", LOCAL, port, name, out, "--attempts", "1", ...more);
  expect((await fetch("big", "a", "--verify")).status).toBe(0);
  expect(readFileSync(scene.path("a")).equals(content)).toBe(true);
  expect((await fetch("exact", "b")).status).toBe(0);
  expect(readFileSync(scene.path("b"))).toEqual(Buffer.from(content.subarray(0, 4_096)));
  expect((await fetch("../secret", "c", "--verify")).status).toBe(4);
  expect((await fetch("none", "d", "--verify")).status).toBe(4);
  expect((await fetch("none", "e")).status).toBe(12);
  expect(readdirSync(scene.directory).filter((name) => name.length === 1)).toEqual(["a", "b", "e"]);
  server.child.kill("SIGINT");
  expect((await server.ended).status).toBe(130);
});

test("fetch --edition yatfs from a server that loses every fifth answer", async () => {
  mkdirSync(scene.path("files"));
  const content = patternBytes(3_000);
  writeFileSync(scene.path("files", "f"), content);
  const server = start(
    "fetch",
    "server",
    "0",
    "files",
    "--bind",
    LOCAL,
    "--json",
    "--edition",
    "yatfs",
    "--loss",
    "0.2",
  );
  const port = await portOf(server);
  const client = await run(undefined, "fetch", "client", LOCAL, port, "f", "out", "--edition", "yatfs");
  expect(client.status).toBe(0);
  expect(readFileSync(scene.path("out")).equals(content)).toBe(true);
});

test("hashed: three clients at once, and a file that exists is kept when asked", async () => {
  const content = patternBytes(1_000_000);
  writeFileSync(scene.path("in"), content);
  writeFileSync(scene.path("kept"), "old");
  const server = start("hashed", "server", "0", "in", "--bind", LOCAL, "--count", "3", "--json");
  const port = await portOf(server);
  const clients = await Promise.all(
    ["a", "b", "c"].map((out) => run(undefined, "hashed", "client", LOCAL, port, out)),
  );
  for (const [index, client] of clients.entries()) {
    expect(client.status).toBe(0);
    expect(client.stdout.toString()).toMatch(/^Connected to .*\n(.*\n)*Hash is correct\n$/);
    expect(readFileSync(scene.path("abc"[index])).equals(content)).toBe(true);
  }
  expect((await server.ended).status).toBe(0);
  const refused = await run(undefined, "hashed", "client", LOCAL, port, "kept", "--keep-existing");
  expect(refused.status).toBe(9);
  expect(readFileSync(scene.path("kept"), "utf8")).toBe("old");
});

test("heartbeat: answers, losses, and nobody there", async () => {
  const server = start("heartbeat", "server", LOCAL, "0", "--json");
  const port = await portOf(server);
  const good = await run(undefined, "heartbeat", "client", LOCAL, port, "--count", "3");
  expect(good.status).toBe(0);
  expect(good.stdout.toString()).toMatch(
    /^(Reply from 127\.0\.0\.1:\d+: PING \d [A-Z]{3} [A-Z]{3} [ \d]\d [\d:]{8} \d{4}\nRTT: \d\.\d{6}\n){3}min\/avg\/max RTT: .* s, loss: 0 % \(0 of 3\)\n$/,
  );
  server.child.kill("SIGINT");
  expect((await server.ended).status).toBe(130);
  const none = await run(undefined, "heartbeat", "client", LOCAL, port, "--count", "2", "--timeout", "0.1");
  expect(none.status).toBe(6);
  expect(none.stdout.toString()).toBe(
    "Request timed out\nRequest timed out\nno reply, no times, loss: 100 % (2 of 2)\n",
  );
});
