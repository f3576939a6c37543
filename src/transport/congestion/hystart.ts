/**
 * HyStart++: leaves slow start when the round trip grows, before packets are lost. Pure.
 *
 * Source: RFC 9406. L is infinite, as it says for senders that pace.
 */

/** RFC 9406 §4.3: least and most growth of the round trip that counts, in microseconds. */
const MIN_RTT_THRESH_US = 4_000;
const MAX_RTT_THRESH_US = 16_000;
/** RFC 9406 §4.3: the growth that counts, as a share of the round trip. */
const MIN_RTT_DIVISOR = 8;
/** RFC 9406 §4.3: samples a round needs before it is judged. */
const N_RTT_SAMPLE = 8;
/** RFC 9406 §4.3: conservative slow start grows by a quarter of slow start. */
export const CSS_GROWTH_DIVISOR = 4;
/** RFC 9406 §4.3: rounds of conservative slow start before slow start is over. */
const CSS_ROUNDS = 5;

/** Watches the round-trip times of slow start. */
export class HyStart {
  private roundEnd = -1;
  private lastRoundMinRttUs = Infinity;
  private roundMinRttUs = Infinity;
  private samples = 0;
  private baselineMinRttUs = Infinity;
  private cssRounds = 0;
  /** Whether slow start goes on carefully because the round trip grew. */
  isConservative = false;

  /**
   * Takes a sample during slow start; returns whether slow start is over.
   *
   * @param largestAcked - Largest packet number acknowledged.
   * @param nextPacketNumber - Next packet number to be sent: the end of a round that begins now.
   */
  handleRtt(rttUs: number, largestAcked: number, nextPacketNumber: number): boolean {
    let isOver = false;
    if (largestAcked >= this.roundEnd) {
      this.roundEnd = nextPacketNumber;
      this.lastRoundMinRttUs = this.roundMinRttUs;
      this.roundMinRttUs = Infinity;
      this.samples = 0;
      if (this.isConservative && ++this.cssRounds >= CSS_ROUNDS) isOver = true;
    }
    this.roundMinRttUs = Math.min(this.roundMinRttUs, rttUs);
    this.samples++;
    if (this.samples < N_RTT_SAMPLE || this.lastRoundMinRttUs === Infinity) return isOver;
    if (!this.isConservative) {
      const thresholdUs = Math.max(
        MIN_RTT_THRESH_US,
        Math.min(this.lastRoundMinRttUs / MIN_RTT_DIVISOR, MAX_RTT_THRESH_US),
      );
      if (this.roundMinRttUs >= this.lastRoundMinRttUs + thresholdUs) {
        this.isConservative = true;
        this.cssRounds = 0;
        this.baselineMinRttUs = this.roundMinRttUs;
      }
    } else if (this.roundMinRttUs < this.baselineMinRttUs) {
      // RFC 9406 §4.2: the growth was a passing one.
      this.isConservative = false;
      this.baselineMinRttUs = Infinity;
    }
    return isOver;
  }

  /** Starts over for a new slow start. */
  reset(): void {
    this.roundEnd = -1;
    this.lastRoundMinRttUs = Infinity;
    this.roundMinRttUs = Infinity;
    this.samples = 0;
    this.baselineMinRttUs = Infinity;
    this.cssRounds = 0;
    this.isConservative = false;
  }
}
