/**
 * Spreads packets over time: a token bucket that is asked for the next sending time and told what was
 * sent. Pure. One paces a congestion controller's rate; another, in front of it, is the user's hard cap.
 *
 * A timer of about one millisecond wakes the sender, so packets go out in bursts of what the rate
 * makes in that time; slower paths get single packets. Source: RFC 9002 §7.7.
 */

/** Timer resolution that bursts are sized to, in microseconds. */
export const PACING_TIMER_US = 1_000;

/** Sending time that may be caught up with after a late wake-up, in microseconds: four timer ticks. */
const CATCH_UP_US = 4_000;

/** Longest time between two datagrams: a rate near zero must never stop a connection. */
const LONGEST_GAP_US = 1_000_000;

/** Token bucket of a few milliseconds. Credit may go one datagram below zero; the debt delays the next one. */
export class Pacer {
  private rate = Infinity;
  private datagramBytes: number;
  private creditBytes = 0;
  private atUs = -Infinity;

  constructor(datagramBytes: number) {
    this.datagramBytes = datagramBytes;
  }

  /** Bytes per second, `Infinity` for no limit. */
  get rateBytesPerSecond(): number {
    return this.rate;
  }

  /** Sets the rate from `nowUs` on. Credit and debt so far stay what they are, in bytes. */
  setRate(bytesPerSecond: number, nowUs: number): void {
    if (bytesPerSecond === this.rate) return;
    this.settle(nowUs);
    this.rate = Math.max(bytesPerSecond, (this.datagramBytes * 1e6) / LONGEST_GAP_US);
  }

  /** Sets the size of a full datagram. */
  setDatagramBytes(bytes: number): void {
    this.datagramBytes = bytes;
  }

  /** Earliest time for the next datagram; `nowUs` when it may go at once. */
  nextSendTimeUs(nowUs: number): number {
    if (this.rate === Infinity) return nowUs;
    this.settle(nowUs);
    if (this.creditBytes >= 0) return nowUs;
    // Wait until a burst's worth of credit is there, but no longer than one datagram needs at this rate.
    const debtUs = (-this.creditBytes * 1e6) / this.rate;
    const datagramUs = (this.datagramBytes * 1e6) / this.rate;
    return Math.ceil(nowUs + debtUs + Math.max(0, PACING_TIMER_US - datagramUs));
  }

  /** Bytes that may leave now: whole datagrams, 0 when it is not time yet. */
  sendQuantumBytes(nowUs: number): number {
    if (this.rate === Infinity) return Infinity;
    this.settle(nowUs);
    if (this.creditBytes < 0) return 0;
    // The last datagram may overdraw.
    return (Math.floor(this.creditBytes / this.datagramBytes) + 1) * this.datagramBytes;
  }

  /** Charges bytes that left at `nowUs`. */
  handleSent(bytes: number, nowUs: number): void {
    if (this.rate === Infinity) return;
    this.settle(nowUs);
    this.creditBytes -= bytes;
  }

  /** Brings the credit up to `nowUs`. */
  private settle(nowUs: number): void {
    if (this.rate === Infinity) {
      this.creditBytes = 0;
    } else if (nowUs > this.atUs) {
      const earned = this.atUs === -Infinity ? 0 : ((nowUs - this.atUs) * this.rate) / 1e6;
      this.creditBytes = Math.min(this.creditBytes + earned, (CATCH_UP_US * this.rate) / 1e6);
    }
    this.atUs = Math.max(this.atUs, nowUs);
  }
}
