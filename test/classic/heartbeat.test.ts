import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/utf8.ts";
import { HeartbeatClient } from "../../src/classic/heartbeat/heartbeat-client.ts";
import type { HeartbeatClientOptions } from "../../src/classic/heartbeat/heartbeat-client.ts";
import { HeartbeatServer } from "../../src/classic/heartbeat/heartbeat-server.ts";
import { pingSequence } from "../../src/classic/heartbeat/ping-text.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import { RECORDED_PEER, playRecording } from "../support/classic-script.ts";
import { loadVector } from "../support/classic-vectors.ts";
import type { ClassicVector } from "../support/classic-vectors.ts";

const SERVER = "192.0.2.1:12000";
const CLIENT = "192.0.2.2:40000";

/** The words of each recorded ping after its number. */
function recordedTimes(vector: ClassicVector): string[] {
  return vector.datagrams
    .filter((datagram) => datagram.dir === "c2s")
    .map((datagram) => Buffer.from(datagram.hex, "hex").toString().split(" ").slice(2).join(" "));
}

function client(more: Partial<HeartbeatClientOptions> = {}): HeartbeatClient {
  return new HeartbeatClient(
    { server: SERVER, count: 10, timeoutUs: 1_000_000, timeText: () => "now", ...more },
    0,
  );
}

function server(lossProbability = 0, random = () => 0.5): HeartbeatServer {
  return new HeartbeatServer({ lossProbability, random }, 0);
}

const CASES = [
  // Replies and round-trip times read off the recordings, in microseconds and with their order.
  { name: "004_ping_heartbeat", word: "Ping", timeoutUs: 5_000_000, received: 5, lossPercent: 50 },
  { name: "004_ping_kurose", word: "PING", timeoutUs: 1_000_000, received: 8, lossPercent: 20 },
];

describe("recorded pings, byte for byte", () => {
  test.each(CASES)("$name as client", ({ name, word, timeoutUs, received, lossPercent }) => {
    const vector = loadVector(name);
    const times = recordedTimes(vector);
    const timeText = (sequence: number): string => times[sequence - 1];
    const machine = new HeartbeatClient({ server: RECORDED_PEER, count: 10, timeoutUs, timeText, word }, 0);
    playRecording(vector, "client", machine);
    // The last ping of one recording got no reply: its timeout ends the series.
    machine.handleTimeout(machine.nextTimeoutUs() ?? 0);
    expect(machine.outcome).toEqual({ result: "complete" });
    expect(machine.statistics).toMatchObject({ sent: 10, received, late: 0, lossPercent });
  });

  test.each(CASES)("$name as server, losing what the recorded one lost", ({ name }) => {
    const vector = loadVector(name);
    const answered = new Set(
      vector.datagrams
        .filter((datagram) => datagram.dir === "s2c")
        .map((datagram) => pingSequence(Buffer.from(datagram.hex, "hex"))),
    );
    let sequence = 0;
    const machine = server(4 / 11, () => (answered.has(++sequence) ? 0.9 : 0.1));
    playRecording(vector, "server", machine);
    expect(machine.pollTransmit()).toBeUndefined();
  });
});

test("a reply in any case counts; one that is late does not count for the next ping", () => {
  const machine = client({ count: 2 });
  machine.handleDatagram(encodeUtf8("pInG 2 x"), SERVER, 10);
  machine.handleDatagram(encodeUtf8("PING 1 now"), "198.51.100.1:1", 20);
  expect(machine.statistics.received).toBe(0);
  machine.handleTimeout(1_000_000);
  machine.handleDatagram(encodeUtf8("PING 1 NOW"), SERVER, 1_000_100);
  expect(machine.statistics).toMatchObject({ received: 0, late: 1 });
  machine.handleDatagram(encodeUtf8("ping 2 now"), SERVER, 1_000_250);
  expect(machine.outcome).toEqual({ result: "complete" });
  expect(machine.statistics).toEqual({
    sent: 2,
    received: 1,
    late: 1,
    lossPercent: 50,
    minRttUs: 250,
    averageRttUs: 250,
    maxRttUs: 250,
  });
});

test("what is printed: replies, timeouts, then min/avg/max and loss", () => {
  const world = new ClassicWorld({
    decide: ({ from, index }) => (from === SERVER ? [[200], [], [600]][index] : [100]),
  });
  world.add(SERVER, server());
  world.add(CLIENT, client({ count: 3 }));
  world.run(60_000_000, () => (world.events.get(CLIENT)?.length ?? 0) >= 6);
  expect(world.linesOf(CLIENT)).toEqual([
    "Reply from 192.0.2.1:12000: PING 1 NOW",
    "RTT: 0.000300",
    "Request timed out",
    "Reply from 192.0.2.1:12000: PING 3 NOW",
    "RTT: 0.000700",
    "min/avg/max RTT: 0.000300/0.000500/0.000700 s, loss: 33 % (1 of 3)",
  ]);
});

test("all lost: 100 % and a failure, no division by zero", () => {
  const world = new ClassicWorld();
  const machine = client();
  world.add(CLIENT, machine);
  expect(world.run(60_000_000)).toBe(true);
  expect(world.nowUs).toBe(10_000_000);
  expect(machine.statistics).toMatchObject({ sent: 10, received: 0, lossPercent: 100, minRttUs: undefined });
  expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "UNREACHABLE" } });
  expect(world.linesOf(CLIENT).at(-1)).toBe("no reply, no times, loss: 100 % (10 of 10)");
});

test("a server loses the share it is told to", () => {
  const values = [0.36, 0.37];
  const machine = server(4 / 11, () => values.shift() ?? 0);
  machine.handleDatagram(encodeUtf8("Ping 1 x"), CLIENT, 1);
  machine.handleDatagram(encodeUtf8("Ping 2 x"), CLIENT, 2);
  expect(Buffer.from(machine.pollTransmit()?.bytes ?? []).toString()).toBe("PING 2 X");
  expect(machine.pollTransmit()).toBeUndefined();
});

test("two servers told to answer each other stay slow", () => {
  const world = new ClassicWorld({ delayUs: [100, 100] });
  world.add(SERVER, server());
  world.add(CLIENT, server());
  world.inject(CLIENT, SERVER, encodeUtf8("PING 1 x"));
  world.run(2_000_000);
  // 100 µs each way would be 20 000; each answers 1 000 at once and 1 000 a second after that.
  expect(world.sent.length).toBeLessThan(7_000);
});

test("garbage is not answered and never throws", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const machine = server();
      machine.handleDatagram(bytes, CLIENT, 1);
      client().handleDatagram(bytes, SERVER, 1);
      const isPing = /^ping[ \t]{1,8}\d{1,9}(?!\d)/i.test(Buffer.from(bytes).toString("latin1"));
      expect(machine.pollTransmit() !== undefined).toBe(isPing);
    }),
  );
  expect(pingSequence(encodeUtf8(`Ping 1 ${"x".repeat(2_000)}`))).toBeUndefined();
});
