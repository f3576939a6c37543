/** What breaks the original point-to-multipoint programs, in virtual time. */
import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { P2mpReceiver } from "../../src/classic/p2mp/receiver.ts";
import type { P2mpReceiverOptions } from "../../src/classic/p2mp/receiver.ts";
import { P2mpSender } from "../../src/classic/p2mp/sender.ts";
import { ENCODINGS } from "../../src/classic/p2mp/wire.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";
import { memorySource, MemoryStore, patternBytes } from "../support/classic-memory.ts";

const SENDER = "192.0.2.100:40000";
const SECOND_US = 1_000_000;
const { ascii, binary } = ENCODINGS;
const receiverAt = (i: number): string => `192.0.2.${i + 1}:7735`;

function receiver(store: MemoryStore, options: Partial<P2mpReceiverOptions> = {}): P2mpReceiver {
  return new P2mpReceiver({
    encoding: ascii,
    createSink: () => store.create("out"),
    lossProbability: 0,
    random: () => 0.5,
    ...options,
  });
}

function group(
  content: Uint8Array,
  count: number,
  channel: ChannelOptions,
  options: Partial<P2mpReceiverOptions> = {},
): { world: ClassicWorld; sender: P2mpSender; stores: MemoryStore[]; receivers: P2mpReceiver[] } {
  const world = new ClassicWorld(channel);
  const stores = Array.from({ length: count }, () => new MemoryStore());
  const receivers = stores.map((store, i) => {
    const random = new SeededRandom((channel.seed ?? 1) * 100 + i, "loss");
    return receiver(store, { random: () => random.float(), ...options });
  });
  for (const [i, machine] of receivers.entries()) world.add(receiverAt(i), machine);
  const sender = new P2mpSender({
    encoding: options.encoding ?? ascii,
    receivers: stores.map((_, i) => receiverAt(i)),
    source: memorySource(content),
    segmentBytes: 500,
  });
  world.add(SENDER, sender);
  return { world, sender, stores, receivers };
}

test("five receivers that each lose 30 % on purpose, on a network that loses, doubles and reorders", () => {
  const content = patternBytes(20_250);
  for (let seed = 1; seed <= 5; seed++) {
    const { world, sender, stores, receivers } = group(
      content,
      5,
      { seed, lossProbability: 0.1, duplicateProbability: 0.1, delayUs: [100, 60_000] },
      { lossProbability: 0.3 },
    );
    expect(world.run(600 * SECOND_US)).toBe(true);
    expect(sender.outcome).toEqual({ result: "complete" });
    for (const [i, store] of stores.entries()) {
      expect(store.files.get("out")).toEqual(Buffer.from(content));
      expect(receivers[i].outcome?.result).toBe("probably-complete");
    }
    const lines = world.linesOf(receiverAt(0));
    expect(lines.some((line) => /^Packet loss, sequence number = 000\d\d$/.test(line))).toBe(true);
    expect(world.linesOf(SENDER).every((line) => /^Timeout, sequence number = 000\d\d$/.test(line))).toBe(
      true,
    );
  }
});

test("lock-step: no receiver ever sees packet n + 1 before all have packet n", () => {
  const { world, stores } = group(patternBytes(5_000), 3, { seed: 3, lossProbability: 0.3 });
  let highest = 0;
  world.run(600 * SECOND_US, () => {
    const sizes = stores.map((store) => store.sinks[0]?.bytes.length ?? 0);
    highest = Math.max(highest, Math.max(...sizes) - Math.min(...sizes));
    return false;
  });
  expect(highest).toBe(500);
});

test("one dead receiver: the others get the file after a minute, and the verdict is partial", () => {
  const content = patternBytes(2_100);
  const { world, sender, stores } = group(content, 3, {}, { idleUs: 120 * SECOND_US });
  world.remove(receiverAt(1));
  world.run(600 * SECOND_US);
  expect(sender.outcome).toMatchObject({ result: "failed", error: { code: "PARTIAL", exit: 3 } });
  expect(sender.outcome?.result === "failed" && sender.outcome.error.message).toContain(receiverAt(1));
  expect(stores.map((store) => store.files.get("out")?.length)).toEqual([2_100, undefined, 2_100]);
});

test("every packet from a new port, as the original sends them", () => {
  const store = new MemoryStore();
  const machine = receiver(store);
  for (let i = 1; i <= 5; i++) {
    machine.handleDatagram(
      ascii.data(i, patternBytes(i < 5 ? 10 : 3, i)),
      `192.0.2.7:${50_000 + i}`,
      i * 1_000,
    );
    expect(machine.pollTransmit()).toEqual({ to: `192.0.2.7:${50_000 + i}`, bytes: ascii.ack(i) });
  }
  machine.handleTimeout(6 * SECOND_US);
  expect(machine.outcome?.result).toBe("probably-complete");
  expect(store.files.get("out")).toHaveLength(43);
});

describe("the end of a file that the wire does not tell", () => {
  const finish = (sizes: readonly number[], options: Partial<P2mpReceiverOptions> = {}) => {
    const store = new MemoryStore();
    const machine = receiver(store, options);
    for (const [i, size] of sizes.entries())
      machine.handleDatagram(
        (options.encoding ?? ascii).data(i + (options.encoding === binary ? 0 : 1), patternBytes(size)),
        "192.0.2.7:1",
        0,
      );
    const dueUs = machine.nextTimeoutUs() ?? -1;
    machine.handleTimeout(dueUs);
    const { outcome } = machine;
    const text =
      outcome?.result === "failed"
        ? outcome.error.message
        : outcome?.result === "probably-complete"
          ? outcome.reason
          : "";
    return {
      dueUs,
      result: outcome?.result,
      text,
      size: store.files.get("out")?.length,
      open: store.openSinks,
    };
  };

  test("a shorter last packet: soon, and probably complete", () => {
    expect(finish([100, 100, 20])).toMatchObject({
      dueUs: 5 * SECOND_US,
      result: "probably-complete",
      size: 220,
    });
  });
  test("a full last packet: late, and the file may be cut short, which the text says", () => {
    const end = finish([100, 100]);
    expect(end).toMatchObject({ dueUs: 60 * SECOND_US, result: "probably-complete", size: 200 });
    expect(end.text).toContain("may be cut short");
  });
  test("with the size told beforehand: complete at the last byte", () => {
    expect(finish([100, 100], { expectedBytes: 200 })).toMatchObject({
      dueUs: 5 * SECOND_US,
      result: "complete",
      size: 200,
    });
  });
  test("fewer bytes than told: failed, nothing saved", () => {
    expect(finish([100, 100], { expectedBytes: 300 })).toMatchObject({
      result: "failed",
      size: undefined,
      open: 0,
    });
  });
  test("more bytes than told: failed at once", () => {
    expect(finish([100, 101], { expectedBytes: 200 })).toMatchObject({
      result: "failed",
      size: undefined,
      open: 0,
    });
  });
  test("binary without its end: failed, nothing saved", () => {
    expect(finish([100, 100], { encoding: binary })).toMatchObject({
      result: "failed",
      size: undefined,
      open: 0,
    });
  });
});

test("a new sender at a receiver that still holds one packet of an earlier file is not acknowledged", () => {
  const machine = receiver(new MemoryStore());
  machine.handleDatagram(ascii.data(1, patternBytes(10, 1)), "192.0.2.7:1", 0);
  expect(machine.pollTransmit()).toBeDefined();
  machine.handleDatagram(ascii.data(1, patternBytes(10, 2)), "192.0.2.7:2", 1_000);
  expect(machine.pollTransmit()).toBeUndefined();
});

test("packets that another host slips in are not stored", () => {
  const store = new MemoryStore();
  const machine = receiver(store, { expectedBytes: 20 });
  machine.handleDatagram(ascii.data(1, patternBytes(10, 1)), "192.0.2.7:1", 0);
  machine.handleDatagram(ascii.data(2, patternBytes(10, 9)), "198.51.100.1:1", 0);
  machine.handleDatagram(ascii.data(2, patternBytes(10, 2)), "192.0.2.7:1", 0);
  expect(store.files.get("out")).toEqual(Buffer.concat([patternBytes(10, 1), patternBytes(10, 2)]));
});

test("a late end of an earlier transfer, from another port, does not cut the file", () => {
  const store = new MemoryStore();
  const machine = receiver(store, { encoding: binary });
  machine.handleDatagram(binary.data(0, patternBytes(10)), "192.0.2.7:1", 0);
  machine.handleDatagram(binary.end(0), "192.0.2.7:2", 0);
  expect(store.files.size).toBe(0);
  machine.handleDatagram(binary.end(0), "192.0.2.7:1", 0);
  expect(store.files.get("out")).toHaveLength(10);
});

test("damaged packets are answered with silence and the original's words", () => {
  const machine = receiver(new MemoryStore());
  const packet = ascii.data(1, patternBytes(10));
  packet[70] ^= 1;
  machine.handleDatagram(packet, "192.0.2.7:1", 0);
  expect(machine.pollTransmit()).toBeUndefined();
  expect(machine.takeEvents().map((event) => event.line)).toEqual(["checksum_valid failed for 1"]);
});

test("nothing but strangers' garbage: the receiver waits on and holds nothing", () => {
  const store = new MemoryStore();
  const machine = receiver(store);
  const random = new SeededRandom(3, "p2mp-garbage");
  for (let i = 0; i < 20_000; i++) {
    const bits = random.chance(0.5);
    const bytes = random.bytes(new Uint8Array(random.integer(0, 200)));
    machine.handleDatagram(bits ? bytes.map((byte) => 0x30 + (byte & 1)) : bytes, `192.0.2.9:${i}`, i);
  }
  expect(machine.outcome).toBeUndefined();
  expect(store.sinks).toHaveLength(0);
});

test("a full disk ends the receiver without a file, and the sender learns it by silence", () => {
  const { world, sender, stores } = group(patternBytes(5_000), 1, {});
  stores[0].capacityBytes = 2_000;
  expect(world.run(600 * SECOND_US, () => sender.outcome !== undefined)).toBe(true);
  expect(sender.outcome).toMatchObject({ result: "failed", error: { code: "PEER_GONE" } });
  expect(stores[0].files.size).toBe(0);
});

describe("acknowledgements from another port", () => {
  const send = (receivers: readonly string[]): P2mpSender => {
    const source = memorySource(patternBytes(10));
    const sender = new P2mpSender({ encoding: ascii, receivers, source, segmentBytes: 500 });
    while (sender.pollTransmit(0) !== undefined);
    return sender;
  };

  test("count for the one receiver at that host", () => {
    const sender = send(["192.0.2.1:7735"]);
    sender.handleDatagram(ascii.ack(1), "198.51.100.1:7735", 10);
    expect(sender.outcome).toBeUndefined();
    sender.handleDatagram(ascii.ack(1), "192.0.2.1:9999", 10);
    expect(sender.outcome).toEqual({ result: "complete" });
  });

  test("count for nobody where two receivers share the host", () => {
    const sender = send(["192.0.2.1:7735", "192.0.2.1:7736"]);
    sender.handleDatagram(ascii.ack(1), "192.0.2.1:9999", 10);
    sender.handleDatagram(ascii.ack(1), "192.0.2.1:7735", 10);
    expect(sender.outcome).toBeUndefined();
    sender.handleDatagram(ascii.ack(1), "192.0.2.1:7736", 10);
    expect(sender.outcome).toEqual({ result: "complete" });
  });
});

test("an end that nobody confirms: two seconds, then probably complete", () => {
  const { world, sender } = group(
    patternBytes(900),
    1,
    { decide: (one) => (one.from !== SENDER && one.bytes[6] === 0xff ? [] : undefined) },
    { encoding: binary },
  );
  world.run(60 * SECOND_US, () => sender.outcome !== undefined);
  expect(sender.outcome?.result).toBe("probably-complete");
  expect(world.nowUs).toBeGreaterThan(1_900_000);
  expect(world.nowUs).toBeLessThan(2_100_000);
});

test("a file larger than allowed ends the receiver without a file", () => {
  const store = new MemoryStore();
  const machine = receiver(store, { maxFileBytes: 15 });
  machine.handleDatagram(ascii.data(1, patternBytes(10)), "192.0.2.7:1", 0);
  machine.handleDatagram(ascii.data(2, patternBytes(6)), "192.0.2.7:1", 0);
  expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "OVER_LIMIT", exit: 9 } });
  expect(store.openSinks).toBe(0);
});

test("packets without data are not acknowledged: an original with MSS 0 sends them for ever", () => {
  const machine = receiver(new MemoryStore());
  machine.handleDatagram(ascii.data(1, new Uint8Array(0)), "192.0.2.7:1", 0);
  expect(machine.pollTransmit()).toBeUndefined();
});

test("an end before the size told beforehand: failed, nothing saved", () => {
  const store = new MemoryStore();
  const machine = receiver(store, { encoding: binary, expectedBytes: 20 });
  machine.handleDatagram(binary.data(0, patternBytes(10)), "192.0.2.7:1", 0);
  machine.handleDatagram(binary.end(0), "192.0.2.7:1", 0);
  expect(machine.outcome).toMatchObject({
    result: "failed",
    error: { code: "VERIFICATION_FAILED", exit: 8 },
  });
  expect(store.files.size + store.openSinks).toBe(0);
});

describe("stopped by the user", () => {
  const stop = (
    sizes: readonly number[],
    afterUs: number,
  ): { result: string | undefined; saved: number | undefined } => {
    const store = new MemoryStore();
    const machine = receiver(store);
    for (const [i, size] of sizes.entries())
      machine.handleDatagram(ascii.data(i + 1, patternBytes(size)), "192.0.2.7:1", 0);
    machine.handleStop(afterUs);
    return { result: machine.outcome?.result, saved: store.files.get("out")?.length };
  };

  test("in the middle: nothing is saved", () => {
    expect(stop([100, 100], 500_000)).toEqual({ result: "failed", saved: undefined });
    expect(stop([], 500_000)).toEqual({ result: "failed", saved: undefined });
  });
  test("a second after the sender fell silent, or after a shorter packet: as the silence would have ended it", () => {
    expect(stop([100, 100], SECOND_US)).toEqual({ result: "probably-complete", saved: 200 });
    expect(stop([100, 20], 1_000)).toEqual({ result: "probably-complete", saved: 120 });
  });
});
