import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/utf8.ts";
import { SumClient } from "../../src/classic/sum/sum-client.ts";
import { SumServer } from "../../src/classic/sum/sum-server.ts";
import { decodeSumMessage, encodeSumMessage } from "../../src/classic/sum/sum-text.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import { RECORDED_PEER, playRecording } from "../support/classic-script.ts";
import { loadVector } from "../support/classic-vectors.ts";

const SERVER = "192.0.2.1:12000";
const CLIENT = "192.0.2.2:40000";

const server = (number = 89): SumServer => new SumServer({ name: "T470 Server", drawNumber: () => number });
const client = (number: number, to = SERVER): SumClient =>
  new SumClient({ server: to, name: "T470 Client", number }, 0);
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

describe("recorded exchanges, byte for byte", () => {
  test.each([
    ["003_add_numbers", 17],
    ["003_add_numbers_out_of_range", 0],
  ])("%s in both roles", (name, number) => {
    const vector = loadVector(name);
    const asking = client(number, RECORDED_PEER);
    playRecording(vector, "client", asking);
    expect(asking.outcome).toEqual({ result: "complete" });
    const answering = server();
    playRecording(vector, "server", answering);
    expect(answering.pollTransmit()).toBeUndefined();
    answering.handleTimeout(3_000_000);
    expect(answering.outcome).toEqual(number === 0 ? { result: "complete" } : undefined);
  });
});

test("both sides show the names, the numbers and the sum", () => {
  const world = new ClassicWorld();
  world.add(SERVER, server());
  const asking = client(17);
  world.add(CLIENT, asking);
  world.run(10_000_000, () => asking.outcome !== undefined);
  const lines = ["T470 Client: 17", "T470 Server: 89", "17 + 89 = 106"];
  expect(world.linesOf(SERVER)).toEqual(lines);
  expect(world.linesOf(CLIENT)).toEqual(lines);
});

test.each([
  ["Ada:5", "Bob:7"],
  ["Ada;5", "Bob;7"],
  ["Ada: 5\n", "Bob:7"],
  ["Ada,5", "Bob,7"],
  ["Ada\n5\n", "Bob\n7"],
  ["Ada:5\0", "Bob:7"],
  ['{"name":"Ada","number":5}', '{"name":"Bob","number":7}'],
  ['{"message":"Ada","integer":5}', '{"message":"Bob","integer":7}'],
])("a request written as %j is read and answered in kind", (request, reply) => {
  const machine = new SumServer({ name: "Bob", drawNumber: () => 7 });
  machine.handleDatagram(encodeUtf8(request), CLIENT, 0);
  expect(text(machine.pollTransmit()?.bytes)).toBe(reply);
  expect(machine.takeEvents()[0].line).toBe("Ada: 5");
});

test.each(["", "Ada", "Ada:", "Ada:5x", "Ada:1234567890", '{"a":"b"}', '{"a":"b","c":1.5}', "{", "[1]"])(
  "%j is not a message and gets no answer",
  (request) => {
    const machine = server();
    machine.handleDatagram(encodeUtf8(request), CLIENT, 0);
    expect(machine.pollTransmit()).toBeUndefined();
    expect(machine.outcome).toBeUndefined();
  },
);

test("a number out of range ends the server, which still answers its repetition", () => {
  for (const number of [0, 101, -3]) {
    const machine = server();
    machine.handleDatagram(encodeUtf8(`Ada:${number}`), CLIENT, 0);
    expect(text(machine.pollTransmit()?.bytes)).toBe("T470 Server:0");
    machine.handleDatagram(encodeUtf8(`Ada:${number}`), CLIENT, 1_000_000);
    expect(text(machine.pollTransmit()?.bytes)).toBe("T470 Server:0");
    machine.handleTimeout(1_499_999);
    expect(machine.outcome).toBeUndefined();
    machine.handleTimeout(1_500_000);
    expect(machine.outcome).toEqual({ result: "complete" });
  }
});

test("a repeated request gets the same number and is shown once", () => {
  let drawn = 0;
  const machine = new SumServer({ name: "Bob", drawNumber: () => ++drawn });
  for (const atUs of [0, 1_000_000, 4_000_000]) machine.handleDatagram(encodeUtf8("Ada:5"), CLIENT, atUs);
  for (let i = 0; i < 3; i++) expect(text(machine.pollTransmit()?.bytes)).toBe("Bob:1");
  expect(machine.takeEvents().filter(({ type }) => type === "numbers-exchanged")).toHaveLength(1);
});

test("five tries, a second apart; then unreachable, or a doubt when the server was asked to end", () => {
  const world = new ClassicWorld();
  const asking = client(17);
  world.add(CLIENT, asking);
  expect(world.run(60_000_000)).toBe(true);
  expect(world.sent.map(({ atUs }) => atUs)).toEqual([0, 1, 2, 3, 4].map((second) => second * 1_000_000));
  expect(world.nowUs).toBe(5_000_000);
  expect(asking.outcome).toMatchObject({ result: "failed", error: { code: "UNREACHABLE" } });

  const silence = new ClassicWorld();
  const ending = client(0);
  silence.add(CLIENT, ending);
  expect(silence.run(60_000_000)).toBe(true);
  expect(ending.outcome).toMatchObject({ result: "probably-complete" });
});

test("a server that gives no number, and a stranger who does", () => {
  const asking = client(17);
  asking.handleDatagram(encodeUtf8("Eve:50"), "198.51.100.1:12000");
  expect(asking.outcome).toBeUndefined();
  asking.handleDatagram(encodeUtf8("T470 Server:0"), SERVER);
  expect(asking.outcome).toMatchObject({ result: "failed", error: { code: "DECLINED" } });
});

test("loss and copies: the right sum or a failure", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fff_ffff }), (seed) => {
      const world = new ClassicWorld({
        seed,
        lossProbability: 0.3,
        duplicateProbability: 0.3,
        delayUs: [100, 1_500_000],
      });
      world.add(SERVER, server());
      const asking = client(17);
      world.add(CLIENT, asking);
      expect(world.run(60_000_000, () => asking.outcome !== undefined)).toBe(true);
      if (asking.outcome?.result === "complete") expect(world.linesOf(CLIENT).at(-1)).toBe("17 + 89 = 106");
      else expect(asking.outcome?.result).toBe("failed");
    }),
    { numRuns: 60 },
  );
});

test("garbage never throws; what is read can be written again", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      server().handleDatagram(bytes, CLIENT, 0);
      client(5).handleDatagram(bytes, SERVER);
    }),
  );
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", maxLength: 50 }),
      fc.integer({ min: -999, max: 999 }),
      (name, number) => {
        const form = { kind: "text", separator: ":" } as const;
        const back = decodeSumMessage(encodeSumMessage({ name, number, form }));
        expect(back?.number).toBe(number);
      },
    ),
  );
});
