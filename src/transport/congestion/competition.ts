/**
 * Beside a sender that keeps the queue full: a CUBIC window that ignores random loss, and the tests
 * whether that sender is still there. Pure. See docs/design/congestion.md.
 */
import type { AckSample } from "./controller.ts";
import { CubicCurve } from "./cubic-curve.ts";
import type { PathMeter } from "./path-meter.ts";
import type { RandomLoss } from "./random-loss.ts";
import type { SendingLimits } from "./sending-limits.ts";

/** Window kept after a loss. Gentler than CUBIC's 0.7: the tests cost a part of the share. */
const BETA = 0.77;
/** A loss counts when the queue was at least this share of the largest one seen. */
const FULL_QUEUE = 0.5;
/** Random loss below which any loss in a full queue counts as the queue's. */
const LEAST_RANDOM_LOSS = 0.005;
/** Rounds without a queue after which nobody competes. */
const QUIET_ROUNDS = 10;
/**
 * On a loss we look whether the others are gone, but not more often than this, in microseconds; half as
 * often after each time that we had to compete again soon.
 */
const TEST_INTERVAL_US = 5_000_000;
const TEST_INTERVAL_MAX_US = 20_000_000;
/** Paces the window a little faster than a round trip, as RFC 9002 §7.7 does. */
const PACING_GAIN = 1.2;

/** One competition after another. */
export class Competition {
  windowBytes = 0;
  private readonly curve = new CubicCurve();
  private reducedAtUs = -Infinity;
  private quietRounds = 0;
  private testedAtUs = 0;
  private testIntervalUs = TEST_INTERVAL_US;

  /** Begins with a window. */
  start(windowBytes: number, datagramBytes: number, nowUs: number): void {
    this.windowBytes = windowBytes;
    this.curve.aimAt(windowBytes / datagramBytes);
    this.reducedAtUs = -Infinity;
    this.quietRounds = 0;
    const isBackSoon = this.testedAtUs > 0 && nowUs - this.testedAtUs < 2 * TEST_INTERVAL_MAX_US;
    this.testIntervalUs = isBackSoon
      ? Math.min(2 * this.testIntervalUs, TEST_INTERVAL_MAX_US)
      : TEST_INTERVAL_US;
    this.testedAtUs = nowUs;
  }

  /** A test found the others still there. */
  handleTested(nowUs: number): void {
    this.testedAtUs = nowUs;
    this.curve.restartEpoch();
  }

  /** Packets were lost, the latest sent at `sentAtUs`. Returns whether a test is due. */
  handleLoss(sentAtUs: number, meter: PathMeter, random: RandomLoss, nowUs: number): boolean {
    if (sentAtUs <= this.reducedAtUs) return false;
    // A full queue drops; a loss while it is far from full is random.
    if (random.rate > LEAST_RANDOM_LOSS || meter.queueUs < FULL_QUEUE * meter.maxQueueUs) return false;
    return this.reduce(meter, nowUs);
  }

  /** Packets were marked CE: the queue is full for certain. Returns whether a test is due. */
  handleMarks(meter: PathMeter, nowUs: number): boolean {
    return this.reduce(meter, nowUs);
  }

  private reduce(meter: PathMeter, nowUs: number): boolean {
    const { datagramBytes } = meter;
    this.reducedAtUs = nowUs;
    this.windowBytes = this.curve.reduce(this.windowBytes / datagramBytes, BETA) * datagramBytes;
    // All senders see a full queue drop at about the same time: those of our kind test together.
    return nowUs - this.testedAtUs > this.testIntervalUs;
  }

  /** A round ended. Returns what to do about it. */
  handleRound(meter: PathMeter, random: RandomLoss, nowUs: number): "leave" | "test" | "stay" {
    this.quietRounds = meter.isQuiet ? this.quietRounds + 1 : 0;
    if (this.quietRounds >= QUIET_ROUNDS) return "leave";
    // Where packets are lost at random, a round tells more than a packet.
    const hasLost =
      random.rate > LEAST_RANDOM_LOSS &&
      meter.startedAtUs > this.reducedAtUs &&
      meter.queueUs >= FULL_QUEUE * meter.maxQueueUs &&
      meter.lossRate > (random.rate + random.expectedAtMost(meter.packets)) / 2;
    if (hasLost && this.reduce(meter, nowUs)) return "test";
    return nowUs - this.testedAtUs > 2 * TEST_INTERVAL_MAX_US ? "test" : "stay";
  }

  /** Grows the window by what an acknowledgement tells of, and sets the limits from it. */
  setRates(sample: AckSample, limits: SendingLimits, datagramBytes: number, leastWindowBytes: number): void {
    this.grow(sample, datagramBytes);
    limits.windowBytes = Math.max(this.windowBytes, leastWindowBytes);
    limits.pacingRate = (PACING_GAIN * limits.windowBytes * 1e6) / sample.smoothedRttUs;
  }

  private grow(sample: AckSample, datagramBytes: number): void {
    if (sample.largestAckedSentAtUs <= this.reducedAtUs) return;
    if (sample.priorBytesInFlight + 3 * datagramBytes < this.windowBytes) return;
    const cwnd = this.windowBytes / datagramBytes;
    const acked = sample.ackedBytes / datagramBytes;
    this.windowBytes = this.curve.grow(cwnd, acked, sample.nowUs, sample.smoothedRttUs) * datagramBytes;
  }
}
