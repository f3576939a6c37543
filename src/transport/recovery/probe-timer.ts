/**
 * When to probe a silent path: the probe timeout, its backoff, and how many probes are due. Pure.
 *
 * Sources: RFC 9002 §6.2, RFC 8985 §7.2 for the first probe.
 */
import { GRANULARITY_US, type RttEstimator } from "./rtt.ts";

/**
 * Probe timeouts back off no further than this, in microseconds: one small packet a second loads no
 * path, and a path that returns is noticed within a second. Departure from RFC 9002 §6.2.1.
 */
const PROBE_INTERVAL_MAX_US = 1_000_000;

/**
 * Longest wait for the first probe, in microseconds: a round-trip time measured across a pause of
 * this process can be a minute, and a window lost meanwhile must not wait for several of them.
 */
const PROBE_BASE_MAX_US = 10_000_000;

/** Probes per timeout. RFC 9002 §6.2.4 allows two: one alone is lost too often where loss is high. */
const PROBES_PER_TIMEOUT = 2;

/** The probe timer of one path. */
export class ProbeTimer {
  /** Longest time the peer promises to delay an acknowledgement, in microseconds. */
  maxAckDelayUs: number;
  private readonly rtt: RttEstimator;
  private readonly maxIntervalUs: number;
  /** What the timeout counts from: the latest ack-eliciting packet or the latest timeout. */
  private baseUs = 0;
  private count = 0;
  private wanted = 0;

  constructor(rtt: RttEstimator, maxAckDelayUs: number, maxIntervalUs = PROBE_INTERVAL_MAX_US) {
    this.rtt = rtt;
    this.maxAckDelayUs = maxAckDelayUs;
    this.maxIntervalUs = maxIntervalUs;
  }

  /** Timeouts since the last acknowledgement. */
  get consecutiveTimeouts(): number {
    return this.count;
  }

  /** Probe timeout without backoff, in microseconds. RFC 9002 §6.2.1. */
  get timeoutUs(): number {
    const { rtt } = this;
    return rtt.smoothedUs + Math.max(4 * rtt.variationUs, GRANULARITY_US) + this.maxAckDelayUs;
  }

  /** When the next probe is due while something is in flight, in microseconds. */
  get dueTimeUs(): number {
    return this.baseUs + this.intervalUs();
  }

  /** Time from the latest ack-eliciting packet to the next probe. RFC 9002 §6.2.1, RFC 8985 §7.2. */
  private intervalUs(): number {
    // A round trip measured across a sleep of the peer says nothing about the path: no longer than the
    // usual longest pause, unless even the least round trip is longer.
    const leastUs = 2 * this.rtt.minUs + this.maxAckDelayUs;
    const baseUs = Math.min(
      this.timeoutUs,
      PROBE_BASE_MAX_US,
      this.rtt.hasSample ? Math.max(this.maxIntervalUs, leastUs) : Infinity,
    );
    const { count } = this;
    if (count === 0) {
      // RFC 8985 §7.2: a tail probe after two round trips, where the variation would wait longer.
      return Math.min(baseUs, 2 * this.rtt.smoothedUs + this.maxAckDelayUs);
    }
    return Math.min(baseUs * 2 ** Math.min(count, 20), Math.max(baseUs, this.maxIntervalUs));
  }

  /** An ack-eliciting packet was sent. */
  handleSent(nowUs: number): void {
    this.baseUs = nowUs;
  }

  /** A packet in flight was acknowledged: the path is alive. */
  handleAcked(): void {
    this.count = 0;
  }

  /** The time came. */
  handleTimeout(nowUs: number): void {
    this.count++;
    this.wanted = PROBES_PER_TIMEOUT;
    this.baseUs = nowUs;
  }

  /** The connection moved to another path. */
  handlePathChange(nowUs: number): void {
    this.count = 0;
    this.baseUs = nowUs;
  }

  /** Probes to send at once; forgets them. */
  takeProbeCount(): number {
    const { wanted } = this;
    this.wanted = 0;
    return wanted;
  }
}
