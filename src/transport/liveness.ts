/**
 * Whether the peer is still there: idle timeout, heartbeat, silence of the path, and patience while
 * something waits to be acknowledged. Sources: RFC 9000 §10.1; docs/guide on `--patience`.
 */
import type { EventQueue } from "../events/queue.ts";

/** Silence that is worth telling people about, in microseconds, whatever the probe timeout is. */
const SILENT_AFTER_US = 2_000_000;

/** What a look at the clock says. */
export type LivenessVerdict = "fine" | "ping" | "idle-timeout" | "no-progress";

/** How long to wait for what, in microseconds. */
export interface LivenessTimes {
  /** Silence after which the connection is over; 0 for never. RFC 9000 §10.1. */
  readonly idleTimeoutUs: number;
  /** Time without an acknowledgement, while one is due, after which the connection is given up; 0 for never. */
  readonly patienceUs: number;
  /** Silence after which the peer is asked for a sign of life; 0 for never. */
  readonly keepAliveUs: number;
}

/** Watches one connection. */
export class Liveness {
  private readonly events: EventQueue;
  private times: LivenessTimes;
  private receivedAtUs: number;
  /** First ack-eliciting packet sent since the latest packet was received. */
  private askedAtUs: number | undefined;
  private lastAskedAtUs: number;
  /** Since when an acknowledgement has been due. */
  private waitingSinceUs: number | undefined;
  private silentSinceUs: number | undefined;

  constructor(events: EventQueue, times: LivenessTimes, nowUs: number) {
    this.events = events;
    this.times = times;
    this.receivedAtUs = nowUs;
    this.lastAskedAtUs = nowUs;
  }

  /** Changes some of the times. */
  setTimes(times: Partial<LivenessTimes>): void {
    const {
      idleTimeoutUs = this.times.idleTimeoutUs,
      patienceUs = this.times.patienceUs,
      keepAliveUs = this.times.keepAliveUs,
    } = times;
    this.times = { idleTimeoutUs, patienceUs, keepAliveUs };
  }

  /** When the latest authentic packet arrived, in microseconds. */
  get lastReceivedAtUs(): number {
    return this.receivedAtUs;
  }

  /** An authentic packet arrived. */
  handleReceived(nowUs: number): void {
    this.receivedAtUs = nowUs;
    this.askedAtUs = undefined;
    if (this.silentSinceUs === undefined) return;
    this.events.add({ type: "path-returned", afterUs: nowUs - this.silentSinceUs });
    this.silentSinceUs = undefined;
  }

  /** An ack-eliciting packet was sent. */
  handleSent(nowUs: number): void {
    this.askedAtUs ??= nowUs;
    this.waitingSinceUs ??= nowUs;
    this.lastAskedAtUs = nowUs;
  }

  /** Packets were newly acknowledged. */
  handleProgress(hasInFlight: boolean, nowUs: number): void {
    this.waitingSinceUs = hasInFlight ? nowUs : undefined;
  }

  /** When `check` has something to say at the earliest, or `undefined`. */
  get timeoutUs(): number | undefined {
    const { idleTimeoutUs, patienceUs, keepAliveUs } = this.times;
    let atUs = Infinity;
    if (idleTimeoutUs > 0) atUs = Math.min(atUs, this.idleSinceUs + idleTimeoutUs);
    if (patienceUs > 0 && this.waitingSinceUs !== undefined)
      atUs = Math.min(atUs, this.waitingSinceUs + patienceUs);
    if (keepAliveUs > 0) atUs = Math.min(atUs, this.keepAliveDueUs);
    if (this.askedAtUs !== undefined && this.silentSinceUs === undefined)
      atUs = Math.min(atUs, this.askedAtUs + SILENT_AFTER_US);
    return atUs === Infinity ? undefined : atUs;
  }

  private get idleSinceUs(): number {
    // RFC 9000 §10.1: restarted by each packet received and by the first one sent after it.
    return Math.max(this.receivedAtUs, this.askedAtUs ?? 0);
  }

  private get keepAliveDueUs(): number {
    return Math.max(this.receivedAtUs, this.lastAskedAtUs) + this.times.keepAliveUs;
  }

  /** Looks at the clock. */
  check(nowUs: number): LivenessVerdict {
    const { idleTimeoutUs, patienceUs, keepAliveUs } = this.times;
    if (this.askedAtUs !== undefined && this.silentSinceUs === undefined) {
      if (nowUs >= this.askedAtUs + SILENT_AFTER_US) {
        this.silentSinceUs = this.receivedAtUs;
        this.events.add({ type: "path-silent", sinceUs: nowUs - this.receivedAtUs });
      }
    }
    if (patienceUs > 0 && this.waitingSinceUs !== undefined && nowUs >= this.waitingSinceUs + patienceUs)
      return "no-progress";
    if (idleTimeoutUs > 0 && nowUs >= this.idleSinceUs + idleTimeoutUs) return "idle-timeout";
    if (keepAliveUs === 0 || nowUs < this.keepAliveDueUs) return "fine";
    // Counts as asked although the packet may have to wait, so that nobody asks without end.
    this.lastAskedAtUs = nowUs;
    return "ping";
  }
}
