/**
 * Round-trip time estimation. Pure: samples come in, estimates are read.
 *
 * Source: RFC 9002 §5.
 */

/** Timer granularity to rely on, in microseconds. RFC 9002 §6.1.2 (kGranularity = 1 ms). */
export const GRANULARITY_US = 1_000;

/** Assumed round-trip time before the first sample, in microseconds. RFC 9002 §6.2.2 (kInitialRtt). */
export const INITIAL_RTT_US = 333_000;

/** Latest, smoothed and least round-trip time of one path, all in microseconds. */
export class RttEstimator {
  /** Latest sample as measured, the peer's delay included; 0 before the first one. */
  latestUs = 0;
  /** Latest sample without the delay the peer reported; 0 before the first one. */
  adjustedUs = 0;
  /** RFC 9002 §5.3 smoothed_rtt. */
  smoothedUs = INITIAL_RTT_US;
  /** RFC 9002 §5.3 rttvar. */
  variationUs = INITIAL_RTT_US / 2;
  /** RFC 9002 §5.2 min_rtt; 0 before the first sample. */
  minUs = 0;
  /** When the first sample came, or `undefined`. */
  firstSampleAtUs: number | undefined = undefined;

  /** Whether anything was measured yet. */
  get hasSample(): boolean {
    return this.firstSampleAtUs !== undefined;
  }

  /**
   * Takes a sample.
   *
   * @param latestUs - From the sending of the largest packet newly acknowledged until now.
   * @param ackDelayUs - Delay the peer reported, already limited to its promise.
   */
  handleSample(latestUs: number, ackDelayUs: number, nowUs: number): void {
    this.latestUs = latestUs;
    if (this.firstSampleAtUs === undefined) {
      this.firstSampleAtUs = nowUs;
      this.minUs = latestUs;
      this.adjustedUs = latestUs;
      this.smoothedUs = latestUs;
      this.variationUs = latestUs / 2;
      return;
    }
    // RFC 9002 §5.2: min_rtt ignores the peer's delay, so that a lying peer cannot lower it.
    if (latestUs < this.minUs) this.minUs = latestUs;
    // RFC 9002 §5.3: subtract the delay only if the result is plausible.
    this.adjustedUs = latestUs >= this.minUs + ackDelayUs ? latestUs - ackDelayUs : latestUs;
    this.variationUs = (3 * this.variationUs + Math.abs(this.smoothedUs - this.adjustedUs)) / 4;
    this.smoothedUs = (7 * this.smoothedUs + this.adjustedUs) / 8;
  }

  /** Forgets the minimum: after persistent congestion the path may be another one. RFC 9002 §5.2. */
  restartMinimum(): void {
    if (this.hasSample) this.minUs = this.latestUs;
  }

  /** Forgets everything: the connection moved to another path. RFC 9002 §5, RFC 9000 §9.4. */
  reset(): void {
    this.latestUs = 0;
    this.adjustedUs = 0;
    this.smoothedUs = INITIAL_RTT_US;
    this.variationUs = INITIAL_RTT_US / 2;
    this.minUs = 0;
    this.firstSampleAtUs = undefined;
  }
}
