import { describe, expect, test } from "vitest";
import { emptyAckSample } from "../recovery/samples.ts";
import { PathMeter } from "./path-meter.ts";
import { Startup } from "./startup.ts";

const DATAGRAM_BYTES = 1_000;
const RTT_US = 100_000;

/** A startup on a path of 100 ms, fed with rounds of acknowledgements of four packets each. */
class Rounds {
  readonly startup = new Startup();
  private readonly meter = new PathMeter(DATAGRAM_BYTES, 0);
  private readonly sample = emptyAckSample();
  private nowUs = 0;
  private largest = -1;
  private roundEnd = 0;
  private delivered = 0;
  private lost = 0;

  /**
   * One round of `acks` ACKs that take a round trip in all, and are its delivery rate. `rttUs` and `lostAt` give the round trip and the
   * packets found lost by the index of the ACK. The first ACK tells of the round before. Returns whether the
   * pipe was said to be full.
   */
  run(
    acks: number,
    rttUs: (index: number) => number = () => RTT_US,
    lostAt: (index: number) => number = () => 0,
    smoothedRttUs = RTT_US,
  ): boolean {
    const { sample, meter, startup } = this;
    let isFull = false;
    const before = this.roundEnd;
    this.roundEnd += 4 * acks;
    for (let index = 0; index < acks; index++) {
      this.nowUs += RTT_US / acks;
      this.largest = before + 4 * index;
      const lost = lostAt(index);
      this.lost += lost;
      this.delivered += 4 - lost;
      sample.nowUs = this.nowUs;
      sample.largestAcked = this.largest;
      sample.nextPacketNumber = this.roundEnd;
      sample.hasRttSample = true;
      sample.latestRttUs = rttUs(index);
      sample.minRttUs = RTT_US;
      sample.smoothedRttUs = smoothedRttUs;
      sample.totalDeliveredBytes = this.delivered * DATAGRAM_BYTES;
      sample.totalLostBytes = this.lost * DATAGRAM_BYTES;
      sample.hasRateSample = true;
      sample.rateDeliveredBytes = 4 * acks * DATAGRAM_BYTES;
      sample.rateIntervalUs = RTT_US;
      meter.handleAck(sample, 1e9);
      isFull = startup.handleAck(sample, meter, 1e6) || isFull;
    }
    return isFull;
  }
}

describe("the signs of a full pipe", () => {
  test("longer round trips for the rest of the round and on are a queue", () => {
    const rounds = new Rounds();
    for (const acks of [8, 16, 32]) rounds.run(acks);
    expect(rounds.startup.hasQueue).toBe(false);
    rounds.run(40, (index) => (index < 20 ? RTT_US : 130_000));
    expect(rounds.startup.hasQueue).toBe(true);
    rounds.run(44, () => 130_000);
    expect(rounds.startup.hasQueue).toBe(true);
  });

  test("a standstill that is over after a few acknowledgements is none: startup goes on", () => {
    const rounds = new Rounds();
    for (const acks of [8, 16, 32]) rounds.run(acks);
    rounds.run(40, (index) => (index >= 8 && index < 20 ? 130_000 : RTT_US));
    expect(rounds.startup.hasQueue).toBe(true);
    rounds.run(44);
    expect(rounds.startup.hasQueue).toBe(false);
    expect(rounds.run(60)).toBe(false);
  });

  test("a handful of packets lost by chance is none: what follows it in the round is not lost", () => {
    const rounds = new Rounds();
    for (const acks of [8, 16, 32]) rounds.run(acks);
    // 10 of the first 40 packets.
    rounds.run(60, undefined, (index) => (index < 10 ? 1 : 0));
    expect(rounds.startup.hasQueue).toBe(true);
    rounds.run(64);
    expect(rounds.startup.hasQueue).toBe(false);
  });

  test("packets lost to the end of the round are an overflow", () => {
    const rounds = new Rounds();
    for (const acks of [8, 16, 32]) rounds.run(acks);
    rounds.run(60, undefined, (index) => (index < 20 ? 0 : 2));
    expect(rounds.startup.hasQueue).toBe(true);
    rounds.run(64);
    expect(rounds.startup.hasQueue).toBe(true);
    // Decided once: a later quiet round does not change it.
    rounds.run(64);
    expect(rounds.startup.hasQueue).toBe(true);
  });

  test("while it is careful, a round that carries an eighth more says that the pipe is not full", () => {
    const rounds = new Rounds();
    for (const acks of [8, 16, 32]) rounds.run(acks);
    const queued = (): number => 140_000;
    rounds.run(40, (index) => (index < 20 ? RTT_US : queued()));
    // 45, 51, 57: each an eighth more than the one before. A full pipe would stand still.
    for (const acks of [45, 51, 57]) expect(rounds.run(acks, queued)).toBe(false);
    expect(rounds.startup.hasQueue).toBe(true);
    expect(rounds.run(58, queued) || rounds.run(58, queued)).toBe(true);
  });

  test("round trips that vary by more than they grew are no queue", () => {
    const rounds = new Rounds();
    // From 100 to 160 ms in every round: the smoothed one is told as 130.
    const varying = (index: number): number => RTT_US + 15_000 * (index % 5);
    for (const acks of [10, 20, 40]) rounds.run(acks, varying, undefined, 130_000);
    // The luck is over: no round trip below 140 ms.
    rounds.run(60, (index) => 140_000 + 5_000 * (index % 5), undefined, 150_000);
    expect(rounds.startup.hasQueue).toBe(false);
    // Three times the jitter of 30 ms is the end of it: 100 ms and an eighth, 1 ms, 89 ms.
    rounds.run(80, () => 210_000, undefined, 150_000);
    expect(rounds.startup.hasQueue).toBe(true);
  });
});
