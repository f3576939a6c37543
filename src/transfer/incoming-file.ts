/**
 * One file that is being received: pieces are put in their place, complete chunks verified and handed
 * out for writing. No disk here; memory only.
 */
import { equalBytes } from "../base/bytes.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_ATTEMPTS, CHUNK_BYTES, REASSEMBLY_GAPS } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import type { ChunkPool } from "../files/chunk-pool.ts";
import type { DiskPath, FileHandle } from "../files/disk.ts";
import type { Hash } from "../files/hash-tree.ts";
import { chunkCount, chunkLength, HashForest } from "../files/hash-tree.ts";
import type { FileBinding, JournaledFile } from "../files/journal.ts";
import type { SafePath } from "../files/safe-path.ts";
import type { PieceRun } from "../transport/objects.ts";
import type { DirectoryNode } from "./directory-tree.ts";
import type { EntryMessage } from "./entry-message.ts";

/** A chunk whose bytes are coming in. */
interface OpenChunk {
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly received: RangeSet;
  /** Bytes of the chunk, as far as known: the last one of a pipe may turn out shorter. */
  lengthBytes: number;
}

/** A chunk that was verified and waits for the disk. */
export interface VerifiedChunk {
  readonly index: number;
  readonly lengthBytes: number;
  readonly bytes: Uint8Array;
  readonly contentHash: Uint8Array;
  /** Bytes of it that came from the sender: its window has room for as many when the chunk is written. */
  readonly windowBytes: number;
}

/** Where a file stands. */
export type IncomingState = "preparing" | "receiving" | "finishing" | "publishing" | "closed";

/** A file on its way in. */
export class IncomingFile {
  readonly object: number;
  readonly entry: EntryMessage;
  readonly path: SafePath;
  /** 16 bytes that stand for the path in the journal. */
  readonly key: Uint8Array;
  readonly staging: DiskPath;
  readonly forest: HashForest;
  state: IncomingState = "preparing";
  directory: DirectoryNode | undefined;
  /** The staging file begins as one hole of the whole size. */
  isSparse = false;
  /** Replaces an existing file. */
  replaces = false;
  /** May replace one: the options allow it, if one should appear meanwhile. */
  mayReplace = false;
  /** Chunks that are verified and written. */
  readonly have = new RangeSet();
  /** Chunks that are verified: written or on their way to the disk. */
  readonly verified = new RangeSet();
  /** Written chunks that the journal does not know yet. */
  unjournaled: { readonly index: number; readonly contentHash: Uint8Array }[] = [];
  unjournaledBytes = 0;
  sizeBytes: number | undefined;
  /** The sender's root, once it came. */
  root: Uint8Array | undefined;
  handle: FileHandle | undefined;
  /** A staging file exists on disk. */
  isStaged = false;
  isOpening = false;
  /** The staging file of an earlier run that is used; `undefined` for a new one. */
  resumed: JournaledFile | undefined;
  /** Chunks of an earlier run have to be looked at again before the file may be published. */
  needsLook = false;
  isLooking = false;
  /** Chunks on disk were found to be other than verified; they are fetched again. */
  hasDamage = false;
  isCheckpointing = false;
  /** The journal of this run knows chunks of it. */
  isJournaled = false;
  /** Identity of the staging file on disk. */
  identity = "";
  /** The existing file is compared by its contents first. */
  comparison: "none" | "running" | "different" = "none";
  /** Why it is refused if the comparison finds a difference; `undefined`: then it is replaced. */
  refusal: string | undefined;
  /** Verified chunks that wait for the file to be open. */
  readonly waitingWrites: VerifiedChunk[] = [];
  writesRunning = 0;

  private readonly hash: Hash;
  private readonly pool: ChunkPool;
  private readonly open = new Map<number, OpenChunk>();
  private readonly contentHashes = new Map<number, Uint8Array>();
  private readonly attempts = new Map<number, number>();
  /** Chunks whose leaf is in the forest. */
  private readonly leaves = new RangeSet();

  constructor(
    hash: Hash,
    pool: ChunkPool,
    entry: EntryMessage,
    path: SafePath,
    key: Uint8Array,
    staging: DiskPath,
  ) {
    this.hash = hash;
    this.pool = pool;
    this.object = entry.object;
    this.entry = entry;
    this.path = path;
    this.key = key;
    this.staging = staging;
    this.sizeBytes = entry.sizeBytes;
    this.forest = new HashForest(hash);
  }

  /** Whether all chunks are verified and written. */
  get isWhole(): boolean {
    return this.sizeBytes !== undefined && this.have.size === chunkCount(this.sizeBytes);
  }

  /** Chunks of the file; its size must be known. */
  get chunkCount(): number {
    return chunkCount(this.sizeBytes ?? 0);
  }

  /** Bytes that are verified and written. */
  get haveBytes(): number {
    const { have, sizeBytes } = this;
    if (have.size === 0) return 0;
    const all = have.size * CHUNK_BYTES;
    if (sizeBytes === undefined || !have.has(chunkCount(sizeBytes) - 1)) return all;
    return all - chunkCount(sizeBytes) * CHUNK_BYTES + sizeBytes;
  }

  /** What the journal calls this version of this file; `undefined` if it cannot be resumed. */
  get binding(): FileBinding | undefined {
    const { key, entry } = this;
    if (entry.sizeBytes === undefined || entry.token.every((byte) => byte === 0)) return undefined;
    return { key, token: entry.token, sizeBytes: entry.sizeBytes };
  }

  /** Takes over what an earlier run verified. */
  resume(journaled: JournaledFile): void {
    this.resumed = journaled;
    this.identity = journaled.identity;
    for (let i = 0; i < journaled.have.rangeCount; i++) {
      const start = journaled.have.startAt(i);
      const end = journaled.have.endAt(i);
      this.have.add(start, end);
      this.verified.add(start, end);
      this.leaves.add(start, end);
    }
    for (const { height, index, hash } of journaled.forest.subtrees()) this.forest.add(height, index, hash);
  }

  /**
   * Counts chunks of zeros as there: a new staging file is one hole. Returns how many were new.
   *
   * @throws GodwitError PROTOCOL_VIOLATION beyond the end or without a size.
   */
  addZeros(firstChunk: number, count: number, hashOfZeros: (lengthBytes: number) => Uint8Array): number {
    const { sizeBytes } = this;
    if (sizeBytes === undefined || firstChunk + count > chunkCount(sizeBytes))
      throw violation("chunks of zeros beyond the end of the file");
    let added = 0;
    for (let index = firstChunk; index < firstChunk + count; index++) {
      if (this.open.has(index)) throw violation("data for a chunk of zeros");
      if (this.verified.add(index, index + 1) === 0) continue;
      const lengthBytes = chunkLength(sizeBytes, index);
      const contentHash = hashOfZeros(lengthBytes);
      this.have.add(index, index + 1);
      if (this.leaves.add(index, index + 1) > 0) this.forest.addChunk(index, lengthBytes, contentHash);
      this.unjournaled.push({ index, contentHash });
      added += lengthBytes;
    }
    return added;
  }

  /** A chunk on disk is not what was verified: it has to come again, with the hash it had. */
  distrust(index: number, contentHash: Uint8Array): void {
    this.have.remove(index, index + 1);
    this.verified.remove(index, index + 1);
    this.contentHashes.set(index, contentHash);
  }

  /**
   * Puts a piece in its place and returns how many bytes were new.
   *
   * @throws GodwitError PROTOCOL_VIOLATION for a piece beyond the end, OVER_LIMIT for more holes or memory than allowed.
   */
  handlePiece(offset: number, bytes: Uint8Array, from: number, lengthBytes: number): number {
    if (this.sizeBytes !== undefined && offset + lengthBytes > this.sizeBytes)
      throw violation("file data beyond the end of the file");
    let added = 0;
    let at = 0;
    while (at < lengthBytes) {
      const index = Math.floor((offset + at) / CHUNK_BYTES);
      const start = offset + at - index * CHUNK_BYTES;
      const part = Math.min(lengthBytes - at, CHUNK_BYTES - start);
      if (!this.verified.has(index)) added += this.addPart(index, start, bytes, from + at, part);
      at += part;
    }
    return added;
  }

  /** The same as `handlePiece` for a run of pieces; each chunk is looked up once. */
  handlePieces(run: PieceRun): number {
    if (this.sizeBytes !== undefined && run.offset + run.lengthBytes > this.sizeBytes)
      throw violation("file data beyond the end of the file");
    const { lengths } = run;
    let added = 0;
    let at = run.offset;
    for (let i = 0; i < run.count;) {
      const index = Math.floor(at / CHUNK_BYTES);
      const chunkStart = index * CHUNK_BYTES;
      const first = i;
      let end = at;
      while (i < run.count && end + lengths[i] <= chunkStart + CHUNK_BYTES) end += lengths[i++];
      if (i === first) {
        // It reaches into the next chunk.
        end += lengths[i];
        added += this.handlePiece(at, run.bytes, run.starts[i++], end - at);
      } else if (!this.verified.has(index)) {
        const chunk = this.openChunk(index);
        const isNew = this.addRange(chunk, at - chunkStart, end - chunkStart);
        if (isNew > 0) run.copy(first, i, chunk.bytes, at - chunkStart);
        added += isNew;
      }
      at = end;
    }
    return added;
  }

  /** Whether all bytes of a chunk and its hash are there, so that `verifyChunk` has something to do. */
  isReadyToVerify(index: number): boolean {
    const chunk = this.open.get(index);
    return chunk !== undefined && chunk.received.size >= chunk.lengthBytes && this.contentHashes.has(index);
  }

  private addPart(index: number, start: number, bytes: Uint8Array, from: number, length: number): number {
    const chunk = this.openChunk(index);
    const added = this.addRange(chunk, start, start + length);
    // Where a piece overlaps what is there the later copy wins: equal bytes are harmless, others fail the hash.
    if (added > 0) chunk.bytes.set(bytes.subarray(from, from + length), start);
    return added;
  }

  private openChunk(index: number): OpenChunk {
    const open = this.open.get(index);
    if (open !== undefined) return open;
    const size = this.sizeBytes === undefined ? CHUNK_BYTES : chunkLength(this.sizeBytes, index);
    const buffer = this.pool.take(size);
    if (buffer === undefined)
      throw new GodwitError("OVER_LIMIT", "the sender spread data over more chunks than fit in memory");
    const chunk = { index, bytes: buffer, received: new RangeSet(), lengthBytes: size };
    this.open.set(index, chunk);
    return chunk;
  }

  /** Counts bytes of a chunk as received; returns how many were new. */
  private addRange({ received }: OpenChunk, start: number, end: number): number {
    const added = received.add(start, end);
    if (received.rangeCount > REASSEMBLY_GAPS)
      throw new GodwitError("OVER_LIMIT", `the sender left more than ${REASSEMBLY_GAPS} gaps in one chunk`);
    return added;
  }

  /** Takes hashes of chunks. @throws GodwitError PROTOCOL_VIOLATION for a second, different hash. */
  handleHashes(firstChunk: number, hashes: readonly Uint8Array[]): void {
    hashes.forEach((contentHash, i) => {
      const index = firstChunk + i;
      if (this.sizeBytes !== undefined && index >= chunkCount(this.sizeBytes))
        throw violation("a chunk hash beyond the end of the file");
      if (this.verified.has(index)) return;
      const before = this.contentHashes.get(index);
      if (before !== undefined && !equalBytes(before, contentHash))
        throw violation("two different hashes for one chunk");
      this.contentHashes.set(index, contentHash);
    });
  }

  /** Number of hashes held for chunks that did not come yet. */
  get hashesHeld(): number {
    return this.contentHashes.size;
  }

  /** The end of the file and its root. @throws GodwitError PROTOCOL_VIOLATION if it contradicts what came. */
  handleRoot(sizeBytes: number, root: Uint8Array): void {
    if (this.root !== undefined) throw violation("two roots for one file");
    if (this.sizeBytes !== undefined && this.sizeBytes !== sizeBytes)
      throw violation("a final size other than the one offered");
    const count = chunkCount(sizeBytes);
    for (const chunk of this.open.values()) {
      if (chunk.index >= count || chunk.received.end > chunkLength(sizeBytes, chunk.index))
        throw violation("file data beyond the end of the file");
      chunk.lengthBytes = chunkLength(sizeBytes, chunk.index);
    }
    if (this.verified.end > count) throw violation("file data beyond the end of the file");
    this.sizeBytes = sizeBytes;
    this.root = root;
  }

  /**
   * Verifies what can be verified of the chunks in `indexes` and returns the good ones, which leave the
   * assembly with their buffers. Bad ones are emptied and reported to `onBad`.
   *
   * @throws GodwitError VERIFICATION_FAILED when a chunk stays bad.
   */
  verifyChunk(index: number, onBad: (index: number) => void): VerifiedChunk | undefined {
    const chunk = this.open.get(index);
    const contentHash = this.contentHashes.get(index);
    if (chunk === undefined || contentHash === undefined) return undefined;
    if (chunk.received.size < chunk.lengthBytes) return undefined;
    this.open.delete(index);
    const { bytes, lengthBytes } = chunk;
    if (equalBytes(this.hash(bytes.subarray(0, lengthBytes)), contentHash)) {
      this.contentHashes.delete(index);
      this.attempts.delete(index);
      this.verified.add(index, index + 1);
      if (this.leaves.add(index, index + 1) > 0) this.forest.addChunk(index, lengthBytes, contentHash);
      return { index, lengthBytes, bytes, contentHash, windowBytes: lengthBytes };
    }
    this.pool.give(bytes);
    const attempts = (this.attempts.get(index) ?? 1) + 1;
    this.attempts.set(index, attempts);
    if (attempts > CHUNK_ATTEMPTS)
      throw new GodwitError(
        "VERIFICATION_FAILED",
        `chunk ${index} did not match its hash after ${CHUNK_ATTEMPTS} tries`,
      );
    onBad(index);
    return undefined;
  }

  /** A buffer for a chunk that another receiver sends; `undefined` when the memory is used up. */
  borrow(lengthBytes: number): Uint8Array | undefined {
    return this.pool.take(lengthBytes);
  }

  /** Gives a borrowed buffer back. */
  giveBack(bytes: Uint8Array): void {
    this.pool.give(bytes);
  }

  /** Whether a chunk could come from another receiver: its hash is known, and the sender has not begun to send it. */
  isFetchable(index: number): boolean {
    return this.contentHashes.has(index) && !this.open.has(index);
  }

  /** Verifies a chunk that another receiver sent; a good one keeps the borrowed buffer. */
  verifyRelayed(index: number, bytes: Uint8Array, lengthBytes: number): VerifiedChunk | "unwanted" | "bad" {
    const contentHash = this.contentHashes.get(index);
    if (contentHash === undefined || this.verified.has(index)) return "unwanted";
    if (!equalBytes(this.hash(bytes.subarray(0, lengthBytes)), contentHash)) return "bad";
    const open = this.open.get(index);
    if (open !== undefined) this.pool.give(open.bytes);
    this.open.delete(index);
    this.contentHashes.delete(index);
    this.attempts.delete(index);
    this.verified.add(index, index + 1);
    if (this.leaves.add(index, index + 1) > 0) this.forest.addChunk(index, lengthBytes, contentHash);
    return { index, lengthBytes, bytes, contentHash, windowBytes: open?.received.size ?? 0 };
  }

  /** Indexes of chunks that may be complete: asked after the end became known. */
  openChunks(): number[] {
    return [...this.open.keys()];
  }

  /** Gives the memory of incomplete chunks back; returns the bytes received that are thrown away. */
  discardOpen(): number {
    let bytes = 0;
    for (const chunk of this.open.values()) {
      bytes += chunk.received.size;
      this.pool.give(chunk.bytes);
    }
    this.open.clear();
    this.contentHashes.clear();
    return bytes;
  }
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
