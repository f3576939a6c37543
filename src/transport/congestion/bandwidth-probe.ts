/**
 * Probing for bandwidth: how much faster one round is sent, whether the path answered, and how deep the
 * queue is drained after it. Pure. Source: draft-ietf-ccwg-bbr §5.3.3.
 */
import type { PathMeter } from "./path-meter.ts";

/** Probing up: a quarter more, and a quarter more again each time it was answered. BBR §5.3.3. */
export const UP_GAIN = 1.25;
const UP_GAIN_STEP = 0.25;
const UP_GAIN_MAX = 2;
const UP_DATAGRAMS = 10;
/** Growth of the bandwidth that answers a probe. */
const UP_ANSWER = 1.1;
/** Probing down: as deep as the queue to drain, between these. */
const DOWN_GAIN = 0.75;
const DOWN_GAIN_MAX = 0.9;

/** One probe after another. */
export class BandwidthProbe {
  /** Bandwidth when the latest probe began, in bytes per second; 0 before the first one. */
  bandwidthBefore = 0;
  private streak = 0;

  /** Forgets earlier probes. */
  reset(): void {
    this.bandwidthBefore = 0;
  }

  /** Begins a probe of a flow that cruises with so many bytes in flight; returns its pacing gain. */
  start(meter: PathMeter, cruiseBytes: number): number {
    this.bandwidthBefore = meter.bandwidth;
    this.streak = 0;
    // A small window needs a few packets more to tell anything.
    const datagrams = Math.max(cruiseBytes / meter.datagramBytes, 1);
    return Math.min(Math.max(UP_GAIN, 1 + UP_DATAGRAMS / datagrams), UP_GAIN_MAX);
  }

  /** Whether the path carried more, without a queue. */
  isAnswered(meter: PathMeter): boolean {
    return (
      meter.bandwidth >= UP_ANSWER * this.bandwidthBefore &&
      meter.queueUs < meter.standingQueueUs + meter.noiseUs
    );
  }

  /** There is more: begins the next probe at once, faster each time; returns its pacing gain. */
  goOn(meter: PathMeter): number {
    this.bandwidthBefore = meter.bandwidth;
    this.streak++;
    return Math.min(UP_GAIN + UP_GAIN_STEP * this.streak, UP_GAIN_MAX);
  }
}

/** Pacing gain of probing down: a test is deep enough to see whether loss follows our rate. */
export function downGain(meter: PathMeter, isLossTest: boolean): number {
  if (isLossTest) return DOWN_GAIN;
  return Math.max(DOWN_GAIN, Math.min(DOWN_GAIN_MAX, 1 - meter.queueUs / meter.minRttUs));
}
