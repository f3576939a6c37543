/**
 * What of the loaded chunks is to be sent next: the transport's view of a sender. Lost pieces come
 * first, then new ones in the order the chunks were added.
 */
import { assert } from "../base/assert.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import type { ObjectPiece, ObjectSource } from "../transport/objects.ts";
import type { LoadedChunk } from "./chunk-supply.ts";

/** Finished places in the queue of new chunks before it is moved up. */
const COMPACT_AT = 256;

/** A chunk that is being sent. */
export interface OutgoingChunk {
  readonly object: number;
  readonly index: number;
  readonly lengthBytes: number;
  /** `undefined` while its memory is lent to others; it is loaded again when something was lost. */
  loaded: LoadedChunk | undefined;
  /** Bytes from the start that were sent at least once. */
  sentBytes: number;
  readonly acked: RangeSet;
  readonly lost: RangeSet;
}

/** Told about chunks by the queue. */
export interface PieceOwner {
  /** All bytes of a chunk are on their way, for the first time or again: there is room for another. */
  handleChunkSent(): void;
  /** Every byte was acknowledged: the chunk left the queue. */
  handleChunkAcked(chunk: OutgoingChunk): void;
  /** Pieces were lost whose bytes are not in memory any more. */
  handleReloadNeeded(chunk: OutgoingChunk): void;
  /** Whether a disk is being read for this sender. */
  readonly isReading: boolean;
}

/** The chunks of one lane that were not acknowledged yet. */
export class PieceQueue implements ObjectSource {
  private readonly owner: PieceOwner;
  private readonly objects = new Map<number, Map<number, OutgoingChunk>>();
  /** Chunks with bytes never sent, in order. */
  private fresh: OutgoingChunk[] = [];
  private freshHead = 0;
  /** Chunks with lost bytes in memory, in the order of loss. */
  private readonly lostQueue = new Set<OutgoingChunk>();
  /** Chunks sent whole that still hold memory, oldest first. */
  private readonly sentWhole = new Set<OutgoingChunk>();
  /** Loaded bytes never sent. */
  private freshByteCount = 0;
  /** The chunk of the piece described last. */
  private described: OutgoingChunk | undefined;

  constructor(owner: PieceOwner) {
    this.owner = owner;
  }

  /** Loaded bytes that were never sent. */
  get freshBytes(): number {
    return this.freshByteCount;
  }

  /** Whether nothing waits for sending or acknowledgement. */
  get isEmpty(): boolean {
    return this.objects.size === 0;
  }

  get isWaitingForDisk(): boolean {
    return this.owner.isReading;
  }

  /** The chunk `index` of `object`, if it is being sent. */
  find(object: number, index: number): OutgoingChunk | undefined {
    return this.objects.get(object)?.get(index);
  }

  /** Adds a loaded chunk behind all others. */
  add(object: number, loaded: LoadedChunk): OutgoingChunk {
    let chunks = this.objects.get(object);
    if (chunks === undefined) this.objects.set(object, (chunks = new Map()));
    assert(!chunks.has(loaded.index), "a chunk is sent once at a time");
    const chunk: OutgoingChunk = {
      object,
      index: loaded.index,
      lengthBytes: loaded.lengthBytes,
      loaded,
      sentBytes: 0,
      acked: new RangeSet(),
      lost: new RangeSet(),
    };
    chunks.set(loaded.index, chunk);
    this.fresh.push(chunk);
    this.freshByteCount += loaded.lengthBytes;
    return chunk;
  }

  /** The bytes of a chunk are in memory again. */
  handleReloaded(chunk: OutgoingChunk, loaded: LoadedChunk): void {
    chunk.loaded = loaded;
    if (chunk.lost.size > 0) this.queueLost(chunk);
    else this.sentWhole.add(chunk);
  }

  /** Takes the memory of the chunk that was sent whole the longest ago; `undefined` if there is none. */
  evictOldest(): LoadedChunk | undefined {
    for (const chunk of this.sentWhole) {
      // The bytes of a pipe cannot be read again.
      if (chunk.loaded?.source.spec === undefined) continue;
      this.sentWhole.delete(chunk);
      const { loaded } = chunk;
      chunk.loaded = undefined;
      if (loaded !== undefined) return loaded;
    }
    return undefined;
  }

  /** Forgets an object; returns the chunks that hold memory. */
  removeObject(object: number): LoadedChunk[] {
    const chunks = this.objects.get(object);
    if (chunks === undefined) return [];
    this.objects.delete(object);
    const held: LoadedChunk[] = [];
    for (const chunk of chunks.values()) {
      this.freshByteCount -= chunk.lengthBytes - chunk.sentBytes;
      // Marks it as done for the queues that still name it.
      chunk.sentBytes = chunk.lengthBytes;
      chunk.lost.clear();
      this.lostQueue.delete(chunk);
      this.sentWhole.delete(chunk);
      if (chunk.loaded !== undefined) held.push(chunk.loaded);
      chunk.loaded = undefined;
    }
    return held;
  }

  peekPiece(piece: ObjectPiece, onlyRetransmissions: boolean): boolean {
    const lost = this.nextLost();
    if (lost !== undefined) {
      const start = lost.lost.startAt(0);
      piece.object = lost.object;
      piece.offset = lost.index * CHUNK_BYTES + start;
      piece.availableBytes = lost.lost.endAt(0) - start;
      piece.isRetransmission = true;
      piece.lender = undefined;
      this.described = lost;
      return true;
    }
    if (onlyRetransmissions) return false;
    const chunk = this.nextFresh();
    if (chunk === undefined) return false;
    this.described = chunk;
    piece.object = chunk.object;
    piece.offset = chunk.index * CHUNK_BYTES + chunk.sentBytes;
    piece.availableBytes = chunk.lengthBytes - chunk.sentBytes;
    piece.isRetransmission = false;
    piece.lender = chunk.loaded?.bytes;
    piece.lentFrom = chunk.sentBytes;
    return true;
  }

  takePiece(piece: ObjectPiece, lengthBytes: number, target: Uint8Array | undefined, at: number): void {
    const chunk = this.described;
    assert(chunk?.loaded !== undefined, "only a piece that was offered is taken");
    const start = piece.offset - chunk.index * CHUNK_BYTES;
    assert(
      piece.object === chunk.object && start >= 0 && start + lengthBytes <= chunk.lengthBytes,
      "the piece described last is taken",
    );
    target?.set(chunk.loaded.bytes.subarray(start, start + lengthBytes), at);
    if (piece.isRetransmission) {
      chunk.lost.remove(start, start + lengthBytes);
      if (chunk.lost.size === 0) {
        this.lostQueue.delete(chunk);
        if (chunk.sentBytes === chunk.lengthBytes) this.sentWhole.add(chunk);
        this.owner.handleChunkSent();
      }
      return;
    }
    chunk.sentBytes += lengthBytes;
    this.freshByteCount -= lengthBytes;
    if (chunk.sentBytes < chunk.lengthBytes) return;
    if (chunk.lost.size === 0) this.sentWhole.add(chunk);
    this.owner.handleChunkSent();
  }

  // Neighbouring pieces are told as one range, which may reach over many chunks.

  handlePieceAcked(object: number, offset: number, lengthBytes: number): void {
    for (let at = offset, end = offset + lengthBytes; at < end;) {
      const next = Math.min(end, at + CHUNK_BYTES - (at % CHUNK_BYTES));
      this.handleAcked(object, at, next - at);
      at = next;
    }
  }

  handlePieceLost(object: number, offset: number, lengthBytes: number): void {
    for (let at = offset, end = offset + lengthBytes; at < end;) {
      const next = Math.min(end, at + CHUNK_BYTES - (at % CHUNK_BYTES));
      this.handleLost(object, at, next - at);
      at = next;
    }
  }

  private handleAcked(object: number, offset: number, lengthBytes: number): void {
    const chunk = this.chunkAt(object, offset);
    if (chunk === undefined) return;
    const start = offset % CHUNK_BYTES;
    chunk.acked.add(start, start + lengthBytes);
    if (chunk.lost.size > 0) {
      chunk.lost.remove(start, start + lengthBytes);
      if (chunk.lost.size === 0) {
        this.lostQueue.delete(chunk);
        if (chunk.sentBytes === chunk.lengthBytes && chunk.loaded !== undefined) this.sentWhole.add(chunk);
      }
    }
    if (chunk.acked.size < chunk.lengthBytes) return;
    const chunks = this.objects.get(object);
    chunks?.delete(chunk.index);
    if (chunks?.size === 0) this.objects.delete(object);
    this.sentWhole.delete(chunk);
    this.owner.handleChunkAcked(chunk);
  }

  private handleLost(object: number, offset: number, lengthBytes: number): void {
    const chunk = this.chunkAt(object, offset);
    if (chunk === undefined) return;
    const start = offset % CHUNK_BYTES;
    chunk.lost.add(start, start + lengthBytes);
    // What was acknowledged in another packet need not go again.
    for (let i = 0; i < chunk.acked.rangeCount; i++)
      chunk.lost.remove(chunk.acked.startAt(i), chunk.acked.endAt(i));
    if (chunk.lost.size === 0) return;
    if (chunk.loaded === undefined) this.owner.handleReloadNeeded(chunk);
    else this.queueLost(chunk);
  }

  private queueLost(chunk: OutgoingChunk): void {
    this.lostQueue.add(chunk);
    this.sentWhole.delete(chunk);
  }

  private nextLost(): OutgoingChunk | undefined {
    // Looked at before making an iterator: this runs several times per packet.
    if (this.lostQueue.size > 0) for (const chunk of this.lostQueue) return chunk;
    return undefined;
  }

  private nextFresh(): OutgoingChunk | undefined {
    while (this.freshHead < this.fresh.length) {
      const chunk = this.fresh[this.freshHead];
      if (chunk.sentBytes < chunk.lengthBytes) return chunk;
      this.freshHead++;
      if (this.freshHead >= COMPACT_AT) {
        this.fresh = this.fresh.slice(this.freshHead);
        this.freshHead = 0;
      }
    }
    this.fresh = [];
    this.freshHead = 0;
    return undefined;
  }

  private chunkAt(object: number, offset: number): OutgoingChunk | undefined {
    return this.objects.get(object)?.get(Math.floor(offset / CHUNK_BYTES));
  }
}
