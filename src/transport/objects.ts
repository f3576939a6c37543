/**
 * File data between the transport and the transfer engine: pieces addressed by object and offset,
 * delivered in any order, never twice to the application's disk, never waiting for an earlier one.
 */
import { copyPieces, type CopyPieces } from "../wire/batch.ts";

/** The next piece a source wants sent. One object per connection, overwritten each time. */
export interface ObjectPiece {
  /** Object (file) number within the connection. */
  object: number;
  /** Byte offset in the object. */
  offset: number;
  /** Bytes that could be sent from `offset` on without a break. */
  availableBytes: number;
  /** Whether these bytes were sent before: they need no new flow-control credit. */
  isRetransmission: boolean;
  /** Set by a source that lends: the bytes from `offset` on are `lender[lentFrom ..]`. */
  lender?: Uint8Array | undefined;
  lentFrom?: number;
}

/**
 * Where the transport takes file data from, at the moment a packet is built. No call may block:
 * data that is not in memory yet is not offered.
 */
export interface ObjectSource {
  /**
   * Describes the next piece in `piece`, lost ones first, and returns true; or returns false when
   * nothing is ready. Does not consume it. When `onlyRetransmissions` is set (flow control is
   * exhausted), new data is not offered.
   */
  peekPiece(piece: ObjectPiece, onlyRetransmissions: boolean): boolean;
  /**
   * Copies the first `lengthBytes` of the piece last described to `target[at ..]` and counts them as sent.
   * `lengthBytes` is at most `availableBytes`.
   *
   * Without a `target` they are borrowed from the piece's `lender` instead, and must have been read before
   * the turn ends: nobody writes into that memory but a disk that was asked since, or something that arrived.
   */
  takePiece(piece: ObjectPiece, lengthBytes: number, target: Uint8Array | undefined, at: number): void;
  /** The peer acknowledged bytes that were sent. May be told twice for the same bytes. */
  handlePieceAcked(object: number, offset: number, lengthBytes: number): void;
  /** Bytes were lost and shall be offered again, unless acknowledged or no longer wanted. */
  handlePieceLost(object: number, offset: number, lengthBytes: number): void;
  /** Whether data will come although none is ready: the disk, not the application, is the limit. */
  readonly isWaitingForDisk: boolean;
  /**
   * Bytes that the peer was told of and has not asked for yet, before any data: when they are many, the
   * wait is used to ask the path how fast it is. Absent: never.
   */
  readonly offeredBytes?: number;
}

/** Most pieces of one run. */
const RUN_PIECES = 64;

/** Bytes after which a run ends: what was copied shall still be in the processor's cache when it is hashed. */
const RUN_BYTES = 131_072;

/**
 * Pieces of one object, each of which goes on where the one before ended, scattered in one buffer. One per
 * connection, filled again and again.
 */
export class PieceRun {
  object = 0;
  /** Offset of the first piece in the object. */
  offset = 0;
  bytes: Uint8Array = new Uint8Array(0);
  /** Where piece `i` begins in `bytes`, and its length. */
  readonly starts = new Int32Array(RUN_PIECES);
  readonly lengths = new Int32Array(RUN_PIECES);
  count = 0;
  /** Bytes of all pieces. */
  lengthBytes = 0;

  /** How pieces are copied out: as the batch does it that they are in. */
  copyPieces: CopyPieces = copyPieces;

  /** Forgets all pieces. */
  clear(): void {
    this.count = 0;
    this.lengthBytes = 0;
  }

  /** Whether a piece of an object may follow. */
  continues(object: number, offset: number): boolean {
    if (this.count === 0) return true;
    if (object !== this.object || offset !== this.offset + this.lengthBytes) return false;
    return this.count < RUN_PIECES && this.lengthBytes < RUN_BYTES;
  }

  /** Adds `bytes[from .. from + lengthBytes)`, which `continues`; all pieces lie in the same buffer. */
  add(object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number): void {
    if (this.count === 0) {
      this.object = object;
      this.offset = offset;
      this.bytes = bytes;
    }
    this.starts[this.count] = from;
    this.lengths[this.count] = lengthBytes;
    this.count++;
    this.lengthBytes += lengthBytes;
  }

  /** Copies pieces `[first, end)` to `target[at ..]`. */
  copy(first: number, end: number, target: Uint8Array, at: number): void {
    const { bytes, starts, lengths } = this;
    this.copyPieces(bytes, starts, lengths, first, end, target, at);
  }
}

/** Where the transport puts file data that arrived. */
export interface ObjectSink {
  /**
   * Takes `bytes[from .. from + lengthBytes)` of an object; copies what it needs, once. Returns how
   * many of these bytes were new. Pieces of objects that were refused or are complete count 0.
   *
   * @throws GodwitError PROTOCOL_VIOLATION or OVER_LIMIT when the peer breaks the rules; the connection closes.
   */
  handlePiece(
    object: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    nowUs: number,
  ): number;
  /** The same for a run of pieces at once. Absent: they are handed in one by one. */
  handlePieces?(run: PieceRun, nowUs: number): number;
}
