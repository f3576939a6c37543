/** File data in memory, for transport tests: a source that can check itself and a sink that remembers. */
import { GodwitError } from "../../src/base/errors.ts";
import { RangeSet } from "../../src/base/range-set.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { ObjectPiece, ObjectSink, ObjectSource, PieceRun } from "../../src/transport/objects.ts";

/** Bytes that differ from seed to seed and place to place. */
export function patternBytes(seed: number, length: number): Uint8Array {
  return new SeededRandom(seed, "pattern").bytes(new Uint8Array(length));
}

class SentObject {
  readonly bytes: Uint8Array;
  /** A copy to lend: its memory is somebody else's once the end was taken. */
  readonly lent: Uint8Array;
  next = 0;
  readonly lost = new RangeSet();
  readonly acked = new RangeSet();

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.lent = bytes.slice();
  }
}

/** Offers objects in the order they were added; lost pieces first. */
export class MemorySource implements ObjectSource {
  readonly objects = new Map<number, SentObject>();
  isWaitingForDisk = false;
  /** What the peer was told of and has not asked for. */
  offeredBytes = 0;

  add(object: number, bytes: Uint8Array): void {
    this.objects.set(object, new SentObject(bytes));
  }

  /** Withdraws what was not acknowledged. */
  cancel(object: number): void {
    this.objects.delete(object);
  }

  get isDelivered(): boolean {
    for (const { bytes, acked } of this.objects.values()) if (acked.size < bytes.length) return false;
    return true;
  }

  peekPiece(piece: ObjectPiece, onlyRetransmissions: boolean): boolean {
    for (const [object, { lost }] of this.objects) {
      if (lost.size === 0) continue;
      piece.object = object;
      piece.offset = lost.startAt(0);
      piece.availableBytes = lost.endAt(0) - piece.offset;
      piece.isRetransmission = true;
      piece.lender = undefined;
      return true;
    }
    if (onlyRetransmissions) return false;
    for (const [object, { bytes, next }] of this.objects) {
      if (next >= bytes.length) continue;
      piece.object = object;
      piece.offset = next;
      piece.availableBytes = bytes.length - next;
      piece.isRetransmission = false;
      piece.lender = this.objects.get(object)!.lent;
      piece.lentFrom = next;
      return true;
    }
    return false;
  }

  takePiece(piece: ObjectPiece, lengthBytes: number, target: Uint8Array | undefined, at: number): void {
    const sent = this.objects.get(piece.object)!;
    target?.set(sent.bytes.subarray(piece.offset, piece.offset + lengthBytes), at);
    if (piece.isRetransmission) sent.lost.remove(piece.offset, piece.offset + lengthBytes);
    else sent.next = piece.offset + lengthBytes;
  }

  handlePieceAcked(object: number, offset: number, lengthBytes: number): void {
    const sent = this.objects.get(object);
    if (sent === undefined) return;
    // Something arrived after the end of what was lent: somebody else may write to that memory.
    if (sent.next === sent.bytes.length) sent.lent.fill(0xee);
    sent.acked.add(offset, offset + lengthBytes);
    sent.lost.remove(offset, offset + lengthBytes);
  }

  handlePieceLost(object: number, offset: number, lengthBytes: number): void {
    const sent = this.objects.get(object);
    if (sent === undefined) return;
    for (let at = offset; at < offset + lengthBytes;) {
      at = sent.acked.nextMissing(at);
      const end = Math.min(sent.acked.nextPresent(at) ?? Infinity, offset + lengthBytes);
      if (end > at) sent.lost.add(at, end);
      at = Math.max(end, at + 1);
    }
  }
}

/** Collects objects and counts what was new. */
export class MemorySink implements ObjectSink {
  readonly received = new Map<number, { bytes: Uint8Array; have: RangeSet }>();
  newBytes = 0;
  /** Objects whose pieces are refused. */
  readonly refused = new Set<number>();
  /** Called with new bytes; consumes at once unless a test says otherwise. */
  handleNew: (count: number, nowUs: number) => void = () => {};

  /** @param sizes - Length of each object. */
  expect(object: number, length: number): void {
    this.received.set(object, { bytes: new Uint8Array(length), have: new RangeSet() });
  }

  handlePiece(
    object: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    nowUs: number,
  ): number {
    if (this.refused.has(object)) return 0;
    const entry = this.received.get(object);
    if (entry === undefined || offset + lengthBytes > entry.bytes.length)
      throw new GodwitError("PROTOCOL_VIOLATION", "unknown object");
    entry.bytes.set(bytes.subarray(from, from + lengthBytes), offset);
    const added = entry.have.add(offset, offset + lengthBytes);
    this.newBytes += added;
    if (added > 0) this.handleNew(added, nowUs);
    return added;
  }

  handlePieces(run: PieceRun, nowUs: number): number {
    let added = 0;
    for (let i = 0, at = run.offset; i < run.count; at += run.lengths[i++])
      added += this.handlePiece(run.object, at, run.bytes, run.starts[i], run.lengths[i], nowUs);
    return added;
  }

  /** Whether an object arrived whole and unchanged. (Comparing megabytes with `toEqual` takes seconds.) */
  holds(object: number, bytes: Uint8Array): boolean {
    const entry = this.received.get(object);
    return entry !== undefined && this.isComplete(object) && Buffer.from(entry.bytes).equals(bytes);
  }

  isComplete(object: number): boolean {
    const entry = this.received.get(object);
    return entry !== undefined && entry.have.size === entry.bytes.length;
  }
}
