/**
 * The end of a connection: closing (we said CLOSE), draining (the peer did), closed.
 * Source: RFC 9000 §10.2.
 */
import type { ErrorCode } from "../base/errors.ts";
import { ERRORS, errorCodeFromWire, GodwitError } from "../base/errors.ts";
import { CLOSE_REPLIES, PEER_TEXT_BYTES } from "../base/limits.ts";
import { decodeUtf8Lossy, encodeUtf8 } from "../base/utf8.ts";
import type { EventQueue } from "../events/queue.ts";

/** Wire code of a CLOSE without an error. */
const NO_ERROR = 0;

/** Closing and draining last at least this long, in microseconds, so that a CLOSE that was lost is repeated. */
const SHORTEST_END_US = 200_000;

/** Closing and draining last no longer, in microseconds: a round-trip time measured across a pause can be a minute. */
const LONGEST_END_US = 10_000_000;

/** RFC 9000 §10.2: three probe timeouts, within reason. */
function endUs(probeTimeoutUs: number): number {
  return Math.min(Math.max(3 * probeTimeoutUs, SHORTEST_END_US), LONGEST_END_US);
}

/** Where a connection is in its life. */
export type ConnectionState = "handshaking" | "established" | "closing" | "draining" | "closed";

/** The end of one connection, from the first CLOSE on. */
export class Closing {
  private readonly events: EventQueue;
  private phase: "open" | "closing" | "draining" | "closed" = "open";
  private endsAtUs: number | undefined;
  private failure: GodwitError | undefined;
  private mustSend = false;
  private packetsSeen = 0;
  private replies = 0;
  private wireCode = NO_ERROR;
  private text: Uint8Array = new Uint8Array(0);

  constructor(events: EventQueue) {
    this.events = events;
  }

  /** `open` until somebody closes. */
  get state(): "open" | "closing" | "draining" | "closed" {
    return this.phase;
  }

  /** Why the connection ended; `undefined` while it is open and after an end without an error. */
  get reason(): GodwitError | undefined {
    return this.failure;
  }

  /** Whether a CLOSE shall be sent now. */
  get needsPacket(): boolean {
    return this.mustSend;
  }

  /** Wire code and reason of the CLOSE to send; counts it as sent. */
  takeFrame(): { readonly code: number; readonly reason: Uint8Array } {
    this.mustSend = false;
    return { code: this.wireCode, reason: this.text };
  }

  /** When closing or draining ends, or `undefined`. */
  get timeoutUs(): number | undefined {
    return this.phase === "closed" ? undefined : this.endsAtUs;
  }

  /** This side ends the connection; `code` is `undefined` when all is well. Only the first end counts. */
  close(code: ErrorCode | undefined, reason: string, probeTimeoutUs: number, nowUs: number): void {
    if (this.phase !== "open") return;
    this.phase = "closing";
    this.mustSend = true;
    this.wireCode = code === undefined ? NO_ERROR : ERRORS[code].wire;
    this.text = encodeUtf8(reason).subarray(0, PEER_TEXT_BYTES);
    this.endsAtUs = nowUs + endUs(probeTimeoutUs);
    if (code !== undefined) this.failure = new GodwitError(code, reason);
    this.events.add({ type: "connection-closed", code, reason, initiatedBy: "local" });
  }

  /** This side ends the connection without a word: nobody would hear it. */
  abandon(failure: GodwitError): void {
    if (this.phase === "closed") return;
    if (this.phase === "open") {
      this.failure = failure;
      this.events.add({
        type: "connection-closed",
        code: failure.code,
        reason: failure.message,
        initiatedBy: "local",
      });
    }
    this.phase = "closed";
  }

  /** A CLOSE arrived. RFC 9000 §10.2.2: from now on nothing is sent. */
  handleClose(wireCode: number, reason: Uint8Array, probeTimeoutUs: number, nowUs: number): void {
    this.mustSend = false;
    if (this.phase === "open") {
      const code = wireCode === NO_ERROR ? undefined : (errorCodeFromWire(wireCode) ?? "PEER_GONE");
      const text = decodeUtf8Lossy(reason);
      if (code !== undefined) this.failure = new GodwitError(code, text);
      this.events.add({ type: "connection-closed", code, reason: text, initiatedBy: "peer" });
    }
    if (this.phase === "open" || this.phase === "closing") {
      this.phase = "draining";
      this.endsAtUs = nowUs + endUs(probeTimeoutUs);
    }
  }

  /** A packet arrived after closing: the peer may not have heard. RFC 9000 §10.2.1: answered ever more rarely. */
  handlePacket(): void {
    if (this.phase !== "closing") return;
    this.packetsSeen++;
    const isPowerOfTwo = (this.packetsSeen & (this.packetsSeen - 1)) === 0;
    if (!isPowerOfTwo || this.replies >= CLOSE_REPLIES) return;
    this.replies++;
    this.mustSend = true;
  }

  /** Ends closing or draining when its time has come. */
  handleTimeout(nowUs: number): void {
    if (this.endsAtUs !== undefined && nowUs >= this.endsAtUs) this.phase = "closed";
  }
}
