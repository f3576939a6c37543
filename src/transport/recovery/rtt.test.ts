import { describe, expect, test } from "vitest";
import { RttEstimator } from "./rtt.ts";

describe("RFC 9002 §5.3, worked out by hand", () => {
  test("the first sample sets all of them", () => {
    const rtt = new RttEstimator();
    expect(rtt.smoothedUs).toBe(333_000); // kInitialRtt
    rtt.handleSample(100_000, 20_000, 5);
    expect([rtt.latestUs, rtt.minUs, rtt.smoothedUs, rtt.variationUs]).toEqual([
      100_000, 100_000, 100_000, 50_000,
    ]);
    expect(rtt.firstSampleAtUs).toBe(5);
  });

  test("later samples are smoothed, less the peer's delay", () => {
    const rtt = new RttEstimator();
    rtt.handleSample(100_000, 0, 0);
    rtt.handleSample(160_000, 20_000, 1);
    // adjusted 140 000; rttvar = 3/4 * 50 000 + 1/4 * 40 000; smoothed = 7/8 * 100 000 + 1/8 * 140 000.
    expect(rtt.adjustedUs).toBe(140_000);
    expect(rtt.variationUs).toBe(47_500);
    expect(rtt.smoothedUs).toBe(105_000);
    expect(rtt.minUs).toBe(100_000);
  });

  test("a delay that would take the sample below the minimum is not believed", () => {
    const rtt = new RttEstimator();
    rtt.handleSample(100_000, 0, 0);
    rtt.handleSample(110_000, 20_000, 1);
    expect(rtt.adjustedUs).toBe(110_000);
    rtt.handleSample(90_000, 80_000, 2);
    expect(rtt.minUs).toBe(90_000);
    expect(rtt.adjustedUs).toBe(90_000);
  });

  test("after persistent congestion the minimum starts anew, RFC 9002 §5.2", () => {
    const rtt = new RttEstimator();
    rtt.handleSample(100_000, 0, 0);
    rtt.handleSample(300_000, 0, 1);
    rtt.restartMinimum();
    expect(rtt.minUs).toBe(300_000);
  });
});
