import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import * as net from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ClassicOutcome } from "../../classic/machine.ts";
import { openByteSink } from "./file-bytes.ts";
import { fetchHashed } from "./hashed-client.ts";
import { serveHashed } from "./hashed-server.ts";

let directory: string;
let abort: AbortController;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "godwit-hashed-"));
  abort = new AbortController();
});
afterEach(() => {
  abort.abort();
  rmSync(directory, { recursive: true });
});

const at = (name: string): string => path.join(directory, name);

/** Starts a server on `port` and waits until it listens. */
async function start(
  file: string,
  count: number | undefined,
  port = 0,
): Promise<{ port: number; outcome: Promise<ClassicOutcome> }> {
  let outcome: Promise<ClassicOutcome>;
  const listening = await new Promise<number>((resolve, reject) => {
    outcome = serveHashed({
      host: "127.0.0.1",
      port,
      file,
      signal: abort.signal,
      onListening: (_host, listeningPort) => resolve(listeningPort),
      ...(count === undefined ? {} : { count }),
    });
    outcome.catch(reject);
  });
  return { port: listening, outcome: outcome! };
}

function fetchTo(name: string, port: number, waitUs = 1): Promise<ClassicOutcome> {
  return fetchHashed({
    host: "127.0.0.1",
    port,
    sink: openByteSink(at(name), { overwrite: false }),
    limitBytes: 1e9,
    waitUs,
    signal: abort.signal,
  });
}

/** A server that sends `bytes` to its first client and closes. */
async function fakeServer(bytes: Uint8Array): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(bytes);
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as net.AddressInfo).port;
}

function fileOf(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) bytes.writeUInt32LE(Math.imul(i, 2_654_435_761) >>> 0, i);
  writeFileSync(at("in"), bytes);
  return bytes;
}

test("four clients at once, each gets the whole file", async () => {
  const bytes = fileOf(3_000_001);
  const { port, outcome } = await start(at("in"), 4);
  const names = ["a", "b", "c", "d"];
  const results = await Promise.all(names.map((name) => fetchTo(name, port)));
  expect(results).toEqual(names.map(() => ({ result: "complete" })));
  for (const name of names) expect(readFileSync(at(name)).equals(bytes)).toBe(true);
  expect(await outcome).toEqual({ result: "complete" });
});

test("a slow reader gets every byte", async () => {
  const bytes = fileOf(8_000_000);
  const { port, outcome } = await start(at("in"), 1);
  const hash = createHash("sha512");
  let size = 0;
  await new Promise<void>((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("readable", () => {
      // Small bites: the server's socket is full most of the time.
      for (;;) {
        const part: Uint8Array | null = socket.read(Math.min(10_000, socket.readableLength));
        if (part === null) break;
        hash.update(part);
        size += part.length;
      }
    });
    socket.on("end", resolve);
    socket.on("error", reject);
  });
  expect(size).toBe(4 + bytes.length + 64);
  const head = Buffer.from([0x00, 0x7a, 0x12, 0x00]);
  const digest = createHash("sha512").update(bytes).digest();
  expect(hash.digest("hex")).toBe(
    createHash("sha512").update(head).update(bytes).update(digest).digest("hex"),
  );
  expect(await outcome).toEqual({ result: "complete" });
});

test("a client that resets, like the original, neither stops the server nor the next client", async () => {
  fileOf(5_000);
  const { port, outcome } = await start(at("in"), 2);
  await new Promise<void>((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("data", () => {
      socket.resetAndDestroy();
      resolve();
    });
  });
  expect(await fetchTo("out", port)).toEqual({ result: "complete" });
  expect((await outcome).result).not.toBe("complete");
});

test("the same port again at once", async () => {
  fileOf(1_000);
  const first = await start(at("in"), 1);
  expect(await fetchTo("a", first.port)).toEqual({ result: "complete" });
  await first.outcome;
  const second = await start(at("in"), 1, first.port);
  expect(await fetchTo("b", second.port)).toEqual({ result: "complete" });
});

test("a port in use is said, and so is a missing file", async () => {
  fileOf(10);
  const { port } = await start(at("in"), undefined);
  await expect(start(at("in"), 1, port)).rejects.toMatchObject({ code: "PORT_IN_USE" });
  await expect(start(at("none"), 1)).rejects.toMatchObject({ code: "SOURCE_MISSING" });
});

test("a client that comes first waits for its server", async () => {
  fileOf(1_000);
  const probe = await start(at("in"), undefined);
  abort.abort();
  await probe.outcome;
  abort = new AbortController();
  const fetching = fetchTo("out", probe.port, 20_000_000);
  await new Promise((resolve) => net.connect(probe.port, "127.0.0.1").once("error", resolve));
  await start(at("in"), 1, probe.port);
  expect(await fetching).toEqual({ result: "complete" });
});

test("nobody there: unreachable, and no file", async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  await expect(fetchTo("out", port)).rejects.toMatchObject({ code: "UNREACHABLE" });
  expect(readdirSync(directory)).toEqual([]);
});

test("an early end and a wrong digest leave no file", async () => {
  const short = await fetchTo("out", await fakeServer(Buffer.from("0000000a616263", "hex")));
  expect(short).toMatchObject({ result: "failed", error: { code: "PEER_GONE" } });
  const wrong = await fetchTo("out", await fakeServer(Buffer.alloc(4 + 64)));
  expect(wrong).toMatchObject({ result: "failed", error: { code: "VERIFICATION_FAILED" } });
  expect(readdirSync(directory)).toEqual([]);
});

test("stopping in the middle leaves no file", async () => {
  const silent = net.createServer((socket) => void socket.write(Buffer.from("0000000a6162", "hex")));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const fetching = fetchHashed({
    host: "127.0.0.1",
    port: (silent.address() as net.AddressInfo).port,
    sink: openByteSink(at("out"), { overwrite: false }),
    limitBytes: 100,
    waitUs: 1,
    signal: abort.signal,
    onEvent: (event) => {
      if (event.type === "size-received") abort.abort();
    },
  });
  expect(await fetching).toMatchObject({ result: "failed", error: { code: "INTERRUPTED" } });
  silent.close();
  expect(readdirSync(directory)).toEqual([]);
});
