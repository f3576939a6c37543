import { describe, expect, test } from "vitest";
import { ECN } from "../wire/batch.ts";
import { burstLoss, HEALED } from "./link-config.ts";
import type { LinkConfig } from "./link-config.ts";
import { droppedDatagrams } from "./link-statistics.ts";
import { Link } from "./link.ts";

type Delivery = [atUs: number, tag: number];

function make(config: Partial<LinkConfig>, seed = 1): Link<number> {
  return new Link<number>({ overheadBytes: 0, ...config }, seed);
}

function drain(link: Link<number>, untilUs = 1e12): Delivery[] {
  const out: Delivery[] = [];
  link.takeDelivered(untilUs, { handleDelivery: (_bytes, _ecn, tag, atUs) => void out.push([atUs, tag]) });
  return out;
}

function bytesOut(link: Link<number>, untilUs = 1e12): Uint8Array[] {
  const out: Uint8Array[] = [];
  link.takeDelivered(untilUs, { handleDelivery: (bytes) => void out.push(bytes) });
  return out;
}

/** Sends `count` datagrams of `size` bytes, one every `everyUs`. */
function feed(link: Link<number>, count: number, everyUs: number, size = 1_000): void {
  for (let i = 0; i < count; i++) link.enqueue(new Uint8Array(size), 0, i, i * everyUs);
}

describe("rate, queue and delay", () => {
  test("a datagram takes its length over the rate, then the delay", () => {
    // 1 000 bytes at 1 000 000 B/s: 1 ms each, one behind the other, then 20 ms on the way.
    const link = make({ rateBytesPerSecond: 1_000_000, delayUs: 20_000 });
    feed(link, 3, 0);
    expect(link.backlogBytes).toBe(3_000);
    expect(link.nextDeliveryUs()).toBe(21_000);
    expect(drain(link)).toEqual([
      [21_000, 0],
      [22_000, 1],
      [23_000, 2],
    ]);
    expect(link.statistics).toMatchObject({
      queueMaxBytes: 3_000,
      queueDelaySumUs: 6_000,
      queueDelayMaxUs: 3_000,
    });
    expect(link.datagramsInside).toBe(0);
  });

  test("rates that are no whole number of microseconds a byte do not drift", () => {
    // 1 000 datagrams of 1 000 bytes at 3 000 000 B/s: the last leaves after 1/3 s.
    const link = make({ rateBytesPerSecond: 3_000_000, queueBytes: 2_000_000 });
    feed(link, 1_000, 0);
    const arrivals = drain(link);
    expect(arrivals[0]).toEqual([333, 0]);
    expect(arrivals[999]).toEqual([333_333, 999]);
  });

  test("overhead takes time and queue but is not payload", () => {
    const link = make({ rateBytesPerSecond: 1_000_000, overheadBytes: 28 });
    feed(link, 1, 0, 972);
    expect(drain(link)).toEqual([[1_000, 0]]);
    expect(link.statistics).toMatchObject({ bytesIn: 972, bytesOut: 972 });
  });

  test("the tail is dropped when the queue is full, counted in bytes or in datagrams", () => {
    const bytes = make({ rateBytesPerSecond: 1_000_000, queueBytes: 2_500 });
    feed(bytes, 4, 0);
    expect(drain(bytes).map(([, tag]) => tag)).toEqual([0, 1]);
    expect(bytes.statistics.droppedQueue).toBe(2);

    const datagrams = make({ rateBytesPerSecond: 1_000_000, queueDatagrams: 3 });
    feed(datagrams, 4, 0);
    expect(drain(datagrams).map(([, tag]) => tag)).toEqual([0, 1, 2]);
  });

  test("an idle link passes a datagram larger than its queue", () => {
    const link = make({ rateBytesPerSecond: 1_000_000, queueBytes: 500 });
    feed(link, 1, 0);
    expect(drain(link)).toHaveLength(1);
  });

  test("asking early delivers nothing and changes nothing", () => {
    const link = make({ rateBytesPerSecond: 1_000_000, delayUs: 5_000 });
    feed(link, 2, 0);
    expect(drain(link, 5_999)).toEqual([]);
    expect(drain(link, 6_000)).toEqual([[6_000, 0]]);
    expect(link.nextDeliveryUs()).toBe(7_000);
  });

  test("a change of rate counts for what is being sent, too", () => {
    // Half of the first datagram at 1 B/us (500 us), the other half at 0.5 B/us (1 000 us).
    const changes = [{ atUs: 500, set: { rateBytesPerSecond: 500_000 } }];
    const link = make({ rateBytesPerSecond: 1_000_000, changes });
    feed(link, 2, 0);
    expect(drain(link)).toEqual([
      [1_500, 0],
      [3_500, 1],
    ]);
    const byHand = make({ rateBytesPerSecond: 1_000_000 });
    feed(byHand, 2, 0);
    byHand.configure({ rateBytesPerSecond: 500_000 }, 500);
    expect(drain(byHand)).toEqual([
      [1_500, 0],
      [3_500, 1],
    ]);
  });

  test("unlimited and slow rates can follow each other", () => {
    const link = make({ rateBytesPerSecond: 1_000_000 });
    feed(link, 3, 0);
    link.configure({ rateBytesPerSecond: 0 }, 1_500);
    expect(drain(link)).toEqual([
      [1_000, 0],
      [1_500, 1],
      [1_500, 2],
    ]);
    link.enqueue(new Uint8Array(10), 0, 3, 2_000);
    expect(drain(link)).toEqual([[2_000, 3]]);
  });
});

describe("order", () => {
  test("jitter moves arrivals within its bounds and keeps their order", () => {
    const link = make({ delayUs: 50_000, jitterUs: 25_000 });
    feed(link, 2_000, 1_000);
    const arrivals = drain(link);
    expect(arrivals.map(([, tag]) => tag)).toEqual(Array.from({ length: 2_000 }, (_, i) => i));
    const delays = arrivals.map(([atUs, tag]) => atUs - tag * 1_000);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(25_000);
    expect(Math.max(...delays)).toBeLessThanOrEqual(75_000);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(20_000);
  });

  test("one jitter value holds for its period", () => {
    const link = make({ delayUs: 50_000, jitterUs: 25_000, jitterPeriodUs: 1_000_000 });
    feed(link, 10, 1_000);
    const delays = new Set(drain(link).map(([atUs, tag]) => atUs - tag * 1_000));
    expect(delays.size).toBe(1);
  });

  test("a reordered datagram comes later and holds nobody up", () => {
    const link = make({ delayUs: 10_000, reorderProbability: 1, reorderDelayUs: 7_000 });
    link.enqueue(new Uint8Array(1), 0, 0, 0);
    link.configure({ reorderProbability: 0 }, 0);
    link.enqueue(new Uint8Array(1), 0, 1, 1_000);
    expect(drain(link)).toEqual([
      [11_000, 1],
      [17_000, 0],
    ]);
    expect(link.statistics.reordered).toBe(1);
  });

  test("a stall holds everything back and releases it at once", () => {
    const link = make({ stallEveryUs: 1_000_000, stallUs: 300_000 });
    feed(link, 10_000, 1_000);
    const arrivals = drain(link);
    const held = arrivals.map(([atUs, tag]) => atUs - tag * 1_000);
    expect(Math.max(...held)).toBeGreaterThan(290_000);
    expect(Math.max(...held)).toBeLessThanOrEqual(300_000);
    // 300 ms of stall after 0.5 to 1.5 s of quiet: 17 % to 38 % of the time.
    const stalled = held.filter((us) => us > 0).length;
    expect(stalled).toBeGreaterThan(1_700);
    expect(stalled).toBeLessThan(3_800);
  });
});

describe("loss", () => {
  test("random loss comes at its rate", () => {
    const link = make({ lossProbability: 0.1 });
    feed(link, 20_000, 1);
    // Three standard deviations of a binomial: 3 * sqrt(20 000 * 0.1 * 0.9) = 127.
    expect(Math.abs(link.statistics.droppedLoss - 2_000)).toBeLessThan(127);
    expect(drain(link)).toHaveLength(20_000 - link.statistics.droppedLoss);
  });

  test("a run of losses is no longer than asked", () => {
    const link = make({ lossProbability: 1, lossRunMax: 3 });
    feed(link, 8, 1);
    expect(drain(link).map(([, tag]) => tag)).toEqual([3, 7]);
  });

  test("bursts have the asked share and length", () => {
    const link = make(burstLoss(0.05, 20));
    feed(link, 200_000, 1);
    const arrived = new Set(drain(link).map(([, tag]) => tag));
    let bursts = 0;
    for (let i = 1; i < 200_000; i++) if (!arrived.has(i) && arrived.has(i - 1)) bursts += 1;
    const lost = link.statistics.droppedBurst;
    expect(lost / 200_000).toBeGreaterThan(0.04);
    expect(lost / 200_000).toBeLessThan(0.06);
    expect(lost / bursts).toBeGreaterThan(17);
    expect(lost / bursts).toBeLessThan(23);
  });

  test("a mask loses exactly the datagrams it names", () => {
    const link = make({ lossMask: 0b1011 });
    feed(link, 6, 1);
    expect(drain(link).map(([, tag]) => tag)).toEqual([2, 4, 5]);
  });

  test("blackholes, once and again, in time since the link began", () => {
    const link = new Link<number>({ blackholes: [{ fromUs: 2_000, untilUs: 4_000 }] }, 1, "x", 1_000_000);
    for (let i = 0; i < 6; i++) link.enqueue(new Uint8Array(1), 0, i, 1_000_000 + i * 1_000);
    expect(drain(link).map(([, tag]) => tag)).toEqual([0, 1, 4, 5]);
    const again = make({ blackholeEveryUs: 3_000, blackholeForUs: 1_000 });
    feed(again, 7, 1_000);
    expect(drain(again).map(([, tag]) => tag)).toEqual([0, 1, 3, 4, 6]);
    expect(again.statistics.droppedBlackhole).toBe(2);
  });

  test("larger than the MTU is dropped, from a moment on", () => {
    const link = make({ changes: [{ atUs: 2_000, set: { mtuBytes: 999 } }] });
    feed(link, 4, 1_000);
    expect(drain(link).map(([, tag]) => tag)).toEqual([0, 1]);
    expect(link.statistics.droppedMtu).toBe(2);
    expect(droppedDatagrams(link.statistics)).toBe(2);
  });
});

describe("damage and extras", () => {
  test("one to n bits change, in a copy", () => {
    const link = make({ corruptProbability: 1, corruptBitsMax: 8 });
    const sent = new Uint8Array(100).fill(0x55);
    for (let i = 0; i < 500; i++) link.enqueue(sent, 0, i, i);
    expect(sent.every((byte) => byte === 0x55)).toBe(true);
    const counts = new Set<number>();
    for (const got of bytesOut(link)) {
      let bits = 0;
      for (const byte of got) for (let x = byte ^ 0x55; x > 0; x >>= 1) bits += x & 1;
      expect(bits).toBeGreaterThanOrEqual(1);
      expect(bits).toBeLessThanOrEqual(8);
      counts.add(bits);
    }
    expect(counts.size).toBe(8);
  });

  test("a run of corrupted datagrams is no longer than asked", () => {
    const link = make({ corruptProbability: 1, corruptRunMax: 2 });
    for (let i = 0; i < 6; i++) link.enqueue(new Uint8Array(10), 0, i, i);
    expect(bytesOut(link).map((bytes) => bytes.every((byte) => byte === 0))).toEqual([
      false,
      false,
      true,
      false,
      false,
      true,
    ]);
  });

  test("truncation leaves a proper prefix", () => {
    const link = make({ truncateProbability: 1 });
    const sent = Uint8Array.from({ length: 50 }, (_, i) => i);
    for (let i = 0; i < 300; i++) link.enqueue(sent, 0, i, i);
    const lengths = new Set<number>();
    for (const got of bytesOut(link)) {
      expect([...got]).toEqual([...sent.subarray(0, got.length)]);
      lengths.add(got.length);
    }
    expect(Math.max(...lengths)).toBe(49);
    expect(Math.min(...lengths)).toBe(0);
  });

  test("copies follow their original", () => {
    const link = make({ duplicateProbability: 1, duplicateCopies: 9 });
    feed(link, 2, 10);
    expect(drain(link).map(([, tag]) => tag)).toEqual([
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ]);
  });

  test("a replayed datagram is one that passed before, undamaged", () => {
    const link = make({ replayProbability: 1, corruptProbability: 1 });
    for (let i = 0; i < 50; i++) link.enqueue(Uint8Array.of(i, 0, 0, 0), 0, i, i);
    const got = bytesOut(link);
    expect(got).toHaveLength(100);
    expect(got.filter((bytes) => bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0).length).toBeGreaterThan(
      49,
    );
  });

  test("junk comes on top", () => {
    const link = make({ junkProbability: 1 });
    feed(link, 100, 1, 4);
    expect(bytesOut(link).some((bytes) => bytes.length > 1_000)).toBe(true);
    expect(link.statistics).toMatchObject({ junk: 100, datagramsOut: 200 });
  });

  test("only ECN-capable datagrams are marked, by chance or from a backlog on", () => {
    const link = make({ markProbability: 1 });
    link.enqueue(new Uint8Array(1), ECN.notEct, 0, 0);
    link.enqueue(new Uint8Array(1), ECN.ect0, 1, 0);
    const marks: number[] = [];
    link.takeDelivered(1, { handleDelivery: (_bytes, ecn) => void marks.push(ecn) });
    expect(marks).toEqual([ECN.notEct, ECN.ce]);
    const queue = make({ rateBytesPerSecond: 1_000, markQueueBytes: 2_000 });
    for (let i = 0; i < 4; i++) queue.enqueue(new Uint8Array(1_000), ECN.ect0, i, 0);
    expect(queue.statistics.marked).toBe(2);
    const bleach = make({ bleachProbability: 1 });
    for (const ecn of [ECN.ect0, ECN.ce, ECN.notEct]) bleach.enqueue(new Uint8Array(1), ecn, 0, 0);
    marks.length = 0;
    bleach.takeDelivered(1, { handleDelivery: (_bytes, ecn) => void marks.push(ecn) });
    expect(marks).toEqual([ECN.notEct, ECN.notEct, ECN.notEct]);
    expect(bleach.statistics.bleached).toBe(2);
  });
});

describe("repeatability", () => {
  const wild: Partial<LinkConfig> = {
    rateBytesPerSecond: 2_000_000,
    delayUs: 10_000,
    jitterUs: 5_000,
    lossProbability: 0.1,
    reorderProbability: 0.1,
    reorderDelayUs: 9_000,
    duplicateProbability: 0.1,
    corruptProbability: 0.1,
    junkProbability: 0.1,
    replayProbability: 0.1,
  };

  test("the same seed gives the same arrivals however often one looks; another seed does not", () => {
    const once = make(wild, 7);
    feed(once, 500, 400);
    const expected = drain(once);
    const often = make(wild, 7);
    const got: Delivery[] = [];
    for (let i = 0; i < 500; i++) {
      often.enqueue(new Uint8Array(1_000), 0, i, i * 400);
      got.push(...drain(often, i * 400));
    }
    got.push(...drain(often));
    expect(got).toEqual(expected);
    const other = make(wild, 8);
    feed(other, 500, 400);
    expect(drain(other)).not.toEqual(expected);
  });

  test("switching one fault on does not move the others", () => {
    const lossy = make({ lossProbability: 0.2 }, 3);
    const both = make(
      { lossProbability: 0.2, corruptProbability: 0.5, jitterUs: 10, burstEnterProbability: 0 },
      3,
    );
    feed(lossy, 300, 100);
    feed(both, 300, 100);
    expect(drain(both).map(([, tag]) => tag)).toEqual(drain(lossy).map(([, tag]) => tag));
  });

  test("no arrival is later than announced, whatever the faults", () => {
    const link = make(wild, 5);
    feed(link, 300, 400);
    for (let nowUs = 0; link.datagramsInside > 0;) {
      const nextUs = link.nextDeliveryUs();
      expect(nextUs).toBeGreaterThanOrEqual(nowUs);
      nowUs = nextUs;
      for (const [atUs] of drain(link, nowUs)) expect(atUs).toBe(nowUs);
      expect(link.nextDeliveryUs()).toBeGreaterThan(nowUs);
    }
  });

  test("healing turns every fault off", () => {
    const link = make({ ...wild, ...burstLoss(0.5, 5), blackholeEveryUs: 10, blackholeForUs: 9 }, 7);
    link.configure(HEALED, 0);
    for (let i = 0; i < 500; i++) link.enqueue(new Uint8Array(1_000), 0, i, i * 1_000);
    expect(drain(link).map(([, tag]) => tag)).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });
});

test("impossible configurations are refused", () => {
  expect(() => make({ lossProbability: 1.5 })).toThrow("lossProbability");
  expect(() => make({ delayUs: -1 })).toThrow("delayUs");
  expect(() => make({ rateBytesPerSecond: Number.NaN })).toThrow("rateBytesPerSecond");
  expect(() =>
    make({
      changes: [
        { atUs: 2, set: {} },
        { atUs: 1, set: {} },
      ],
    }),
  ).toThrow("ascending");
});
