/**
 * The receiving half of an ordered stream: puts pieces in order, within a window the peer was
 * granted. Source: RFC 9000 §2.2, §3.2, §4.1, §4.5.
 */
import { GodwitError } from "../base/errors.ts";
import { REASSEMBLY_GAPS } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";

const INITIAL_CAPACITY = 4_096;

/** Bytes on their way from the peer to the application. */
export class ReceiveStream {
  readonly id: number;
  private readonly windowBytes: number;
  /** Offset up to which the peer may send (exclusive). */
  private granted: number;
  private ring: Uint8Array = new Uint8Array(0);
  private readOffset = 0;
  private largestOffset = 0;
  private finalSize: number | undefined;
  private resetCode: number | undefined;
  private readonly received = new RangeSet();

  constructor(id: number, windowBytes: number) {
    this.id = id;
    this.windowBytes = windowBytes;
    this.granted = windowBytes;
  }

  /** Limit to announce in MAX_STREAM_DATA. */
  get limit(): number {
    return this.granted;
  }

  /** Whether bytes, or the end, can be read. */
  get isReadable(): boolean {
    return this.received.nextMissing(this.readOffset) > this.readOffset || this.isFinished;
  }

  /** Whether all bytes up to the end were read, or the peer gave the stream up. */
  get isFinished(): boolean {
    return this.resetCode !== undefined || this.finalSize === this.readOffset;
  }

  /** Code the peer reset the stream with, or `undefined`. */
  get resetWith(): number | undefined {
    return this.resetCode;
  }

  /**
   * Takes a STREAM frame and returns whether more can be read now than before.
   *
   * @throws GodwitError FLOW_CONTROL beyond the window, PROTOCOL_VIOLATION for a changed final size
   * or too many gaps.
   */
  handlePiece(
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    isFinal: boolean,
  ): boolean {
    const end = offset + lengthBytes;
    if (end > this.granted)
      throw new GodwitError(
        "FLOW_CONTROL",
        `stream ${this.id}: ${end} is beyond the window of ${this.granted}`,
      );
    this.checkFinalSize(end, isFinal);
    if (this.resetCode !== undefined) return false;
    const wasFinished = this.isFinished;
    if (isFinal) this.finalSize = end;
    this.largestOffset = Math.max(this.largestOffset, end);
    const before = this.received.nextMissing(this.readOffset);
    const start = Math.max(offset, this.readOffset);
    if (end > start) {
      this.grow(end - this.readOffset);
      this.copyIn(start, bytes, from + (start - offset), end - start);
      this.received.add(start, end);
      if (this.received.rangeCount > REASSEMBLY_GAPS)
        throw new GodwitError("PROTOCOL_VIOLATION", `stream ${this.id}: more than ${REASSEMBLY_GAPS} gaps`);
    }
    return this.received.nextMissing(this.readOffset) > before || this.isFinished !== wasFinished;
  }

  /** Takes a RESET_STREAM frame. @throws GodwitError as `handlePiece`. */
  handleReset(code: number, finalSize: number): void {
    if (finalSize > this.granted)
      throw new GodwitError("FLOW_CONTROL", `stream ${this.id}: final size is beyond the window`);
    this.checkFinalSize(finalSize, true);
    this.finalSize = finalSize;
    if (this.readOffset === finalSize) return;
    this.resetCode = code;
    this.ring = new Uint8Array(0);
    this.received.clear();
  }

  /** A copy of all bytes that are next in order, or `undefined` when there are none. */
  read(): Uint8Array | undefined {
    const end = this.received.nextMissing(this.readOffset);
    if (end <= this.readOffset || this.resetCode !== undefined) return undefined;
    const count = end - this.readOffset;
    const bytes = new Uint8Array(count);
    const at = this.readOffset % this.ring.length;
    const first = Math.min(count, this.ring.length - at);
    bytes.set(this.ring.subarray(at, at + first), 0);
    if (first < count) bytes.set(this.ring.subarray(0, count - first), first);
    this.readOffset = end;
    if (this.largestOffset === end) this.ring = new Uint8Array(0);
    return bytes;
  }

  /**
   * Grants more once the application has read half of the window, and returns whether it did.
   * RFC 9000 §4.2: often enough not to block the sender, seldom enough not to flood it.
   */
  raiseLimit(): boolean {
    if (this.finalSize !== undefined) return false;
    const wanted = this.readOffset + this.windowBytes;
    if (wanted - this.granted < Math.max(1, this.windowBytes / 2)) return false;
    this.granted = wanted;
    return true;
  }

  private checkFinalSize(end: number, isFinal: boolean): void {
    // RFC 9000 §4.5: the final size cannot change, nor can data lie beyond it.
    const isBeyond =
      this.finalSize !== undefined && (end > this.finalSize || (isFinal && end !== this.finalSize));
    if (isBeyond || (isFinal && end < this.largestOffset))
      throw new GodwitError("PROTOCOL_VIOLATION", `stream ${this.id}: the final size changed`);
  }

  private grow(neededBytes: number): void {
    if (neededBytes <= this.ring.length) return;
    let capacity = Math.max(this.ring.length, INITIAL_CAPACITY);
    while (capacity < neededBytes) capacity *= 2;
    const grown = new Uint8Array(capacity);
    const held = Math.min(this.ring.length, this.largestOffset - this.readOffset);
    for (let done = 0; done < held;) {
      const from = (this.readOffset + done) % this.ring.length;
      const to = (this.readOffset + done) % capacity;
      const run = Math.min(held - done, this.ring.length - from, capacity - to);
      grown.set(this.ring.subarray(from, from + run), to);
      done += run;
    }
    this.ring = grown;
  }

  private copyIn(offset: number, bytes: Uint8Array, from: number, count: number): void {
    const { ring } = this;
    const at = offset % ring.length;
    const first = Math.min(count, ring.length - at);
    ring.set(bytes.subarray(from, from + first), at);
    if (first < count) ring.set(bytes.subarray(from + first, from + count), 0);
  }
}
