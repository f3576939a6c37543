import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { EventQueue } from "../../events/queue.ts";
import type { AckSample, CongestionController, LossSample } from "../congestion/controller.ts";
import { Pacer } from "../pacer.ts";
import { Recovery } from "./recovery.ts";
import type { RecoveryHandler } from "./recovery-handler.ts";

const SIZE = 1_000;
const ACK_DELAY_US = 25_000;

function sorted(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}

/** A controller that allows everything and writes down what it is told. */
class Recorder implements CongestionController {
  readonly name = "recorder";
  readonly state = "open";
  congestionWindowBytes = Infinity;
  pacingRateBytesPerSecond = Infinity;
  readonly bandwidthBytesPerSecond = 0;
  readonly slowStartThresholdBytes = Infinity;
  readonly acks: AckSample[] = [];
  readonly losses: LossSample[] = [];
  readonly spurious: number[][] = [];
  handleSent(): void {}
  handleLoss(sample: LossSample): void {
    this.losses.push({ ...sample });
  }
  handleAck(sample: AckSample): void {
    this.acks.push({ ...sample });
  }
  handleSpuriousLoss(nowUs: number, packetNumber: number, bytes: number, sentAtUs: number): void {
    this.spurious.push([nowUs, packetNumber, bytes, sentAtUs]);
  }
  handleAppLimited(): void {}
  handleDatagramSize(): void {}
  handlePathChange(): void {}
}

class Bench implements RecoveryHandler {
  readonly controller = new Recorder();
  readonly events = new EventQueue();
  readonly acked: number[] = [];
  readonly lost: number[] = [];
  readonly spurious: number[] = [];
  readonly recovery: Recovery;

  constructor(rateCap?: Pacer) {
    this.recovery = new Recovery({
      controllerFactory: () => this.controller,
      datagramBytes: SIZE,
      nowUs: 0,
      randomFloat: () => 0.5,
      events: this.events,
      maxAckDelayUs: ACK_DELAY_US,
      rateCap,
    });
  }
  handlePacketAcked(number: number): void {
    this.acked.push(number);
  }
  handlePacketLost(number: number): void {
    this.lost.push(number);
  }
  handleSpuriousLoss(number: number): void {
    this.spurious.push(number);
  }
  send(from: number, to: number, nowUs: number, gapUs = 0): void {
    for (let number = from; number <= to; number++) {
      this.recovery.handleSent(number, SIZE, nowUs + (number - from) * gapUs, true, false);
    }
  }
  ack(ranges: [low: number, high: number][], nowUs: number, delayUs = 0): void {
    this.recovery.handleAck(ranges[0][1], delayUs, ranges.flat(), ranges.length, nowUs, this);
  }
  take(list: number[]): number[] {
    return list.splice(0);
  }
}

describe("loss detection, RFC 9002 §6.1", () => {
  test("two packets overtaking is reordering, three is loss", () => {
    const bench = new Bench();
    bench.send(0, 9, 0);
    bench.ack([[2, 2]], 80_000);
    expect(bench.lost).toEqual([]);
    bench.ack([[2, 3]], 80_000);
    expect(bench.lost).toEqual([0]);
    expect(bench.recovery.bytesInFlight).toBe(7 * SIZE);
    expect(bench.controller.losses).toEqual([
      expect.objectContaining({
        lostBytes: SIZE,
        lostPackets: 1,
        largestLost: 0,
        isPersistentCongestion: false,
      }),
    ]);
  });

  test("an overtaken packet is lost 9/8 of a round trip after it was sent", () => {
    const bench = new Bench();
    bench.send(0, 1, 0);
    bench.ack([[1, 1]], 80_000);
    expect(bench.recovery.nextTimeoutUs()).toBe(90_000);
    bench.recovery.handleTimeout(89_999, bench);
    expect(bench.lost).toEqual([]);
    bench.recovery.handleTimeout(90_000, bench);
    expect(bench.lost).toEqual([0]);
    expect(bench.recovery.nextTimeoutUs()).toBe(undefined);
  });

  test("a packet after the largest acknowledged one is never lost by age", () => {
    const bench = new Bench();
    bench.send(0, 3, 0);
    bench.ack([[0, 1]], 80_000);
    bench.recovery.handleTimeout(10_000_000, bench);
    expect(bench.lost).toEqual([]);
  });

  test("a lost MTU probe is told to the connection, not to the controller", () => {
    const bench = new Bench();
    bench.recovery.handleSent(0, 9_000, 0, true, true);
    bench.send(1, 4, 0);
    bench.ack([[1, 4]], 80_000);
    expect(bench.lost).toEqual([0]);
    expect(bench.controller.losses).toEqual([]);
    expect(bench.controller.acks[0].totalLostBytes).toBe(0);
    expect(bench.recovery.bytesInFlight).toBe(0);
  });

  test("a packet that arrives after all is taken back and widens the tolerance", () => {
    const bench = new Bench();
    bench.send(0, 9, 0);
    bench.ack([[1, 3]], 80_000);
    expect(bench.lost).toEqual([0]);
    bench.ack([[0, 3]], 85_000);
    expect(bench.spurious).toEqual([0]);
    expect(bench.controller.spurious).toEqual([[85_000, 0, SIZE, 0]]);
    expect(bench.controller.acks.at(-1)?.totalLostBytes).toBe(0);
    expect(bench.controller.acks.at(-1)?.totalDeliveredBytes).toBe(4 * SIZE);
    // Threshold 6 now: 9 overtakes 4 by five only.
    bench.ack(
      [
        [9, 9],
        [0, 3],
      ],
      85_000,
    );
    expect(bench.take(bench.lost)).toEqual([0]);
    expect(bench.recovery.statistics).toMatchObject({
      packetsLost: 1,
      packetsSpurious: 1,
      packetsReordered: 1,
    });
  });
});

describe("acknowledgements", () => {
  test("each packet is told once, whatever is repeated, reordered or overlapping", () => {
    const bench = new Bench();
    bench.send(0, 9, 0);
    bench.ack(
      [
        [6, 7],
        [2, 4],
      ],
      80_000,
    );
    expect(sorted(bench.take(bench.acked))).toEqual([2, 3, 4, 6, 7]);
    bench.ack([[2, 4]], 80_001); // an older ACK, late
    expect(bench.acked).toEqual([]);
    bench.ack([[1, 8]], 80_002);
    expect(sorted(bench.take(bench.acked))).toEqual([5, 8]);
    expect(sorted(bench.spurious)).toEqual([1]); // 7 had overtaken it by six
  });

  test("of a number never sent: the peer lies", () => {
    const bench = new Bench();
    bench.send(0, 4, 0);
    expect(() => bench.ack([[0, 5]], 10)).toThrow(expect.objectContaining({ code: "PROTOCOL_VIOLATION" }));
  });

  test("of a number left out on purpose: the peer lies", () => {
    const bench = new Bench();
    bench.send(0, 4, 0);
    bench.recovery.handleSkipped(5);
    bench.send(6, 8, 0);
    bench.ack(
      [
        [6, 8],
        [0, 4],
      ],
      80_000,
    );
    expect(bench.acked.length).toBe(8);
    bench.recovery.handleSkipped(9);
    bench.send(10, 10, 80_000);
    expect(() => bench.ack([[8, 10]], 90_000)).toThrow(
      expect.objectContaining({ code: "PROTOCOL_VIOLATION" }),
    );
  });

  test("packet numbers may start anywhere, beyond 32 bits too", () => {
    const bench = new Bench();
    const first = 2 ** 32 - 5;
    bench.send(first, first + 9, 0);
    bench.ack([[first, first + 9]], 80_000);
    expect(bench.acked.length).toBe(10);
    expect(bench.recovery.bytesInFlight).toBe(0);
  });

  test("packets without ack-eliciting frames are not in flight and never lost", () => {
    const bench = new Bench();
    for (let number = 0; number < 5_000; number++)
      bench.recovery.handleSent(number, 50, number, false, false);
    expect(bench.recovery.bytesInFlight).toBe(0);
    expect(bench.recovery.nextTimeoutUs()).toBe(undefined);
    bench.send(5_000, 5_004, 5_000);
    bench.ack([[5_004, 5_004]], 85_000);
    expect(bench.lost).toEqual([5_000, 5_001]);
  });
});

describe("probe timeout, RFC 9002 §6.2 and RFC 8985 §7.2", () => {
  test("before a sample: two assumed round trips and the peer's delay", () => {
    const bench = new Bench();
    bench.send(0, 0, 0);
    // min(333 000 + 4 * 166 500, 2 * 333 000) + 25 000.
    expect(bench.recovery.nextTimeoutUs()).toBe(691_000);
  });

  test("a steady path: smoothed + 4 variations + the peer's delay", () => {
    const bench = new Bench();
    bench.recovery.handleInitialRtt(100_000, 0);
    for (let number = 0; number < 40; number++) {
      bench.send(number, number, number * 100_000);
      bench.ack([[number, number]], (number + 1) * 100_000);
    }
    // The variation went from 50 000 to less than 1: the granularity of 1 000 holds.
    bench.send(40, 40, 10_000_000);
    expect(Math.round(bench.recovery.nextTimeoutUs() ?? 0)).toBe(10_126_000);
  });

  test("backs off by two, up to one probe a second, and an answer resets it", () => {
    const bench = new Bench();
    bench.recovery.handleInitialRtt(100_000, 0);
    bench.send(0, 0, 0);
    const times: number[] = [];
    for (let fired = 0; fired < 5; fired++) {
      const dueUs = bench.recovery.nextTimeoutUs() ?? Number.NaN;
      times.push(dueUs);
      bench.recovery.handleTimeout(dueUs, bench);
      expect(bench.recovery.takeProbeCount()).toBe(2);
      expect(bench.recovery.takeProbeCount()).toBe(0);
    }
    // First 2 * 100 000 + 25 000; then 325 000 * 2, then at most 1 000 000 each.
    expect(times).toEqual([225_000, 875_000, 1_875_000, 2_875_000, 3_875_000]);
    expect(bench.lost).toEqual([]);
    expect(bench.recovery.statistics.probeTimeouts).toBe(5);
    bench.send(1, 1, 4_000_000);
    bench.ack([[1, 1]], 4_100_000);
    expect(bench.recovery.consecutiveProbeTimeouts).toBe(0);
  });
});

describe("persistent congestion, RFC 9002 §7.6", () => {
  test("all packets of more than three timeouts lost", () => {
    const bench = new Bench();
    bench.recovery.handleInitialRtt(100_000, 0);
    // Timeout 100 000 + 4 * 50 000 + 25 000 = 325 000; three of them 975 000.
    bench.send(0, 10, 0, 100_000);
    bench.send(11, 14, 1_200_000);
    bench.ack([[14, 14]], 1_300_000);
    expect(bench.controller.losses[0].isPersistentCongestion).toBe(true);
    expect(bench.recovery.statistics.persistentCongestions).toBe(1);
  });

  test("not when one between them arrived", () => {
    const bench = new Bench();
    bench.recovery.handleInitialRtt(100_000, 0);
    bench.send(0, 10, 0, 100_000);
    bench.send(11, 14, 1_200_000);
    bench.ack(
      [
        [14, 14],
        [6, 6],
      ],
      1_300_000,
    );
    expect(bench.controller.losses[0].isPersistentCongestion).toBe(false);
  });
});

describe("delivery rate, draft-cheng-iccrg-delivery-rate-estimation", () => {
  test("a steady flow is measured as it is", () => {
    const bench = new Bench();
    // One packet in 10 ms, round trip 50 ms.
    for (let number = 0; number < 20; number++) {
      bench.send(number, number, number * 10_000);
      const acked = number - 5;
      if (acked >= 0) bench.ack([[0, acked]], number * 10_000);
    }
    const sample = bench.controller.acks.at(-1);
    // Packet 14 was sent at 140 ms, just before the ACK of 9 came: delivered 9 packets then, 15 now;
    // 60 ms have passed since the ACK of packet 8 at 130 ms.
    expect(sample).toMatchObject({
      hasRateSample: true,
      rateDeliveredBytes: 6 * SIZE,
      rateIntervalUs: 60_000,
    });
    expect(sample?.rateBytesInFlightAtSend).toBe(6 * SIZE);
  });

  test("compressed acknowledgements do not look like bandwidth", () => {
    const bench = new Bench();
    bench.send(0, 9, 0, 10_000);
    bench.ack([[0, 0]], 140_000);
    bench.ack([[0, 9]], 140_100);
    // The send interval, 90 ms, is the longer one; rates within it are judged by it.
    expect(bench.controller.acks.at(-1)?.rateIntervalUs).toBe(140_100);
  });

  test("what was sent for want of data is marked", () => {
    const bench = new Bench();
    bench.send(0, 1, 0);
    bench.recovery.handleAppLimited(0);
    bench.send(2, 2, 10_000);
    bench.ack([[0, 1]], 50_000);
    bench.ack([[0, 2]], 60_000);
    expect(bench.controller.acks.map((ack) => ack.rateIsAppLimited)).toEqual([false, true]);
    bench.send(3, 3, 70_000);
    bench.ack([[0, 3]], 120_000);
    expect(bench.controller.acks[2].rateIsAppLimited).toBe(false);
  });
});

test("the user's cap counts every byte and holds back whatever the controller allows", () => {
  const cap = new Pacer(SIZE);
  cap.setRate(1_000_000, 0); // one packet in 1 ms
  const bench = new Bench(cap);
  bench.send(0, 0, 0);
  bench.recovery.handleSent(1, SIZE, 0, false, false);
  expect(bench.recovery.nextSendTimeUs(0)).toBe(2_000);
  expect(bench.recovery.sendQuantumBytes(0)).toBe(0);
  bench.ack([[0, 0]], 50_000);
  expect(bench.recovery.nextSendTimeUs(50_000)).toBe(50_000);
  expect(bench.recovery.sendQuantumBytes(50_000)).toBe(5 * SIZE);
});

test("whatever the network does, bytes in flight are counted right and every packet has one fate", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ kind: fc.constant("send" as const), count: fc.integer({ min: 1, max: 20 }) }),
          fc.record({
            kind: fc.constant("ack" as const),
            mask: fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }),
          }),
          fc.record({ kind: fc.constant("wait" as const), us: fc.integer({ min: 1, max: 400_000 }) }),
        ),
        { maxLength: 60 },
      ),
      (steps) => {
        const bench = new Bench();
        const received = new Set<number>();
        let next = 0;
        let nowUs = 0;
        for (const step of steps) {
          nowUs += 1_000;
          if (step.kind === "send") {
            bench.send(next, next + step.count - 1, nowUs);
            next += step.count;
          } else if (step.kind === "wait") {
            nowUs += step.us;
            bench.recovery.handleTimeout(nowUs, bench);
          } else {
            step.mask.forEach((isIn, index) => {
              if (isIn && next - 1 - index >= 0) received.add(next - 1 - index);
            });
            const ranges: [number, number][] = [];
            for (let number = next - 1; number >= 0 && ranges.length <= 20; number--) {
              if (!received.has(number)) continue;
              const last = ranges.at(-1);
              if (last !== undefined && last[0] === number + 1) last[0] = number;
              else ranges.push([number, number]);
            }
            if (ranges.length > 0) bench.ack(ranges, nowUs);
          }
          const acked = new Set(bench.acked);
          const lost = new Set(bench.lost);
          expect(acked.size).toBe(bench.acked.length);
          expect(lost.size).toBe(bench.lost.length);
          for (const number of acked) expect(lost.has(number)).toBe(false);
          for (const number of bench.spurious) expect(lost.has(number)).toBe(true);
          expect(bench.recovery.bytesInFlight).toBe((next - acked.size - lost.size) * SIZE);
        }
      },
    ),
    { numRuns: 300 },
  );
});
