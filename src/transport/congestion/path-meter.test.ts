import { expect, test } from "vitest";
import { emptyAckSample } from "../recovery/samples.ts";
import { PathMeter } from "./path-meter.ts";

/** Ten packets of 1 000 bytes a round; each round is told by one ACK with its round trip. */
function meterWithRounds(): { meter: PathMeter; round: (rttUs: number, smoothedRttUs: number) => void } {
  const meter = new PathMeter(1_000, 0);
  const sample = emptyAckSample();
  let count = 0;
  const round = (rttUs: number, smoothedRttUs: number): void => {
    count++;
    sample.nowUs = count * 100_000;
    sample.largestAcked = 10 * count - 1;
    sample.nextPacketNumber = 10 * count + 9;
    sample.totalDeliveredBytes = 10_000 * count;
    sample.hasRttSample = true;
    sample.latestRttUs = rttUs;
    sample.minRttUs = rttUs;
    sample.smoothedRttUs = smoothedRttUs;
    sample.hasRateSample = true;
    sample.rateDeliveredBytes = 1_000_000;
    sample.rateIntervalUs = 100_000;
    meter.handleAck(sample, 1e9);
  };
  return { meter, round };
}

test("the first jitter measured counts whole, later ones move it by an eighth", () => {
  const { meter, round } = meterWithRounds();
  round(100_000, 120_000);
  expect(meter.jitterUs).toBe(20_000);
  round(100_000, 128_000);
  expect(meter.jitterUs).toBe(21_000);
});

test("a luckier round trip makes the rounds after ours was drained look as much longer", () => {
  const { meter, round } = meterWithRounds();
  // 16 ms of jitter: 48 ms of spread, less eight datagrams of 0.1 ms at 10 MB/s.
  round(100_000, 116_000);
  for (let i = 0; i < 40; i++) {
    round(112_000, 128_000);
    meter.handleDrainedRound();
  }
  expect(meter.luckUs).toBeGreaterThan(11_900);
  expect(meter.luckUs).toBeLessThanOrEqual(12_000);
  round(80_000, 96_000);
  // 112 ms were usual: 32 ms more than the luckiest now.
  expect(meter.luckUs).toBeGreaterThan(31_900);
  expect(meter.luckUs).toBeLessThanOrEqual(32_000);
});

test("luck is no longer than the jitter explains", () => {
  const { meter, round } = meterWithRounds();
  round(100_000, 101_000);
  for (let i = 0; i < 40; i++) {
    round(112_000, 113_000);
    meter.handleDrainedRound();
  }
  // Three times 1 ms, less 0.8 ms.
  expect(meter.luckUs).toBeCloseTo(2_200, -1);
});

test("a round in which most was lost, or data ran out, says nothing of how long packets are in flight", () => {
  const meter = new PathMeter(1_000, 0);
  const sample = emptyAckSample();
  /** A round of 100 ms: so many bytes delivered and lost, 100 kB in flight. */
  const round = (deliveredBytes: number, lostBytes: number, isAppLimited = false): void => {
    sample.nowUs += 100_000;
    sample.largestAcked += 10;
    sample.nextPacketNumber = sample.largestAcked + 10;
    sample.totalDeliveredBytes += deliveredBytes;
    sample.totalLostBytes += lostBytes;
    sample.priorBytesInFlight = 100_000;
    sample.rateIsAppLimited = isAppLimited;
    meter.handleAck(sample, 1e9);
  };
  // 100 kB in flight that leave at 1 MB/s are there for 100 ms; the average moves by a quarter.
  round(100_000, 0);
  round(100_000, 0);
  expect(meter.dwellUs).toBe(43_750);
  round(40_000, 60_000);
  round(100_000, 0, true);
  round(5_000, 0);
  expect(meter.dwellUs).toBe(43_750);
  round(50_000, 0);
  // Twice as long: 200 ms.
  expect(meter.dwellUs).toBe(43_750 + (200_000 - 43_750) / 4);
});
