/**
 * Recorded exchanges of the original point-to-multipoint programs against godwit in the other role,
 * byte for byte; and recordings of other courses' wires, which must be ignored without harm.
 */
import { describe, expect, test } from "vitest";
import { concatBytes, fromHex } from "../../src/base/bytes.ts";
import { P2mpReceiver } from "../../src/classic/p2mp/receiver.ts";
import { P2mpSender } from "../../src/classic/p2mp/sender.ts";
import { ENCODINGS } from "../../src/classic/p2mp/wire.ts";
import type { EncodingName } from "../../src/classic/p2mp/wire.ts";
import { memorySource, MemoryStore } from "../support/classic-memory.ts";
import { delivered, replay, sentBy } from "../support/classic-replay.ts";
import type { ReplayedDatagram } from "../support/classic-replay.ts";
import { bytesOf, loadVector, sha256 } from "../support/classic-vectors.ts";
import type { ClassicVector, RecordedDatagram } from "../support/classic-vectors.ts";

const HELLO = fromHex("48656c6c6f2066726f6d2074686520746578742066696c652e0a5365636f6e64206c696e652e0a");
const RECEIVER = "127.0.0.1:7735";
const hexes = (datagrams: readonly { hex: string }[]): readonly string[] => datagrams.map((one) => one.hex);

/** The file, put together from the recorded packets and checked against the recorded hash. */
function fileOf(vector: ClassicVector): Uint8Array {
  const payloads = new Map<number, Uint8Array>();
  for (const one of vector.datagrams) {
    const message = one.dir === "c2s" ? ENCODINGS.ascii.parse(bytesOf(one)) : undefined;
    if (message?.type !== "data") continue;
    expect(message.isIntact).toBe(true);
    payloads.set(message.sequence, message.payload);
  }
  const file = concatBytes(...payloads.values());
  expect(sha256(file)).toBe(vector.files?.[0].sha256 ?? sha256(HELLO));
  return file;
}

function receive(
  datagrams: readonly RecordedDatagram[],
  name: EncodingName = "ascii",
): { sent: readonly ReplayedDatagram[]; file: Uint8Array | undefined; result: string | undefined } {
  const store = new MemoryStore();
  const receiver = new P2mpReceiver({
    encoding: ENCODINGS[name],
    createSink: () => store.create("out"),
    lossProbability: 0,
    random: () => 0.5,
  });
  // The original sends every packet from a new port.
  const incoming = delivered(datagrams, "c2s");
  const sent = replay(receiver, incoming, (one) => `127.0.0.1:${50_000 + one.client}`, 100_000_000);
  return { sent, file: store.files.get("out"), result: receiver.outcome?.result };
}

function send(
  datagrams: readonly RecordedDatagram[],
  file: Uint8Array,
  segmentBytes: number,
  name: EncodingName = "ascii",
): { sent: readonly ReplayedDatagram[]; sender: P2mpSender } {
  const sender = new P2mpSender({
    encoding: ENCODINGS[name],
    receivers: [RECEIVER],
    source: memorySource(file),
    segmentBytes,
  });
  return { sent: replay(sender, delivered(datagrams, "s2c"), () => RECEIVER), sender };
}

describe.each([
  ["002_text_mss10", 10],
  ["002_text_mss500", 500],
  ["002_binary_mss100", 100],
  ["002_binary_odd_mss101", 101],
  ["002_lost_data", 20],
  ["002_lost_ack", 20],
  ["002_dup_data", 20],
])("%s", (name, segmentBytes) => {
  const vector = loadVector(name);

  test("as the receiver: every acknowledgement as recorded", () => {
    const { sent, file, result } = receive(vector.datagrams);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(file).toEqual(Buffer.from(fileOf(vector)));
    expect(result).toBe("probably-complete");
  });

  test("as the sender: every packet as recorded", () => {
    const { sent, sender } = send(vector.datagrams, fileOf(vector), segmentBytes);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(sender.outcome).toEqual({ result: "complete" });
  });
});

describe("002_two_receivers", () => {
  const vector = loadVector("002_two_receivers");
  const of = (receiver: string): readonly RecordedDatagram[] =>
    vector.datagrams.filter((one) => one.receiver === receiver);

  test.each(["127.0.0.1", "127.0.0.2"])(
    "as the receiver %s: every acknowledgement as recorded",
    (receiver) => {
      const { sent, file } = receive(of(receiver));
      expect(hexes(sent)).toEqual(hexes(sentBy(of(receiver), "s2c")));
      expect(file).toEqual(Buffer.from(HELLO));
    },
  );

  test("as the sender: to each receiver as recorded, and the barrier holds the second one back", () => {
    const sender = new P2mpSender({
      encoding: ENCODINGS.ascii,
      receivers: ["127.0.0.1:7735", "127.0.0.2:7735"],
      source: memorySource(HELLO),
      segmentBytes: 13,
    });
    const incoming = [...delivered(vector.datagrams, "s2c")].sort((a, b) => a.t_ms - b.t_ms);
    const sent = replay(sender, incoming, (one) => `${one.receiver}:7735`);
    for (const receiver of ["127.0.0.1", "127.0.0.2"])
      expect(hexes(sent.filter((one) => one.to === `${receiver}:7735`))).toEqual(
        hexes(sentBy(of(receiver), "c2s")),
      );
    const third = sent.filter((one) => ENCODINGS.ascii.parse(fromHex(one.hex))?.sequence === 3);
    expect(third).toHaveLength(2);
    expect(third[1].atUs).toBeGreaterThan(100_000);
    expect(sender.takeEvents().flatMap((event) => event.line ?? [])).toEqual([
      "Timeout, sequence number = 00002",
    ]);
    expect(sender.outcome).toEqual({ result: "complete" });
  });
});

describe("002_second_run_storm", () => {
  const vector = loadVector("002_second_run_storm");

  test("as the sender: no storm, and the receiver that was not restarted is named", () => {
    const sender = new P2mpSender({
      encoding: ENCODINGS.ascii,
      receivers: [RECEIVER],
      source: memorySource(HELLO),
      segmentBytes: 13,
    });
    const answer = bytesOf(sentBy(vector.datagrams, "s2c")[0]);
    // The recorded receiver answers every packet; play it for as long as the sender asks.
    const sent: string[] = [];
    let nowUs = 0;
    for (; sender.outcome === undefined && sent.length < 100; nowUs = sender.nextTimeoutUs() ?? nowUs) {
      sender.handleTimeout(nowUs);
      for (let one; (one = sender.pollTransmit(nowUs)) !== undefined;) {
        sent.push(Buffer.from(one.bytes).toString("hex"));
        sender.handleDatagram(answer, RECEIVER, nowUs + 600);
      }
    }
    expect(sent).toEqual(hexes(sentBy(vector.datagrams, "c2s").slice(0, 3)));
    expect(nowUs).toBeLessThan(500_000);
    expect(sender.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
    expect(sender.outcome?.result === "failed" && sender.outcome.error.message).toContain("not restarted");
  });

  test("as the receiver: one acknowledgement per packet, 2000 packets a second or not", () => {
    const { sent } = receive(vector.datagrams);
    // Here packet 1 is new, so each copy is acknowledged as 1 and nothing more happens.
    expect(sent).toHaveLength(sentBy(vector.datagrams, "c2s").length);
    expect(new Set(hexes(sent))).toEqual(new Set([Buffer.from(ENCODINGS.ascii.ack(1)).toString("hex")]));
  });
});

describe("002_sibling_variantF: the binary encoding", () => {
  const vector = loadVector("002_sibling_variantF");

  test("as the receiver: as recorded, and the end is known", () => {
    const { sent, file, result } = receive(vector.datagrams, "binary");
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(file).toEqual(Buffer.from(HELLO));
    expect(result).toBe("complete");
  });

  test("as the sender: as recorded", () => {
    const { sent, sender } = send(vector.datagrams, HELLO, 500, "binary");
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(sender.outcome).toEqual({ result: "complete" });
  });
});

test.each(["B", "D", "G", "J"])(
  "002_sibling_variant%s: a wire we do not speak is ignored in silence",
  (letter) => {
    const { datagrams } = loadVector(`002_sibling_variant${letter}`);
    for (const name of ["ascii", "binary"] as const) {
      const { sent, file } = receive(datagrams, name);
      expect(sent).toEqual([]);
      expect(file).toBeUndefined();
    }
  },
);
