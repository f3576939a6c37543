/**
 * Persistent congestion: everything sent over a long time was lost. Pure. Source: RFC 9002 §7.6.
 */

/** Timeouts of silence that make persistent congestion. RFC 9002 §7.6.1 (kPersistentCongestionThreshold). */
const PERSISTENT_CONGESTION_THRESHOLD = 3;

/** Follows the run of lost packets without an acknowledged one between them. */
export class PersistentCongestion {
  /** When the first packet of the run was sent. RFC 9002 §7.6.2. */
  private runStartUs: number | undefined = undefined;
  private isLong = false;

  /** A packet of the run was acknowledged, or the path changed: the run is over. */
  endRun(): void {
    this.runStartUs = undefined;
  }

  /**
   * A packet was lost.
   *
   * @param firstSampleAtUs - When the first round trip was measured: earlier packets do not count.
   * @param probeTimeoutUs - The probe timeout without backoff.
   */
  handleLost(sentAtUs: number, firstSampleAtUs: number | undefined, probeTimeoutUs: number): void {
    if (firstSampleAtUs === undefined || sentAtUs < firstSampleAtUs) return;
    if (this.runStartUs === undefined) this.runStartUs = sentAtUs;
    else if (sentAtUs - this.runStartUs > PERSISTENT_CONGESTION_THRESHOLD * probeTimeoutUs) {
      this.isLong = true;
    }
  }

  /** Whether the run has become persistent congestion; a new run begins then. */
  take(): boolean {
    if (!this.isLong) return false;
    this.isLong = false;
    this.runStartUs = undefined;
    return true;
  }
}
