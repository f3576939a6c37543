import { expect, test } from "vitest";
import { emptyAckSample } from "../recovery/samples.ts";
import { BandwidthProbe } from "./bandwidth-probe.ts";
import { PathMeter } from "./path-meter.ts";

/**
 * A probe on a path of 100 ms that brought a fifth more: 120 instead of 100 packets of 1 000 bytes a round.
 * Round trips are 100 ms, then `queueUs` longer; the smoothed one is `jitterUs` above each.
 */
function isAnswered(queueUs: number, jitterUs: number): boolean {
  const meter = new PathMeter(1_000, 0);
  const probe = new BandwidthProbe();
  const sample = emptyAckSample();
  let sent = 0;
  const round = (packets: number, rttUs: number): void => {
    sample.nowUs += 100_000;
    sample.largestAcked = sent;
    sent += packets;
    sample.nextPacketNumber = sent;
    sample.totalDeliveredBytes += packets * 1_000;
    sample.hasRttSample = true;
    sample.latestRttUs = rttUs;
    sample.minRttUs = 100_000;
    sample.smoothedRttUs = rttUs + jitterUs;
    sample.hasRateSample = true;
    sample.rateDeliveredBytes = packets * 1_000;
    sample.rateIntervalUs = 100_000;
    meter.handleAck(sample, 1e9);
  };
  round(100, 100_000);
  round(100, 100_000);
  probe.start(meter, 100_000);
  for (let i = 0; i < 2; i++) round(120, 100_000 + queueUs);
  return probe.isAnswered(meter);
}

test("a fifth more without a queue answers a probe; with a queue of 0.3 round trips it does not", () => {
  expect(isAnswered(29_000, 0)).toBe(true);
  expect(isAnswered(31_000, 0)).toBe(false);
});

test("where round trips vary, so much of a longer one is no queue", () => {
  // Three times 10 ms, less eight datagrams of 0.83 ms: 23 ms more.
  expect(isAnswered(50_000, 10_000)).toBe(true);
  expect(isAnswered(56_000, 10_000)).toBe(false);
});
