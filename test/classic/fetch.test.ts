import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GodwitError } from "../../src/base/errors.ts";
import { encodeUtf8 } from "../../src/base/utf8.ts";
import { FetchClient } from "../../src/classic/fetch/fetch-client.ts";
import type { FetchClientOptions } from "../../src/classic/fetch/fetch-client.ts";
import { FetchServer } from "../../src/classic/fetch/fetch-server.ts";
import type { FetchServerOptions } from "../../src/classic/fetch/fetch-server.ts";
import {
  decodeFetchRequest,
  decodeFetchVerdict,
  encodeFetchRequest,
  encodeFetchVerdict,
} from "../../src/classic/fetch/fetch-wire.ts";
import { CLIENT, SERVER, describeClassicSystem } from "../conformance/classic.suite.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";
import { MemorySink, memorySource, patternBytes } from "../support/classic-memory.ts";
import { RECORDED_PEER, playRecording } from "../support/classic-script.ts";
import { loadVector, sha256 } from "../support/classic-vectors.ts";
import type { ClassicVector } from "../support/classic-vectors.ts";

const MINUTE_US = 60_000_000;
const newHash = () => createHash("sha256");

function server(files: Record<string, Uint8Array>, more: Partial<FetchServerOptions> = {}): FetchServer {
  const open: FetchServerOptions["open"] = (name) =>
    Object.hasOwn(files, name) ? memorySource(files[name]) : undefined;
  return new FetchServer({ open, createHash: newHash, ...more });
}

function client(sink: MemorySink, more: Partial<FetchClientOptions> = {}): FetchClient {
  return new FetchClient({ server: SERVER, name: "f", sink, limitBytes: 1e9, ...more }, 0);
}

/** One transfer of `file` and how the client saw it. */
function run(
  file: Uint8Array | undefined,
  ends: { readonly server?: Partial<FetchServerOptions>; readonly client?: Partial<FetchClientOptions> } = {},
  channel: ChannelOptions = {},
): { client: FetchClient; sink: MemorySink; world: ClassicWorld } {
  const world = new ClassicWorld(channel);
  const sink = new MemorySink();
  const machine = client(sink, ends.client);
  world.add(SERVER, server(file === undefined ? {} : { f: file }, ends.server));
  world.add(CLIENT, machine);
  expect(world.run(MINUTE_US, () => machine.outcome !== undefined)).toBe(true);
  return { client: machine, sink, world };
}

/** The recorded file, put together from what the recorded server sent. */
function recordedFile(vector: ClassicVector): Uint8Array {
  const parts = vector.datagrams.filter((one) => one.dir === "s2c").map((one) => Buffer.from(one.hex, "hex"));
  const bytes = Buffer.concat(parts);
  expect(sha256(bytes)).toBe(vector.files?.[0].sha256);
  return bytes;
}

const recordedName = (vector: ClassicVector): string =>
  Buffer.from(vector.datagrams[0].hex, "hex").toString();

const VECTORS = [
  ["003_recon_text", "complete", {}],
  ["003_recon_5000", "complete", {}],
  ["003_recon_exact2048_terminated", "complete", {}],
  ["003_recon_empty_terminated", "probably-complete", {}],
  ["003_recon_exact2048_unterminated", "probably-complete", { isUnterminated: true }],
  ["003_recon_empty_unterminated", "failed", { isUnterminated: true }],
] as const;

describe("recorded exchanges, byte for byte", () => {
  test.each(VECTORS)("%s as client: %s", (name, result) => {
    const vector = loadVector(name);
    const sink = new MemorySink();
    const machine = client(sink, { server: RECORDED_PEER, name: recordedName(vector) });
    playRecording(vector, "client", machine);
    machine.handleTimeout(machine.nextTimeoutUs() ?? 0);
    expect(machine.outcome?.result).toBe(result);
    expect(sink.state).toBe(result === "failed" ? "aborted" : "committed");
    expect(sha256(sink.bytes)).toBe(vector.files?.[0].sha256);
  });

  test.each(VECTORS)("%s as server", (name, _result, options) => {
    const vector = loadVector(name);
    const machine = server({ [recordedName(vector)]: recordedFile(vector) }, options);
    playRecording(vector, "server", machine);
    expect(machine.pollTransmit()).toBeUndefined();
  });
});

describe("three ends that can be told apart, and the question that tells more", () => {
  test("the end came", () => {
    for (const size of [1, 2_047, 2_048, 2_049, 4_096, 200_000]) {
      const { client, sink } = run(patternBytes(size));
      expect(client.outcome).toEqual({ result: "complete" });
      expect(sha256(sink.bytes)).toBe(sha256(patternBytes(size)));
    }
  });

  test("the end did not come: whole or cut short", () => {
    const lost = run(
      patternBytes(4_096),
      {},
      {
        decide: ({ from, index }) => (from === SERVER && index === 2 ? [] : undefined),
      },
    );
    expect(lost.client.outcome).toMatchObject({ result: "probably-complete" });
    expect(lost.sink.state).toBe("committed");
    expect(lost.world.nowUs).toBeGreaterThan(2_000_000);
  });

  test("nothing came: missing, empty or not there", () => {
    const silent = run(undefined, { server: { isSilentWhenMissing: true } });
    expect(silent.client.outcome).toMatchObject({ result: "failed", error: { code: "NOT_FOUND" } });
    const empty = run(undefined);
    expect(empty.client.outcome).toMatchObject({ result: "probably-complete" });
    expect(empty.sink.bytes).toHaveLength(0);
  });

  test("with the question, missing and empty and whole are certain", () => {
    const ask = { client: { createHash: newHash } };
    expect(run(undefined, ask).client.outcome).toMatchObject({
      result: "failed",
      error: { code: "NOT_FOUND" },
    });
    expect(run(new Uint8Array(0), ask).client.outcome).toEqual({ result: "complete" });
    const cut = run(patternBytes(4_096), ask, {
      decide: ({ from, index }) => (from === SERVER && index === 2 ? [] : undefined),
    });
    expect(cut.client.outcome).toEqual({ result: "complete" });
    const hole = run(patternBytes(9_000), ask, {
      decide: ({ from, index }) => (from === SERVER && index === 1 ? [] : undefined),
    });
    expect(hole.client.outcome).toMatchObject({ result: "failed", error: { code: "VERIFICATION_FAILED" } });
    expect(hole.sink.state).toBe("aborted");
  });

  test("a server that does not know the question leaves a doubt", () => {
    const { client } = run(
      patternBytes(100),
      { client: { createHash: newHash } },
      {
        decide: ({ from, index }) => (from === CLIENT && index > 0 ? [] : undefined),
      },
    );
    expect(client.outcome).toMatchObject({ result: "probably-complete" });
  });
});

test("bursts of at most 32 datagrams, then a pause", () => {
  const { world } = run(patternBytes(2_048 * 100));
  const times = world.sent.filter(({ from }) => from === SERVER).map(({ atUs }) => atUs);
  expect(times).toHaveLength(101);
  for (const [index, atUs] of times.entries()) expect(atUs).toBe(100 + Math.floor(index / 32) * 2_000);
});

test("two clients at once, each its own file", () => {
  const world = new ClassicWorld();
  const files = { a: patternBytes(50_000, 1), b: patternBytes(60_000, 2) };
  world.add(SERVER, server(files));
  const sinks = { a: new MemorySink(), b: new MemorySink() };
  const ends = (["a", "b"] as const).map((name) => client(sinks[name], { name }));
  world.add("192.0.2.10:1", ends[0]);
  world.add("192.0.2.10:2", ends[1]);
  world.run(MINUTE_US, () => ends.every((end) => end.outcome !== undefined));
  expect(sha256(sinks.a.bytes)).toBe(sha256(files.a));
  expect(sha256(sinks.b.bytes)).toBe(sha256(files.b));
});

test("a copied request is one transfer, a later one starts anew", () => {
  const file = patternBytes(5_000);
  const machine = server({ f: file });
  const request = encodeUtf8("f");
  const count = (nowUs: number): number => {
    machine.handleDatagram(request, CLIENT, nowUs);
    let sent = 0;
    while (machine.pollTransmit() !== undefined) sent++;
    return sent;
  };
  expect([count(0), count(900_000), count(1_000_000)]).toEqual([3, 0, 3]);
});

test("only the first source address counts, and only on the server's host", () => {
  const sink = new MemorySink();
  const machine = client(sink);
  machine.handleDatagram(encodeUtf8("evil"), "198.51.100.1:7000", 1);
  machine.handleDatagram(new Uint8Array(2_048), "192.0.2.1:7001", 2);
  machine.handleDatagram(encodeUtf8("evil"), "192.0.2.1:7000", 3);
  machine.handleDatagram(encodeUtf8("x"), "192.0.2.1:7001", 4);
  expect(machine.outcome).toEqual({ result: "complete" });
  expect(sink.bytes).toHaveLength(2_049);
});

test("a source that changes or cannot be read gives no end, so no complete file", () => {
  const broken = {
    ...memorySource(patternBytes(5_000)),
    checkUnchanged: () => {
      throw new GodwitError("SOURCE_CHANGED", "changed");
    },
  };
  const world = new ClassicWorld();
  const sink = new MemorySink();
  const machine = client(sink);
  world.add(SERVER, new FetchServer({ open: () => broken, createHash: newHash }));
  world.add(CLIENT, machine);
  world.run(MINUTE_US, () => machine.outcome !== undefined);
  expect(machine.outcome).toMatchObject({ result: "probably-complete" });
});

test("limits: file size, datagram size, disk", () => {
  const limited = run(patternBytes(5_000), { client: { limitBytes: 4_000 } });
  expect(limited.client.outcome).toMatchObject({ result: "failed", error: { code: "OVER_LIMIT" } });
  const other = client(new MemorySink());
  other.handleDatagram(new Uint8Array(2_049), SERVER, 1);
  expect(other.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
  const full = client(new MemorySink(undefined, 10));
  full.handleDatagram(new Uint8Array(100), SERVER, 1);
  expect(full.outcome).toMatchObject({ result: "failed", error: { code: "NO_SPACE" } });
});

test("requests and answers survive the way there and back; garbage is neither", () => {
  const digestHex = "ab".repeat(32);
  expect(Buffer.from(encodeFetchRequest({ name: "\u00e4.txt", asksForDigest: false })).toString("hex")).toBe(
    "c3a42e747874",
  );
  for (const asksForDigest of [false, true])
    expect(decodeFetchRequest(encodeFetchRequest({ name: "x", asksForDigest }))).toEqual({
      name: "x",
      asksForDigest,
    });
  expect(decodeFetchVerdict(encodeFetchVerdict({ isMissing: true }))).toEqual({ isMissing: true });
  const verdict = { isMissing: false, sizeBytes: 7, digestHex } as const;
  expect(decodeFetchVerdict(encodeFetchVerdict(verdict))).toEqual(verdict);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1_100 }), (bytes) => {
      const machine = server({ "": new Uint8Array(1) });
      machine.handleDatagram(bytes, CLIENT, 0);
      expect(decodeFetchRequest(bytes)?.name).not.toBe("");
    }),
  );
});

const pair =
  (isVerified: boolean) =>
  (content: Uint8Array): ReturnType<Parameters<typeof describeClassicSystem>[0]["create"]> => {
    const sink = new MemorySink();
    return {
      server: server({ f: content }, { isOnce: true }),
      client: client(sink, isVerified ? { createHash: newHash } : {}),
      published: () => (sink.state === "committed" ? sink.bytes : undefined),
      openSinks: () => (sink.state === "open" ? 1 : 0),
    };
  };

describeClassicSystem({
  name: "fetch, verified",
  create: pair(true),
  sizes: [0, 1, 2_047, 2_048, 2_049, 100_000],
  badNetworkBytes: 10_000,
  limitUs: MINUTE_US,
});
