/** The chunks and p2mp systems through the built command line, real sockets and a bad link between them. */
import { createSocket } from "node:dgram";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { openLinkRelay } from "../../src/node/link-relay.ts";
import { patternBytes } from "../support/classic-memory.ts";
import { Scene } from "./godwit.ts";
import type { Running } from "./godwit.ts";

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
  mkdirSync(scene.path("received"));
});
afterEach(() => scene.close());

const LOCAL = "127.0.0.1";
const BAD_LINK = {
  lossProbability: 0.03,
  duplicateProbability: 0.05,
  reorderProbability: 0.05,
  reorderDelayUs: 5_000,
};

async function portOf(server: Running): Promise<number> {
  const { address } = await server.event("listening");
  return Number(String(address).split(":").at(-1));
}

const chunksServer = (...more: string[]): Running =>
  scene.start("server", ["classic", "chunks", "server", "0", "received", "--bind", LOCAL, "--json", ...more]);

test("chunks over a link that loses, doubles and reorders; then the server is stopped", async () => {
  const content = patternBytes(30_000);
  writeFileSync(scene.path("in"), content);
  const server = chunksServer();
  const target = { host: LOCAL, port: await portOf(server) };
  const relay = await openLinkRelay({
    listen: { host: LOCAL, port: 0 },
    target,
    up: BAD_LINK,
    down: BAD_LINK,
    seed: 4,
  });
  const client = await scene.run("client", [
    "classic",
    "chunks",
    "client",
    `${LOCAL}:${relay.port}`,
    "in",
    "../out.bin",
  ]);
  expect(client.stderr).toContain("complete: 30000 bytes");
  expect(client.status).toBe(0);
  expect(client.stdout.toString()).toMatch(
    /^bufsize selected by server: 1024\n(seqNo=\d+ retry\n)*Successfully transmitted a file\n$/,
  );
  expect(readFileSync(scene.path("received", "out.bin"))).toEqual(Buffer.from(content));
  expect(readdirSync(scene.path("received"))).toEqual(["out.bin"]);
  await relay.close();
  server.child.kill("SIGINT");
  expect((await server.ended).status).toBe(130);
});

test("a file that the server cannot save is told on both sides, and others still arrive", async () => {
  writeFileSync(scene.path("in"), patternBytes(5_000));
  mkdirSync(scene.path("received", "taken"));
  const server = scene.start("server", [
    "classic",
    "chunks",
    "server",
    "0",
    "received",
    "--bind",
    LOCAL,
    "--max-size",
    "6k",
  ]);
  const port = Number((await server.said(/listening on \S+:(\d+)\n/))[1]);
  const send = (name: string): Promise<{ status: number | null }> =>
    scene.run("client", ["classic", "chunks", "client", `${LOCAL}:${port}`, "in", name, "--attempts", "1"]);
  expect((await send("taken")).status).toBe(6);
  expect((await send("fine")).status).toBe(0);
  server.child.kill("SIGINT");
  expect((await server.ended).stderr).toMatch(
    /godwit: 127\.0\.0\.1:\d+ taken: .*taken exists and is not a regular file/,
  );
});

test("a flood of random datagrams leaves the chunks server as it was", async () => {
  writeFileSync(scene.path("in"), "still here\n");
  const server = chunksServer("--edition", "s24");
  const port = await portOf(server);
  const random = new SeededRandom(2, "flood");
  const socket = createSocket("udp4");
  for (let i = 0; i < 3_000; i++) {
    const bytes = random.bytes(new Uint8Array(random.integer(0, 1_400)));
    if (random.chance(0.3))
      bytes.set(Buffer.from(random.pick(["s|0|", "d|1|", "s | ", "a|1|"])).subarray(0, bytes.length));
    await new Promise((done) => socket.send(bytes, port, LOCAL, done));
  }
  socket.close();
  const client = await scene.run("client", [
    "classic",
    "chunks",
    "client",
    `${LOCAL}:${port}`,
    "in",
    "out",
    "--edition",
    "s24",
  ]);
  expect(client.status).toBe(0);
  expect(readFileSync(scene.path("received", "out"), "utf8")).toBe("still here\n");
  server.child.kill("SIGTERM");
  expect((await server.ended).status).toBe(143);
});

test("a chunks server that keeps its last acknowledgement to itself: exit status 12", async () => {
  writeFileSync(scene.path("in"), patternBytes(1_500));
  const original = createSocket("udp4");
  original.on("message", (bytes, remote) => {
    const text = bytes.toString("latin1");
    const answer = text.startsWith("s") ? "a | 1 | 1024" : text.startsWith("d | 1 ") ? "a | 2" : undefined;
    if (answer !== undefined) original.send(answer, remote.port, remote.address);
  });
  original.bind(0, LOCAL);
  await once(original, "listening");
  const arguments_ = [
    "classic",
    "chunks",
    "client",
    `${LOCAL}:${original.address().port}`,
    "in",
    "out",
    "--json",
  ];
  const client = await scene.run("client", arguments_);
  original.close();
  expect(client.status).toBe(12);
  expect(client.events.at(-1)).toMatchObject({
    event: "result",
    result: "probably-complete",
    exit: 12,
    errors: [],
  });
});

test("p2mp to two receivers that lose packets on purpose", async () => {
  const content = patternBytes(10_050);
  writeFileSync(scene.path("in"), content);
  const start = (host: string, out: string, port: number, p: string): Running =>
    scene.start(out, [
      "classic",
      "p2mp",
      "server",
      String(port),
      out,
      p,
      "--bind",
      host,
      "--seed",
      "7",
      "--json",
    ]);
  const first = start("127.0.0.1", "out-1", 0, "0.1");
  const port = await portOf(first);
  const second = start("127.0.0.2", "out-2", port, "0.05");
  await portOf(second);
  const client = await scene.run("client", [
    "classic",
    "p2mp",
    "client",
    "127.0.0.1",
    "127.0.0.2",
    String(port),
    "in",
    "500",
  ]);
  expect(client.stderr).toContain("complete: 10050 bytes");
  expect(client.status).toBe(0);
  expect(client.stdout.toString()).toMatch(/^(Timeout, sequence number = 000\d\d\n)+$/);
  // The last packet was shorter, so a stop by the user ends the file as the silence after it would.
  for (const [server, out] of [
    [first, "out-1"],
    [second, "out-2"],
  ] as const) {
    server.child.kill("SIGINT");
    expect((await server.ended).status).toBe(12);
    expect(readFileSync(scene.path(out))).toEqual(Buffer.from(content));
  }
});

test("p2mp with the binary header over a bad link: both ends are sure", async () => {
  const content = patternBytes(8_000);
  writeFileSync(scene.path("in"), content);
  const server = scene.start("server", [
    "classic",
    "p2mp",
    "server",
    "0",
    "out",
    "0",
    "--encoding",
    "binary",
    "--bind",
    LOCAL,
    "--json",
  ]);
  const target = { host: LOCAL, port: await portOf(server) };
  const relay = await openLinkRelay({
    listen: { host: LOCAL, port: 0 },
    target,
    up: BAD_LINK,
    down: BAD_LINK,
    seed: 3,
  });
  const client = await scene.run("client", [
    "classic",
    "p2mp",
    "client",
    LOCAL,
    String(relay.port),
    "in",
    "1000",
    "--encoding",
    "binary",
  ]);
  expect(client.status).toBe(0);
  expect((await server.ended).status).toBe(0);
  expect(readFileSync(scene.path("out"))).toEqual(Buffer.from(content));
  await relay.close();
});

test("what cannot work is refused with the right status", async () => {
  writeFileSync(scene.path("in"), "x");
  writeFileSync(scene.path("empty"), "");
  const status = async (...words: string[]): Promise<number | null> =>
    (await scene.run("client", ["classic", ...words])).status;
  expect(await status("chunks", "client", "nonsense", "in", "out")).toBe(2);
  expect(await status("chunks", "client", `${LOCAL}:9`, "in", "a | b")).toBe(2);
  expect(await status("chunks", "client", `${LOCAL}:9`, "missing", "out")).toBe(4);
  expect(await status("chunks", "server", "0", "no-such-directory")).toBe(4);
  expect(await status("p2mp", "client", LOCAL, "9", "in", "2041")).toBe(2);
  expect(await status("p2mp", "client", LOCAL, "9", "empty", "500")).toBe(2);
  expect(await status("p2mp", "server", "0", "out", "1")).toBe(2);
});
