/**
 * How much reordering to tolerate before a packet counts as lost: a packet threshold and a time
 * window that grow when a packet arrives late and shrink again when the path keeps order.
 *
 * Source: RFC 9002 §6.1 for the starting values, RFC 8985 §6.2 for the adaptation. Departure: the
 * window follows the lateness that was measured instead of steps of min_rtt/4, and may reach four
 * round-trip times when packets were seen that late; see docs/design/recovery.md.
 */

/** Later packets that must be acknowledged before a packet counts as overtaken. RFC 9002 §6.1.1. */
export const PACKET_THRESHOLD = 3;

/** Thresholds above it are dropped: only time tells. A burst of one millisecond at 10 Gbit/s is 860 packets. */
const PACKET_THRESHOLD_MAX = 1_024;

/** Round trips without new evidence after which tolerance is halved. RFC 8985 §6.2 (16 recoveries). */
const ROUNDS_TO_DECAY = 16;

/** Most round-trip times to wait beyond the first one, whatever was seen. */
const WINDOW_MAX_ROUNDS = 4;

/** The tolerance of one path. */
export class ReorderingTolerance {
  /** Packets that may overtake before the overtaken one is lost; `Infinity` when only time tells. */
  packetThreshold: number = PACKET_THRESHOLD;
  /** Lateness beyond one round-trip time to allow for, measured with a margin, in microseconds. */
  private learntUs = 0;
  private quietRounds = 0;

  /** Time beyond one round-trip time `rttUs` that a packet is waited for, in microseconds. */
  windowUs(rttUs: number): number {
    // RFC 9002 §6.1.2: 9/8 of the round-trip time is the least.
    return Math.ceil(Math.max(rttUs / 8, Math.min(this.learntUs, WINDOW_MAX_ROUNDS * rttUs)));
  }

  /**
   * A packet was acknowledged after a later one.
   *
   * @param distance - Packets sent after it up to the largest one acknowledged before it.
   * @param lateUs - Time from its sending to its acknowledgement beyond one round-trip time.
   * @param wasLost - Whether it had been declared lost.
   */
  handleLate(distance: number, lateUs: number, rttUs: number, wasLost: boolean): void {
    const threshold = this.packetThreshold;
    if (wasLost && distance >= threshold) {
      const wanted = Math.max(2 * threshold, distance + 1);
      this.packetThreshold = wanted > PACKET_THRESHOLD_MAX ? Infinity : wanted;
    }
    if (2 * distance >= threshold) this.quietRounds = 0;
    // A quarter more than what was seen: the next one may be a little later.
    if (lateUs * 1.25 > this.windowUs(rttUs)) this.learntUs = lateUs * 1.25;
    if (2 * lateUs >= this.windowUs(rttUs)) this.quietRounds = 0;
  }

  /** A round trip ended. */
  handleRound(): void {
    if (++this.quietRounds < ROUNDS_TO_DECAY) return;
    this.quietRounds = 0;
    this.learntUs /= 2;
    const threshold = Math.min(this.packetThreshold, PACKET_THRESHOLD_MAX);
    this.packetThreshold = Math.max(PACKET_THRESHOLD, Math.floor(threshold / 2));
  }

  /** Forgets everything: the connection moved to another path. */
  reset(): void {
    this.packetThreshold = PACKET_THRESHOLD;
    this.learntUs = 0;
    this.quietRounds = 0;
  }
}
