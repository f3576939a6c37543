/**
 * The sending half of an ordered stream: a bounded buffer that keeps bytes until they are
 * acknowledged, and knows which are new and which were lost. Source: RFC 9000 §2.2, §3.1, §4.1.
 */
import { assert } from "../base/assert.ts";
import { STREAM_SEND_BUFFER_BYTES } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";

const INITIAL_CAPACITY = 4_096;

/** Bytes to send next, described by `SendStream.peek`. One object per connection, overwritten each time. */
export interface StreamPiece {
  offset: number;
  lengthBytes: number;
  /** Whether the piece ends the stream. */
  isFinal: boolean;
  isRetransmission: boolean;
}

/** Bytes on their way from the application to the peer. */
export class SendStream {
  readonly id: number;
  /** Offset up to which the peer lets us send (exclusive). */
  private limit: number;
  private ring: Uint8Array = new Uint8Array(0);
  /** Everything below was acknowledged and is forgotten. */
  private base = 0;
  /** Everything below was sent at least once. */
  private next = 0;
  /** Offset behind the last byte the application wrote. */
  private end = 0;
  private hasFinished = false;
  private finState: "unsent" | "sent" | "acked" = "unsent";
  private resetCode: number | undefined;
  private isResetAcked = false;
  private readonly acked = new RangeSet();
  private readonly lost = new RangeSet();

  constructor(id: number, limit: number) {
    this.id = id;
    this.limit = limit;
  }

  /** Bytes a write could take now. */
  get roomBytes(): number {
    return this.hasFinished || this.resetCode !== undefined
      ? 0
      : STREAM_SEND_BUFFER_BYTES - (this.end - this.base);
  }

  /** Code the stream was reset with, or `undefined`. */
  get resetWith(): number | undefined {
    return this.resetCode;
  }

  /** Offset behind the last byte ever sent: what RESET_STREAM carries as the final size. */
  get sentBytes(): number {
    return this.next;
  }

  /** Bytes from the start that the peer acknowledged without a gap. */
  get acknowledgedBytes(): number {
    return this.base;
  }

  /** Whether everything, the end included, was acknowledged (or the reset was). */
  get isDone(): boolean {
    return this.resetCode === undefined
      ? this.finState === "acked" && this.base === this.end
      : this.isResetAcked;
  }

  /** Whether new bytes wait only for the peer's MAX_STREAM_DATA. */
  get isBlocked(): boolean {
    return (
      this.resetCode === undefined && this.lost.size === 0 && this.next < this.end && this.next >= this.limit
    );
  }

  /**
   * Takes as many bytes as fit and returns how many. `isFinal` ends the stream if all were taken.
   *
   * @throws InvariantError after the end was written.
   */
  write(bytes: Uint8Array, isFinal: boolean): number {
    if (this.resetCode !== undefined) return bytes.length;
    assert(!this.hasFinished || (bytes.length === 0 && isFinal), "the stream was ended before this write");
    const taken = Math.min(bytes.length, this.roomBytes);
    if (taken > 0) {
      this.grow(this.end - this.base + taken);
      this.copyIn(bytes, taken);
      this.end += taken;
    }
    if (isFinal && taken === bytes.length) this.hasFinished = true;
    return taken;
  }

  /** Gives the stream up: nothing more is sent but RESET_STREAM. Does nothing once all was acknowledged. */
  reset(code: number): void {
    if (this.resetCode !== undefined || this.isDone) return;
    this.resetCode = code;
    this.lost.clear();
    this.ring = new Uint8Array(0);
  }

  /** The peer has the RESET_STREAM. */
  handleResetAcked(): void {
    this.isResetAcked = true;
  }

  /** The peer's new limit; lower ones than before are ignored. RFC 9000 §4.1. */
  raiseLimit(limit: number): void {
    if (limit > this.limit) this.limit = limit;
  }

  /** Describes what to send next, lost bytes first; false when nothing may be sent. */
  peek(piece: StreamPiece): boolean {
    if (this.resetCode !== undefined) return false;
    if (this.lost.size > 0) {
      piece.offset = this.lost.startAt(0);
      piece.lengthBytes = this.lost.endAt(0) - piece.offset;
      piece.isRetransmission = true;
    } else {
      piece.offset = this.next;
      piece.lengthBytes = Math.max(0, Math.min(this.end, this.limit) - this.next);
      piece.isRetransmission = false;
    }
    const reachesEnd = piece.offset + piece.lengthBytes === this.end;
    piece.isFinal = this.hasFinished && this.finState === "unsent" && reachesEnd;
    return piece.lengthBytes > 0 || piece.isFinal;
  }

  /** Copies the first `lengthBytes` of the piece last described to `target[at ..]` and counts them as sent. */
  take(piece: StreamPiece, lengthBytes: number, target: Uint8Array, at: number): void {
    const { offset } = piece;
    assert(offset >= this.base && offset + lengthBytes <= this.end, "stream piece out of range");
    this.copyOut(offset, lengthBytes, target, at);
    if (piece.isRetransmission) this.lost.remove(offset, offset + lengthBytes);
    this.next = Math.max(this.next, offset + lengthBytes);
    if (piece.isFinal && lengthBytes === piece.lengthBytes) this.finState = "sent";
  }

  /** Bytes (and the end, if `isFinal`) arrived at the peer. */
  handleAcked(offset: number, lengthBytes: number, isFinal: boolean): void {
    if (isFinal) this.finState = "acked";
    if (this.resetCode !== undefined) return;
    const start = Math.max(offset, this.base);
    const end = offset + lengthBytes;
    if (end <= start) return;
    this.lost.remove(start, end);
    this.acked.add(start, end);
    if (this.acked.startAt(0) <= this.base) {
      this.base = this.acked.endAt(0);
      this.acked.dropLowest();
    }
  }

  /** Bytes (and the end, if `isFinal`) were lost: those not acknowledged meanwhile are sent again. */
  handleLost(offset: number, lengthBytes: number, isFinal: boolean): void {
    if (this.resetCode !== undefined) return;
    if (isFinal && this.finState === "sent") this.finState = "unsent";
    const end = offset + lengthBytes;
    let at = Math.max(offset, this.base);
    while (at < end) {
      at = this.acked.nextMissing(at);
      if (at >= end) break;
      const stop = Math.min(this.acked.nextPresent(at) ?? end, end);
      this.lost.add(at, stop);
      at = stop;
    }
  }

  private grow(neededBytes: number): void {
    if (neededBytes <= this.ring.length) return;
    let capacity = Math.max(this.ring.length, INITIAL_CAPACITY);
    while (capacity < neededBytes) capacity *= 2;
    const grown = new Uint8Array(capacity);
    const held = this.end - this.base;
    if (held > 0) {
      // Bytes keep their place modulo the capacity, so they are copied run by run.
      for (let done = 0; done < held;) {
        const from = (this.base + done) % this.ring.length;
        const to = (this.base + done) % capacity;
        const run = Math.min(held - done, this.ring.length - from, capacity - to);
        grown.set(this.ring.subarray(from, from + run), to);
        done += run;
      }
    }
    this.ring = grown;
  }

  private copyIn(bytes: Uint8Array, count: number): void {
    const { ring } = this;
    const at = this.end % ring.length;
    const first = Math.min(count, ring.length - at);
    ring.set(bytes.subarray(0, first), at);
    if (first < count) ring.set(bytes.subarray(first, count), 0);
  }

  private copyOut(offset: number, count: number, target: Uint8Array, targetAt: number): void {
    if (count === 0) return;
    const { ring } = this;
    const at = offset % ring.length;
    const first = Math.min(count, ring.length - at);
    target.set(ring.subarray(at, at + first), targetAt);
    if (first < count) target.set(ring.subarray(0, count - first), targetAt + first);
  }
}
