/**
 * The smallest application of a connection's file data: objects whose bytes follow from a seed, sent
 * from nowhere and checked on arrival. It stands in for the transfer engine where only the transport
 * is under test.
 */
import { RangeSet } from "../../base/range-set.ts";
import type { ObjectPiece, ObjectSink, ObjectSource } from "../../transport/objects.ts";
import { CheckFailed } from "./checkers.ts";

/** Byte `offset` of an object: cheap, and different for neighbours, objects and seeds. */
export function bulkByte(seed: number, object: number, offset: number): number {
  let x = Math.imul(offset + 1, 0x9e37_79b1) ^ Math.imul(object + 1, 0x85eb_ca6b) ^ seed;
  x = Math.imul(x ^ (x >>> 15), 0x2c1b_3c6d);
  return (x ^ (x >>> 13)) & 0xff;
}

/** Objects to send, lost pieces first. */
export class BulkSource implements ObjectSource {
  readonly isWaitingForDisk = false;
  /** Bytes acknowledged, by object. */
  readonly acknowledged: readonly RangeSet[];
  private readonly seed: number;
  private readonly sizes: readonly number[];
  private readonly unsent: readonly RangeSet[];
  private readonly lost: readonly RangeSet[];
  private readonly sink: () => BulkSink | undefined;

  /**
   * @param wanted - What is not at the receiver yet, by object.
   * @param sink - The other side, to check acknowledgements against.
   */
  constructor(
    seed: number,
    sizes: readonly number[],
    wanted: readonly RangeSet[],
    sink: () => BulkSink | undefined,
  ) {
    this.seed = seed;
    this.sizes = sizes;
    this.unsent = wanted;
    this.sink = sink;
    this.lost = sizes.map(() => new RangeSet());
    this.acknowledged = sizes.map(() => new RangeSet());
  }

  peekPiece(piece: ObjectPiece, onlyRetransmissions: boolean): boolean {
    if (describe(piece, this.lost, true)) return true;
    return !onlyRetransmissions && describe(piece, this.unsent, false);
  }

  takePiece(piece: ObjectPiece, lengthBytes: number, target: Uint8Array, at: number): void {
    const { object, offset } = piece;
    if (lengthBytes > piece.availableBytes) throw new CheckFailed("more bytes were taken than offered");
    for (let i = 0; i < lengthBytes; i++) target[at + i] = bulkByte(this.seed, object, offset + i);
    (piece.isRetransmission ? this.lost : this.unsent)[object].remove(offset, offset + lengthBytes);
  }

  handlePieceAcked(object: number, offset: number, lengthBytes: number): void {
    const end = offset + lengthBytes;
    if (this.sink()?.received[object].hasRange(offset, end) === false) {
      throw new CheckFailed(
        `bytes ${offset} to ${end} of object ${object} were acknowledged but never received`,
      );
    }
    this.acknowledged[object].add(offset, end);
    this.lost[object].remove(offset, end);
  }

  handlePieceLost(object: number, offset: number, lengthBytes: number): void {
    const end = Math.min(offset + lengthBytes, this.sizes[object]);
    for (let from = this.acknowledged[object].nextMissing(offset); from < end;) {
      const to = Math.min(end, this.acknowledged[object].nextPresent(from) ?? end);
      this.lost[object].add(from, to);
      from = this.acknowledged[object].nextMissing(to);
    }
  }
}

function describe(piece: ObjectPiece, sets: readonly RangeSet[], isRetransmission: boolean): boolean {
  for (let object = 0; object < sets.length; object++) {
    if (sets[object].rangeCount === 0) continue;
    piece.object = object;
    piece.offset = sets[object].startAt(0);
    piece.availableBytes = sets[object].endAt(0) - piece.offset;
    piece.isRetransmission = isRetransmission;
    return true;
  }
  return false;
}

/** Objects that arrive; each byte is checked. */
export class BulkSink implements ObjectSink {
  readonly received: readonly RangeSet[];
  /** New bytes that the connection was not told about as consumed yet. */
  unconsumedBytes = 0;
  private readonly seed: number;
  private readonly sizes: readonly number[];

  constructor(seed: number, sizes: readonly number[]) {
    this.seed = seed;
    this.sizes = sizes;
    this.received = sizes.map(() => new RangeSet());
  }

  /** Whether everything is there. */
  get isComplete(): boolean {
    return this.received.every((ranges, object) => ranges.size === this.sizes[object]);
  }

  /** What is missing, by object. */
  missing(): RangeSet[] {
    return this.received.map((ranges, object) => {
      const missing = new RangeSet();
      missing.add(0, this.sizes[object]);
      for (const [start, end] of ranges.toArray()) missing.remove(start, end);
      return missing;
    });
  }

  handlePiece(object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number): number {
    const end = offset + lengthBytes;
    if (object >= this.sizes.length || end > this.sizes[object]) {
      throw new CheckFailed(`bytes ${offset} to ${end} of object ${object} do not exist`);
    }
    for (let i = 0; i < lengthBytes; i++) {
      if (bytes[from + i] !== bulkByte(this.seed, object, offset + i)) {
        throw new CheckFailed(`byte ${offset + i} of object ${object} is wrong`);
      }
    }
    const fresh = this.received[object].add(offset, end);
    this.unconsumedBytes += fresh;
    return fresh;
  }
}
