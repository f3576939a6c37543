import { describe, expect, test } from "vitest";
import { emptyAckSample, emptyLossSample } from "../recovery/samples.ts";
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "./controller.ts";
import { cubic } from "./cubic.ts";
import { CubicCurve } from "./cubic-curve.ts";
import { HyStart } from "./hystart.ts";
import { newReno } from "./newreno.ts";

const MSS = 1_000;

function make(factory: CongestionControllerFactory): CongestionController {
  return factory({ datagramBytes: MSS, nowUs: 0, randomFloat: () => 0.5 });
}

/** A full window acknowledged at once. */
function acked(bytes: number, nowUs: number, sentAtUs: number, prior = bytes): AckSample {
  return {
    ...emptyAckSample(),
    nowUs,
    ackedBytes: bytes,
    priorBytesInFlight: prior,
    bytesInFlight: prior - bytes,
    hasRttSample: true,
    latestRttUs: 100_000,
    smoothedRttUs: 100_000,
    minRttUs: 100_000,
    largestAcked: 0,
    largestAckedSentAtUs: sentAtUs,
  };
}

function lost(bytes: number, nowUs: number, sentAtUs: number, isPersistentCongestion = false): LossSample {
  return {
    ...emptyLossSample(),
    nowUs,
    lostBytes: bytes,
    lostPackets: bytes / MSS,
    largestLost: 0,
    largestLostSentAtUs: sentAtUs,
    earliestLostSentAtUs: sentAtUs,
    smoothedRttUs: 100_000,
    minRttUs: 100_000,
    isPersistentCongestion,
  };
}

describe("NewReno, RFC 9002 §7 and Appendix B", () => {
  test("slow start doubles, loss halves, then one datagram a round", () => {
    const controller = make(newReno);
    expect(controller.congestionWindowBytes).toBe(10_000); // §7.2
    expect(controller.state).toBe("slow-start");
    controller.handleAck(acked(10_000, 100_000, 0));
    expect(controller.congestionWindowBytes).toBe(20_000);
    controller.handleLoss(lost(MSS, 200_000, 150_000));
    expect(controller.congestionWindowBytes).toBe(10_000);
    expect(controller.slowStartThresholdBytes).toBe(10_000);
    expect(controller.state).toBe("recovery");
    // Sent before the reduction: the same event, and no growth either.
    controller.handleLoss(lost(MSS, 210_000, 190_000));
    controller.handleAck(acked(10_000, 220_000, 195_000));
    expect(controller.congestionWindowBytes).toBe(10_000);
    controller.handleAck(acked(10_000, 310_000, 205_000));
    expect(controller.congestionWindowBytes).toBe(11_000);
    expect(controller.state).toBe("congestion-avoidance");
    // Sent after it: a new event.
    controller.handleLoss(lost(MSS, 400_000, 300_000));
    expect(controller.congestionWindowBytes).toBe(5_500);
  });

  test("an unused window does not grow, §7.8", () => {
    const controller = make(newReno);
    controller.handleAck(acked(1_000, 100_000, 0, 3_000));
    expect(controller.congestionWindowBytes).toBe(10_000);
  });

  test("persistent congestion leaves two datagrams and slow start, §7.6.2", () => {
    const controller = make(newReno);
    controller.handleLoss(lost(MSS, 200_000, 150_000, true));
    expect(controller.congestionWindowBytes).toBe(2_000);
    expect(controller.slowStartThresholdBytes).toBe(5_000);
    controller.handleAck(acked(2_000, 300_000, 250_000));
    expect(controller.congestionWindowBytes).toBe(4_000);
  });

  test("a reduction for packets that arrived after all is taken back", () => {
    const controller = make(newReno);
    controller.handleAck(acked(10_000, 100_000, 0));
    controller.handleLoss(lost(2 * MSS, 200_000, 150_000));
    controller.handleSpuriousLoss(210_000, 1, MSS, 150_000);
    expect(controller.congestionWindowBytes).toBe(10_000); // one of two only
    controller.handleSpuriousLoss(220_000, 2, MSS, 150_000);
    expect(controller.congestionWindowBytes).toBe(20_000);
    expect(controller.slowStartThresholdBytes).toBe(Infinity);
  });

  test("paces at 5/4 of a window a round trip, twice as much in slow start, §7.7", () => {
    const controller = make(newReno);
    expect(controller.pacingRateBytesPerSecond).toBe(Infinity);
    controller.handleAck(acked(10_000, 100_000, 0));
    expect(controller.pacingRateBytesPerSecond).toBe(400_000); // 2 * 20 000 / 0.1
    controller.handleLoss(lost(MSS, 200_000, 150_000));
    expect(controller.pacingRateBytesPerSecond).toBe(125_000); // 1.25 * 10 000 / 0.1
  });
});

describe("CUBIC, RFC 9438", () => {
  test("the curve: from 700 segments back to 1 000 in K = cbrt(300 / 0.4) seconds, §4.2", () => {
    const curve = new CubicCurve();
    expect(curve.reduce(1_000)).toBe(700); // §4.6
    const rttUs = 100_000;
    let cwnd = curve.grow(700, 0, 0, rttUs);
    // K = 9.086 s. One window a round trip is acknowledged; each aims at a round trip later.
    for (let nowUs = rttUs; nowUs <= 9_000_000; nowUs += rttUs) cwnd = curve.grow(cwnd, cwnd, nowUs, rttUs);
    expect(cwnd).toBeCloseTo(1_000, 1);
    // Flat around the maximum, steeper and steeper beyond it: W(12) = 0.4 * 2.914^3 + 1000 = 1009.9.
    for (let nowUs = 9_100_000; nowUs <= 11_900_000; nowUs += rttUs) {
      cwnd = curve.grow(cwnd, cwnd, nowUs, rttUs);
    }
    expect(cwnd).toBeCloseTo(1_009.9, 1);
  });

  test("on short round trips it is as fast as Reno, §4.3", () => {
    const curve = new CubicCurve();
    curve.reduce(20);
    let cwnd = curve.grow(14, 0, 0, 1_000);
    // alpha = 3 * 0.3 / 1.7 = 0.529 a round: 14 + 10 * 0.529 = 19.3 after ten rounds of 1 ms.
    for (let round = 1; round <= 10; round++) cwnd = curve.grow(cwnd, cwnd, round * 1_000, 1_000);
    expect(cwnd).toBeCloseTo(19.29, 1);
  });

  test("fast convergence gives up more when the maximum was not reached again, §4.7", () => {
    const curve = new CubicCurve();
    curve.reduce(1_000);
    curve.reduce(800); // W_max = 800 * 1.7 / 2 = 680
    let cwnd = curve.grow(560, 0, 0, 100_000);
    // K = cbrt(120 / 0.4) = 6.694 s: by then 680 segments.
    for (let nowUs = 100_000; nowUs <= 6_600_000; nowUs += 100_000) {
      cwnd = curve.grow(cwnd, cwnd, nowUs, 100_000);
    }
    expect(cwnd).toBeCloseTo(680, 1);
  });

  test("the controller loses three tenths", () => {
    const controller = make(cubic);
    controller.handleAck(acked(10_000, 100_000, 0));
    expect(controller.congestionWindowBytes).toBe(20_000);
    controller.handleLoss(lost(MSS, 200_000, 150_000));
    expect(controller.congestionWindowBytes).toBe(14_000);
    controller.handleSpuriousLoss(210_000, 1, MSS, 150_000);
    expect(controller.congestionWindowBytes).toBe(20_000);
  });
});

describe("HyStart++, RFC 9406", () => {
  /** One round of eight samples; returns whether slow start is over. */
  function round(hyStart: HyStart, number: number, rttUs: number): boolean {
    let isOver = false;
    for (let i = 0; i < 8; i++) {
      isOver = hyStart.handleRtt(rttUs, number * 10 + i, (number + 1) * 10) || isOver;
    }
    return isOver;
  }

  test("an eighth of growth, 4 to 16 ms, makes it careful; five careful rounds end it, §4.2", () => {
    const hyStart = new HyStart();
    round(hyStart, 0, 80_000);
    round(hyStart, 1, 89_999);
    expect(hyStart.isConservative).toBe(false);
    round(hyStart, 2, 99_999 + 1_251); // 89 999 + 89 999 / 8 = 101 248.9
    expect(hyStart.isConservative).toBe(true);
    const ends = [3, 4, 5, 6, 7].map((number) => round(hyStart, number, 110_000));
    expect(ends).toEqual([false, false, false, false, true]);
  });

  test("at most 16 ms of growth, whatever the round trip", () => {
    const hyStart = new HyStart();
    round(hyStart, 0, 300_000);
    round(hyStart, 1, 315_999);
    expect(hyStart.isConservative).toBe(false);
    round(hyStart, 2, 331_999);
    expect(hyStart.isConservative).toBe(true);
  });

  test("at least 4 ms: a short round trip that wobbles is no reason", () => {
    const hyStart = new HyStart();
    round(hyStart, 0, 2_000);
    round(hyStart, 1, 5_999);
    expect(hyStart.isConservative).toBe(false);
  });

  test("growth that passes is forgotten", () => {
    const hyStart = new HyStart();
    round(hyStart, 0, 80_000);
    round(hyStart, 1, 100_000);
    expect(hyStart.isConservative).toBe(true);
    round(hyStart, 2, 82_000);
    expect(hyStart.isConservative).toBe(false);
  });
});
