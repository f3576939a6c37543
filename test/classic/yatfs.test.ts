import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { YatfsClient } from "../../src/classic/fetch/yatfs-client.ts";
import { YatfsServer } from "../../src/classic/fetch/yatfs-server.ts";
import {
  decodeYatfsReply,
  decodeYatfsRequest,
  encodeYatfsReply,
  encodeYatfsRequest,
} from "../../src/classic/fetch/yatfs-wire.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";
import { MemorySink, memorySource, patternBytes } from "../support/classic-memory.ts";
import { RECORDED_PEER, playRecording } from "../support/classic-script.ts";
import { loadVector, sha256 } from "../support/classic-vectors.ts";

const SERVER = "192.0.2.1:12000";
const CLIENT = "192.0.2.2:40000";
const HOUR_US = 3_600_000_000;

const VECTORS = [
  { name: "003_sibling_yatfs_text", remote: "hello.txt", chunkBytes: 16 },
  { name: "003_sibling_yatfs_binary", remote: "bin2500", chunkBytes: 1024 },
];

function server(files: Record<string, Uint8Array>, loss = 0, random = () => 0.5): YatfsServer {
  return new YatfsServer({
    open: (name) => (Object.hasOwn(files, name) ? memorySource(files[name]) : undefined),
    lossProbability: loss,
    random,
  });
}

function client(sink: MemorySink, chunkBytes = 1_000, to = SERVER, name = "f"): YatfsClient {
  return new YatfsClient({ server: to, name, chunkBytes, sink, limitBytes: 1e9 }, 0);
}

function run(
  file: Uint8Array | undefined,
  channel: ChannelOptions = {},
): { client: YatfsClient; sink: MemorySink } {
  const world = new ClassicWorld(channel);
  const sink = new MemorySink();
  const machine = client(sink);
  world.add(SERVER, server(file === undefined ? {} : { f: file }));
  world.add(CLIENT, machine);
  expect(world.run(HOUR_US, () => machine.outcome !== undefined)).toBe(true);
  return { client: machine, sink };
}

describe("recorded exchanges, byte for byte", () => {
  test.each(VECTORS)("$name as client", ({ name, remote, chunkBytes }) => {
    const vector = loadVector(name);
    const sink = new MemorySink();
    const options = {
      server: RECORDED_PEER,
      name: remote,
      chunkBytes,
      sink,
      limitBytes: 1e9,
      isFixedSize: true,
    };
    const machine = new YatfsClient(options, 0);
    playRecording(vector, "client", machine);
    // One recording has a repetition; with pieces of one size that leaves a doubt.
    expect(machine.outcome?.result).toBe(remote === "bin2500" ? "complete" : "probably-complete");
    expect(sha256(sink.bytes)).toBe(vector.files?.[0].sha256);
  });

  test.each(VECTORS)("$name as server, losing what the recorded one lost", ({ name, remote }) => {
    const vector = loadVector(name);
    const file = Buffer.concat(
      vector.datagrams
        .filter(({ dir }) => dir === "s2c")
        .map(({ hex }) => decodeYatfsReply(fromHex(hex))?.data ?? Buffer.alloc(0)),
    );
    expect(sha256(file)).toBe(vector.files?.[0].sha256);
    const isLost = vector.datagrams
      .map(({ dir }, index) => dir === "c2s" && vector.datagrams[index + 1]?.dir === "c2s")
      .filter((_lost, index) => vector.datagrams[index].dir === "c2s");
    playRecording(
      vector,
      "server",
      server({ [remote]: file }, 0.2, () => (isLost.shift() ? 0.1 : 0.9)),
    );
  });
});

test("numbers in one, two and four bytes, as pickle writes them", () => {
  // Written by CPython's pickle.dumps(("a", 65536, 255), 4).
  const request = "8004950e000000000000008c0161944a000001004bff87942e";
  expect(toHex(encodeYatfsRequest({ name: "a", offset: 65_536, size: 255 }))).toBe(request);
  expect(decodeYatfsRequest(fromHex(request))).toEqual({ name: "a", offset: 65_536, size: 255 });
  // pickle.dumps((1, 0, ""), 4): an error with text in place of bytes.
  const error = "8004950a000000000000004b014b008c009487942e";
  expect(decodeYatfsReply(fromHex(error))).toMatchObject({ status: 1, count: 0 });
});

test("whole files of any size", () => {
  for (const size of [0, 1, 999, 1_000, 2_000, 70_001]) {
    const { client, sink } = run(patternBytes(size));
    expect(client.outcome).toEqual({ result: "complete" });
    expect(sha256(sink.bytes)).toBe(sha256(patternBytes(size)));
  }
  const { client, sink } = run(new Uint8Array(5_000));
  expect(client.outcome).toMatchObject({ result: "complete" });
  expect(sink.bytes).toHaveLength(5_000);
});

test("each piece is one byte smaller than the one before, down to half, then a pause", () => {
  const world = new ClassicWorld();
  const machine = client(new MemorySink(), 16);
  world.add(SERVER, server({ f: patternBytes(200) }));
  world.add(CLIENT, machine);
  world.run(HOUR_US, () => machine.outcome !== undefined);
  const asked = world.sent
    .filter(({ from }) => from === CLIENT)
    .map(({ atUs, bytes }) => [decodeYatfsRequest(bytes)?.size, Math.floor(atUs / 1_000_000)]);
  const sizes = [16, 15, 14, 13, 12, 11, 10, 9, 8];
  // 9 pieces are 108 bytes; 7 more of the second round are 91, and the last one byte.
  expect(asked).toEqual([...sizes.map((size) => [size, 0]), ...sizes.slice(0, 8).map((size) => [size, 1])]);
  expect(machine.outcome).toEqual({ result: "complete" });
});

test("a missing file and a silent server leave no file", () => {
  const missing = run(undefined);
  expect(missing.client.outcome).toMatchObject({ result: "failed", error: { code: "NOT_FOUND" } });
  expect(missing.sink.state).toBe("aborted");
  const silent = run(patternBytes(10), { lossProbability: 1 });
  expect(silent.client.outcome).toMatchObject({ result: "failed", error: { code: "UNREACHABLE" } });
});

test("an offset beyond the end and a size out of bounds get status 2", () => {
  for (const [offset, size] of [
    [11, 5],
    [-1, 5],
    [0, 0],
    [0, 65_001],
  ]) {
    const machine = server({ f: patternBytes(10) });
    machine.handleDatagram(encodeYatfsRequest({ name: "f", offset, size }), CLIENT);
    expect(decodeYatfsReply(machine.pollTransmit()?.bytes ?? new Uint8Array(0))).toMatchObject({ status: 2 });
  }
});

test("loss 0.3, copies, delays up to 0.9 s: complete means whole", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fff_ffff }), (seed) => {
      const file = patternBytes(4_500);
      const { client, sink } = run(file, {
        seed,
        lossProbability: 0.3,
        duplicateProbability: 0.1,
        delayUs: [100, 900_000],
      });
      if (client.outcome?.result === "complete") expect(sha256(sink.bytes)).toBe(sha256(file));
    }),
    { numRuns: 200 },
  );
});

test("anything but the expected opcodes is ignored", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(59),
      fc.integer({ min: 0, max: 255 }),
      (raw, at, byte) => {
        decodeYatfsReply(raw);
        expect(decodeYatfsRequest(raw)).toBeUndefined();
        const bytes = encodeYatfsReply({ status: 0, count: 3, data: Uint8Array.of(1, 2, 3) });
        bytes[at % bytes.length] = byte;
        decodeYatfsReply(bytes);
        decodeYatfsReply(bytes.subarray(0, at % bytes.length));
      },
    ),
  );
  // A pickle that would call something: GLOBAL, TUPLE, REDUCE.
  expect(
    decodeYatfsRequest(Buffer.from("\x80\x04cos\nsystem\n(X\x02\0\0\0lst\x52.", "latin1")),
  ).toBeUndefined();
});
