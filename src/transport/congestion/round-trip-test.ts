/**
 * What is the least round trip, and does somebody else's queue stand? Our own part of the queue is drained
 * for a moment to see. Pure. Source: draft-ietf-ccwg-bbr §5.3.4 (ProbeRTT), and docs/design/congestion.md.
 */
import type { PathMeter } from "./path-meter.ts";

/** Least round-trip time is believed for so long, in microseconds. BBR §2.4 (MinRTTFilterLen). */
const MIN_RTT_WINDOW_US = 10_000_000;

/** Queue left in a test that tells that the others are still there, as a share of the round trip. */
const TEST_QUEUE = 0.15;
const TEST_QUEUE_US = 2_000;

/** Tests in a row that find a longer round trip before it is believed to be the path's. */
const RAISED_TESTS = 4;

/** One test after another. */
export class RoundTripTest {
  /** Whether the test shall tell whether those we compete with are still there. */
  isOfCompetition = false;
  private leastUs = Infinity;
  private raisedTests = 0;

  /** Forgets earlier tests. */
  reset(): void {
    this.raisedTests = 0;
  }

  /** Whether the least round trip was last seen to hold too long ago. */
  isDue(meter: PathMeter, nowUs: number): boolean {
    return nowUs - meter.minRttAtUs > MIN_RTT_WINDOW_US;
  }

  /** A test begins. */
  start(isOfCompetition: boolean): void {
    this.isOfCompetition = isOfCompetition;
    this.leastUs = Infinity;
  }

  /** A round trip was measured during the test, in microseconds. */
  handleSample(rttUs: number): void {
    this.leastUs = Math.min(this.leastUs, rttUs);
  }

  /** Ends the test. Returns whether a queue stands that is not ours; if not, `meter` learns the round trip. */
  finish(meter: PathMeter, nowUs: number): boolean {
    const leastUs = this.leastUs === Infinity ? meter.minRttUs : this.leastUs;
    // The least round trip may have been one packet's luck.
    const noQueueUs = Math.max(TEST_QUEUE * meter.minRttUs, TEST_QUEUE_US) + meter.noiseUs;
    const isRaised = leastUs - meter.minRttUs > noQueueUs;
    this.raisedTests = isRaised ? this.raisedTests + 1 : 0;
    if (isRaised && this.raisedTests < RAISED_TESTS) {
      // Our part of the queue was drained, so somebody else's stands; or the path became longer.
      meter.minRttAtUs = nowUs;
      return true;
    }
    this.raisedTests = 0;
    meter.setMinRtt(this.isOfCompetition ? Math.max(leastUs, meter.minRttUs) : leastUs, nowUs);
    return false;
  }
}
