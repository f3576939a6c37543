/**
 * Flow control of file data: one credit for the new bytes of all objects together. Retransmissions
 * are free, so a lost packet never needs credit that is not there. Source: docs/spec/wire.md, after
 * RFC 9000 §4; the window grows as QUIC stacks do, with bytes consumed per round trip.
 */
import { GodwitError } from "../base/errors.ts";
import type { ReceiveLease } from "./receive-budget.ts";
import { RECEIVE_MEMORY_BYTES, RECEIVE_MEMORY_MAX_BYTES } from "../base/limits.ts";

/** What this side may send. */
export class SendCredit {
  private limit: number;
  private sent = 0;
  private blockedReportedAt = -1;

  constructor(initialLimit: number) {
    this.limit = initialLimit;
  }

  /** New bytes that may be sent now. */
  get availableBytes(): number {
    return this.limit - this.sent;
  }

  /** New bytes sent so far. */
  get sentBytes(): number {
    return this.sent;
  }

  /** Counts new bytes as sent. */
  use(bytes: number): void {
    this.sent += bytes;
  }

  /** The peer's new limit; lower ones than before are ignored. RFC 9000 §4.1. */
  raiseLimit(limit: number): void {
    if (limit > this.limit) this.limit = limit;
  }

  /** Whether OBJECT_DATA_BLOCKED for the present limit was not reported yet. */
  get needsBlockedReport(): boolean {
    return this.sent >= this.limit && this.blockedReportedAt !== this.limit;
  }

  /** The limit to report in OBJECT_DATA_BLOCKED; counts it as reported. */
  takeBlockedReport(): number {
    this.blockedReportedAt = this.limit;
    return this.limit;
  }

  /** The report was lost. */
  handleBlockedReportLost(limit: number): void {
    if (limit === this.limit) this.blockedReportedAt = -1;
  }
}

/** What the peer may send: bytes received and not yet consumed never exceed the window. */
export class ReceiveWindow {
  /** Size that the path asks for; the lease may allow less. */
  private window: number;
  private lease: ReceiveLease | undefined;
  private readonly maxWindow: number;
  private granted: number;
  private announced: number;
  private received = 0;
  private consumed = 0;
  /** Bytes counted by `handleBlocked`: stragglers among them may still arrive, so they are let in once. */
  private forgiven = 0;
  private epochStartUs = 0;
  private epochConsumed = 0;

  constructor(windowBytes: number = RECEIVE_MEMORY_BYTES, maxWindowBytes: number = RECEIVE_MEMORY_MAX_BYTES) {
    this.window = windowBytes;
    this.maxWindow = Math.max(windowBytes, maxWindowBytes);
    this.granted = windowBytes;
    this.announced = windowBytes;
  }

  /** Present size of the window in bytes. */
  get windowBytes(): number {
    return Math.min(this.window, this.lease?.windowBytes ?? this.window);
  }

  /** From now on the window is `windowBytes`, as far as a part of shared memory allows. */
  share(lease: ReceiveLease, windowBytes: number): void {
    this.lease = lease;
    this.window = Math.min(windowBytes, this.maxWindow);
    this.granted = Math.max(this.granted, this.consumed + this.fitted());
  }

  /** Size of the window now. */
  private fitted(): number {
    return this.lease?.fit(this.window, this.granted - this.consumed) ?? this.window;
  }

  /** Limit to announce in MAX_OBJECT_DATA. */
  get limit(): number {
    return this.granted;
  }

  /** New bytes received so far. */
  get receivedBytes(): number {
    return this.received;
  }

  /** Bytes received and not yet consumed. */
  get heldBytes(): number {
    return Math.max(0, this.received - this.consumed);
  }

  /** Whether MAX_OBJECT_DATA should go out. */
  get needsAnnouncement(): boolean {
    return this.granted > this.announced;
  }

  /** The limit to send now; counts it as announced. */
  takeAnnouncement(): number {
    this.announced = this.granted;
    return this.granted;
  }

  /** MAX_OBJECT_DATA was lost: the present value shall be sent again. */
  handleAnnouncementLost(): void {
    this.announced = Math.min(this.announced, this.granted - 1);
  }

  /** Counts new bytes. @throws GodwitError FLOW_CONTROL beyond the limit. */
  handleReceived(newBytes: number): void {
    this.received += newBytes;
    if (this.received > this.granted + Math.min(this.forgiven, this.window))
      throw new GodwitError(
        "FLOW_CONTROL",
        `the peer sent ${this.received - this.granted} bytes over the limit`,
      );
  }

  /**
   * The peer used its whole limit and nothing of it is under way any more: bytes that did not arrive
   * were withdrawn by the peer or refused here, and count as consumed. WIRE: OBJECT_DATA_BLOCKED.
   */
  handleBlocked(limit: number): void {
    if (limit > this.granted || limit <= this.received) return;
    this.consumed += limit - this.received;
    this.forgiven += limit - this.received;
    this.received = limit;
    this.granted = Math.max(this.granted, this.consumed + this.fitted());
  }

  /**
   * The application is done with bytes. Returns whether the window grew: it doubles when a whole
   * window was consumed within two round trips, because then the window was the limit.
   */
  consume(bytes: number, smoothedRttUs: number, nowUs: number): boolean {
    // May run ahead of `received` for a moment: a sink may be done with bytes while it takes them.
    this.consumed += bytes;
    let hasGrown = false;
    if (this.consumed - this.epochConsumed >= this.window) {
      if (nowUs - this.epochStartUs < 2 * smoothedRttUs && this.window < this.maxWindow) {
        this.window = Math.min(this.window * 2, this.maxWindow);
        hasGrown = true;
      }
      this.epochStartUs = nowUs;
      this.epochConsumed = this.consumed;
    }
    // Announced in steps: often enough not to block the peer, seldom enough not to flood it.
    const window = this.fitted();
    const wanted = this.consumed + window;
    if (wanted - this.granted >= Math.max(1, window / 8)) this.granted = wanted;
    return hasGrown;
  }
}
