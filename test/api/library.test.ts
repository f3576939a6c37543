/** The examples of docs/guide/library.md, run. */
import { randomBytes } from "node:crypto";
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  get,
  GodwitError,
  identity,
  ping,
  send,
  serve,
  UnknownPeerError,
  type Server,
} from "../../src/index.ts";

let directory: string;
let server: Server;
let to: string;
let dialling: { home: string; pin: string };
const path = (...parts: string[]): string => join(directory, ...parts);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "godwit-library-"));
  mkdirSync(path("inbox"));
  server = await serve({ directory: path("inbox"), listen: "127.0.0.1:0", open: true, home: path("server") });
  to = `127.0.0.1:${server.port}`;
  dialling = { home: path("client"), pin: server.fingerprint };
});

afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

describe("send", () => {
  test("a file: events while it runs, a result when it is durable", async () => {
    const bytes = randomBytes(3_000_000);
    writeFileSync(path("film.mov"), bytes);
    const transfer = send(path("film.mov"), { to: `${to}/incoming`, ...dialling });
    const seen = new Set<string>();
    for await (const event of transfer) seen.add(event.type);
    const result = await transfer.result;
    expect(result).toMatchObject({ result: "complete", exit: 0, files: 1, bytes: 3_000_000, failures: [] });
    expect(result.peer.fingerprint).toBe(server.fingerprint);
    expect(readFileSync(path("inbox/incoming/film.mov")).equals(bytes)).toBe(true);
    for (const type of ["handshake-completed", "transfer-started", "transfer-completed"])
      expect(seen).toContain(type);
  });

  test("Node streams, web streams and async iterables", async () => {
    const bytes = randomBytes(700_000);
    writeFileSync(path("log"), bytes);
    const streams = {
      node: createReadStream(path("log")),
      web: new Blob([bytes]).stream(),
      iterable: (async function* () {
        for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
      })(),
    };
    for (const [name, stream] of Object.entries(streams)) {
      const result = await send({ stream, name }, { to, ...dialling }).result;
      expect([name, result.bytes]).toEqual([name, 700_000]);
      expect(readFileSync(path("inbox", name)).equals(bytes)).toBe(true);
    }
  });

  test("a stream that fails leaves nothing", async () => {
    const failing = (async function* () {
      yield randomBytes(1_000);
      await Promise.resolve();
      throw new Error("the camera broke");
    })();
    await expect(send({ stream: failing, name: "x" }, { to, ...dialling }).result).rejects.toMatchObject({
      code: "SOURCE_UNREADABLE",
    });
    await expect(get(`${to}/x`, { into: path("back"), ...dialling }).result).rejects.toBeInstanceOf(
      GodwitError,
    );
  });

  test("an AbortSignal cancels, and says so", async () => {
    writeFileSync(path("big"), randomBytes(4_000_000));
    const controller = new AbortController();
    const transfer = send(path("big"), {
      to,
      ...dialling,
      signal: controller.signal,
      rateBytesPerSecond: 500_000,
    });
    for await (const event of transfer) if (event.type === "transfer-started") controller.abort();
    await expect(transfer.result).rejects.toMatchObject({ code: "INTERRUPTED", retryable: true, exit: 130 });
  });

  test("a signal that was aborted before dials nobody", async () => {
    writeFileSync(path("a"), "a");
    await expect(
      send(path("a"), { to: "192.0.2.1:9", home: path("client"), signal: AbortSignal.abort() }).result,
    ).rejects.toMatchObject({ code: "INTERRUPTED" });
  });
});

test("get", async () => {
  writeFileSync(path("inbox/a"), "hello");
  const result = await get(`${to}/a`, { into: path("back"), ...dialling }).result;
  expect([result.files, readFileSync(path("back/a"), "utf8")]).toEqual([1, "hello"]);
});

test("ping", async () => {
  const replies: number[] = [];
  const result = await ping(to, {
    ...dialling,
    count: 3,
    intervalMs: 1,
    onReply: (sequence) => replies.push(sequence),
  });
  expect(replies).toEqual([1, 2, 3]);
  expect(result.received).toBe(3);
  expect(result.minUs).toBeLessThanOrEqual(result.averageUs);
  expect(result.peer.agent).toMatch(/^godwit\//);
});

test("an unknown machine is refused with its fingerprint; a program can ask and pin", async () => {
  writeFileSync(path("a"), "a");
  const failure: unknown = await send(path("a"), { to, home: path("client") }).result.catch(
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(UnknownPeerError);
  expect((failure as UnknownPeerError).fingerprint).toBe(server.fingerprint);
});

test("a server tells who did what, and serves several at once", async () => {
  const ended: string[] = [];
  const reading = (async () => {
    for await (const update of server)
      if (update.type === "peer-transfer-ended") ended.push(update.result.result);
  })();
  const names = Array.from({ length: 8 }, (_, i) => `file-${i}`);
  for (const name of names) writeFileSync(path(name), randomBytes(100_000));
  const results = await Promise.all(names.map((name) => send(path(name), { to, ...dialling }).result));
  expect(results.map(({ files }) => files)).toEqual(names.map(() => 1));
  await server.close();
  await reading;
  expect(ended).toEqual(names.map(() => "complete"));
  expect(await server.ended).toBeUndefined();
});

test("identity is made once", () => {
  const first = identity({ home: path("me") });
  expect(identity({ home: path("me") })).toEqual(first);
  expect(first.fingerprint).toMatch(/^([A-Z2-7]{4}-){7}[A-Z2-7]{4}$/);
});
