/**
 * Reads the files that a receiver accepted, in order and again where it must be, hashes them and puts
 * chunks into the queue of what is to be sent. One lane's reader; the memory and the disk are
 * `ChunkSupply`'s.
 */
import { assert } from "../base/assert.ts";
import type { ErrorCode } from "../base/errors.ts";
import { CHUNK_BYTES, HASHES_PER_MESSAGE } from "../base/limits.ts";
import type { RangeSet } from "../base/range-set.ts";
import { chunkCount, chunkLength } from "../files/hash-tree.ts";
import type { ChunkDealer } from "./chunk-dealer.ts";
import type { ChunkSupply, LoadedChunk, SourceFile } from "./chunk-supply.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { OutgoingFile, OutgoingFileOwner } from "./outgoing-file.ts";
import type { OutgoingChunk, PieceOwner } from "./piece-queue.ts";
import { PieceQueue } from "./piece-queue.ts";

/** Loaded bytes that wait to be sent by a lane that deals: few, so that who is faster gets more chunks. */
const DEALT_AHEAD_BYTES = 2 * CHUNK_BYTES;

/** Reads running at once. */
const READS_AT_ONCE = 16;

/** What reading needs of its sender. */
export interface ReaderSetup {
  readonly supply: ChunkSupply;
  readonly messages: MessageQueue;
  /** Chunks of zeros are named instead of sent. */
  readonly isSparse: boolean;
  /** Offered files that have no answer yet, by object. */
  readonly objects: ReadonlyMap<number, OutgoingFile>;
  /** Says which chunks of files with an `own` set this lane sends. */
  readonly dealing?: { readonly dealer: ChunkDealer } | undefined;
  /** Something ended: others may go on. */
  readonly onProgress: () => void;
}

/** Reads for one lane. */
export class SourceReader implements PieceOwner, OutgoingFileOwner {
  private readonly setup: ReaderSetup;
  readonly pieces: PieceQueue;
  /** Accepted files that were not read to the end, in the order of acceptance. */
  private readonly toRead = new Set<OutgoingFile>();
  /** Files with chunks to be read a second time. */
  private readonly toReread = new Set<OutgoingFile>();
  private hashes: { object: number; firstChunk: number; hashes: Uint8Array[] } | undefined;
  private zeros: { object: number; firstChunk: number; count: number } | undefined;
  private readsRunning = 0;
  /** Bytes of memory this lane holds, and those among them that wait for an earlier chunk. */
  private heldBytes = 0;
  private waitingBytes = 0;
  private sourcesOpen = 0;

  constructor(setup: ReaderSetup) {
    this.setup = setup;
    this.pieces = new PieceQueue(this);
  }

  /** Whether chunks are being read. */
  get isReading(): boolean {
    return this.readsRunning > 0;
  }

  /** The memory that all lanes share had no room at the last try. */
  isStarved = false;

  /** Reads what there is room for: first what must go again. */
  pump(): void {
    this.isStarved = false;
    if (this.toReread.size > 0) this.rereadAll();
    this.readAhead();
  }

  /** Takes an accepted file. */
  read(file: OutgoingFile, source: SourceFile): void {
    this.setup.supply.addUser(source);
    file.usesSource = true;
    this.toRead.add(file);
  }

  /** Chunks from `start` to before `end` are to be read and sent again. */
  readAgain(file: OutgoingFile, start: number, end: number): void {
    for (let index = start; index < end; index++) {
      if (this.pieces.find(file.entry.object, index) !== undefined) file.againWhenAcked.add(index);
      else if (!file.rereading.has(index)) file.again.add(index, index + 1);
    }
    file.mode = "data";
    this.toReread.add(file);
  }

  /** Puts hashes that were collected into the control stream. Called before the stream is read. */
  flushHashes(): void {
    if (this.hashes !== undefined) this.setup.messages.add({ type: "chunk-hashes", ...this.hashes });
    if (this.zeros !== undefined) this.setup.messages.add({ type: "zero-chunks", ...this.zeros });
    this.hashes = undefined;
    this.zeros = undefined;
  }

  private readAhead(): void {
    for (const file of this.toRead) {
      if (file.state === "queued") {
        if (this.sourcesOpen >= this.setup.supply.sourcesAtOnce) return;
        file.state = "reading";
        this.sourcesOpen++;
      }
      if (file.state === "reading" && !this.readFile(file)) return;
    }
  }

  /** Requests the next chunks of a file. Returns false when there is no room for more of any file. */
  private readFile(file: OutgoingFile): boolean {
    const { source } = file;
    assert(source !== undefined, "only files are read");
    for (;;) {
      file.nextChunk = file.have.nextMissing(file.nextChunk);
      const size = source.sizeBytes;
      if (size !== undefined && file.nextChunk >= chunkCount(size)) break;
      // A pipe is read one chunk at a time: where it ends is not known.
      if (source.spec === undefined && file.chunksAwaited > 0) return true;
      if (this.isReadAheadFull) return false;
      if (file.own !== undefined) {
        const turn = this.deal(file, source, file.own);
        if (turn === "wait") return false;
        if (turn === "known") continue;
      }
      const index = file.nextChunk++;
      file.chunksAwaited++;
      file.requestOrder.push(index);
      if (!this.request(source, index, file)) {
        file.nextChunk = index;
        file.chunksAwaited--;
        file.requestOrder.pop();
        return false;
      }
      if (file.state === "failed") return true;
    }
    if (file.chunksAwaited === 0) this.checkFile(file, source);
    return true;
  }

  /**
   * Whose is the next chunk? `read`: this lane reads it, to send it if it is its own, else for its hash;
   * `known`: another lane sends it and the hash is known; `wait`: it is nobody's and this lane has enough.
   */
  private deal(file: OutgoingFile, source: SourceFile, own: RangeSet): "read" | "known" | "wait" {
    const { dealing } = this.setup;
    const index = file.nextChunk;
    if (dealing === undefined || source.sizeBytes === undefined || own.has(index)) return "read";
    const lengthBytes = chunkLength(source.sizeBytes, index);
    if (!dealing.dealer.isDealt(source, index)) {
      const aheadBytes = this.pieces.freshBytes + this.waitingBytes + this.readsRunning * CHUNK_BYTES;
      if (aheadBytes >= DEALT_AHEAD_BYTES) return "wait";
      dealing.dealer.deal(source, index, lengthBytes, this);
      own.add(index, index + 1);
      return "read";
    }
    const contentHash = source.contentHashes[index];
    if (contentHash === undefined) return "read";
    file.nextChunk++;
    file.forest.addChunk(index, lengthBytes, contentHash);
    this.addHash(file.entry.object, index, contentHash);
    return "known";
  }

  /** Chunks that others were to give to the receiver are read and sent here, unless they are on their way. */
  readWanted(file: OutgoingFile, source: SourceFile, start: number, end: number): void {
    const { dealing } = this.setup;
    if (dealing === undefined) return;
    for (let index = start; index < end; index++) {
      const isComing =
        index >= file.nextChunk ||
        !dealing.dealer.mayRepeat(source, index) ||
        file.requested.has(index) ||
        file.loadedAhead.has(index) ||
        file.rereading.has(index) ||
        this.pieces.find(file.entry.object, index) !== undefined;
      if (isComing || file.again.add(index, index + 1) === 0) continue;
      dealing.dealer.repeatedBytes += chunkLength(source.sizeBytes ?? 0, index);
    }
    if (file.again.size > 0 && file.state !== "failed") this.toReread.add(file);
  }

  private rereadAll(): void {
    for (const file of this.toReread) {
      const { source } = file;
      assert(source !== undefined, "only files are read");
      // What was lost goes first and past all limits: the receiver may not be able to go on without it.
      for (const index of file.reloads) {
        if (!this.makeRoom() || !this.request(source, index, file)) return;
        file.reloads.delete(index);
      }
      while (file.again.size > 0) {
        if (this.isReadAheadFull) return;
        const index = file.again.startAt(0);
        file.again.remove(index, index + 1);
        file.rereading.set(index, "refetch");
        if (!this.request(source, index, file)) {
          file.again.add(index, index + 1);
          return;
        }
      }
      this.toReread.delete(file);
    }
  }

  private get isReadAheadFull(): boolean {
    const limit = this.setup.supply.readAheadBytes;
    const loaded = this.pieces.freshBytes + this.waitingBytes;
    const ahead = loaded + this.readsRunning * CHUNK_BYTES;
    return loaded >= limit || (this.readsRunning > 0 && ahead >= limit) || this.readsRunning >= READS_AT_ONCE;
  }

  private request(source: SourceFile, index: number, file: OutgoingFile): boolean {
    const { supply } = this.setup;
    this.makeRoom();
    file.requested.add(index);
    this.readsRunning++;
    while (!supply.request(source, index, file)) {
      if (!this.evict()) {
        this.settle(file, index);
        this.isStarved = true;
        return false;
      }
    }
    return true;
  }

  /** Whether this lane's share has room for one more chunk, after it gave up memory that it can do without. */
  private makeRoom(): boolean {
    const { shareBytes } = this.setup.supply;
    while (this.heldBytes + (this.readsRunning + 1) * CHUNK_BYTES > shareBytes)
      if (!this.evict()) return false;
    return true;
  }

  private evict(): boolean {
    const evicted = this.pieces.evictOldest();
    if (evicted === undefined) return false;
    this.release(evicted);
    return true;
  }

  private release(chunk: LoadedChunk): void {
    this.heldBytes -= chunk.lengthBytes;
    this.setup.supply.release(chunk);
  }

  /** A request has its answer, or is given up. Returns whether it was open. */
  private settle(file: OutgoingFile, index: number): boolean {
    if (!file.requested.delete(index)) return false;
    this.readsRunning--;
    return true;
  }

  /** A chunk that was requested for `file` is in memory. */
  handleChunk(file: OutgoingFile, chunk: LoadedChunk): void {
    if (!this.settle(file, chunk.index)) {
      this.setup.supply.release(chunk);
      return;
    }
    this.heldBytes += chunk.lengthBytes;
    const purpose = file.rereading.get(chunk.index);
    if (purpose === undefined) this.handleFirstReading(file, chunk);
    else {
      file.rereading.delete(chunk.index);
      if (purpose === "refetch") {
        this.addHash(file.entry.object, chunk.index, chunk.contentHash);
        this.pieces.add(file.entry.object, chunk);
      } else if (this.pieces.find(file.entry.object, chunk.index) === purpose)
        this.pieces.handleReloaded(purpose, chunk);
      else this.release(chunk);
      if (file.rereading.size === 0 && file.state === "rooted") this.setup.supply.rest(chunk.source);
    }
    this.setup.onProgress();
  }

  private handleFirstReading(file: OutgoingFile, chunk: LoadedChunk): void {
    // In the order of the file, whatever order the disk has: a receiver that writes into a stream could
    // not empty a window that is full of later chunks.
    file.loadedAhead.set(chunk.index, chunk);
    this.waitingBytes += chunk.lengthBytes;
    for (;;) {
      const next = file.loadedAhead.get(file.requestOrder[0]);
      if (next === undefined) return;
      file.loadedAhead.delete(next.index);
      this.waitingBytes -= next.lengthBytes;
      file.requestOrder.shift();
      file.chunksAwaited--;
      this.sendChunk(file, next);
    }
  }

  private sendChunk(file: OutgoingFile, chunk: LoadedChunk): void {
    const { object } = file.entry;
    file.forest.addChunk(chunk.index, chunk.lengthBytes, chunk.contentHash);
    if (this.setup.isSparse && chunk.source.spec !== undefined && file.mode === "data" && isZero(chunk)) {
      this.addZeroChunk(object, chunk.index);
      this.setup.supply.release(chunk);
      return;
    }
    this.addHash(object, chunk.index, chunk.contentHash);
    const isOwn = file.own?.has(chunk.index) ?? true;
    if (file.mode === "data" && isOwn) this.pieces.add(object, chunk);
    else this.release(chunk);
  }

  /** The pipe of `file` has ended. */
  handleSourceEnded(file: OutgoingFile, source: SourceFile): void {
    const end = chunkCount(source.sizeBytes ?? 0);
    for (const index of [...file.requested].filter((index) => index >= end)) {
      this.settle(file, index);
      file.chunksAwaited--;
      file.requestOrder.splice(file.requestOrder.indexOf(index), 1);
    }
    file.nextChunk = Math.min(file.nextChunk, end);
    this.setup.onProgress();
  }

  private addZeroChunk(object: number, index: number): void {
    const { zeros } = this;
    if (
      zeros?.object === object &&
      zeros.firstChunk + zeros.count === index &&
      zeros.count < HASHES_PER_MESSAGE
    )
      zeros.count++;
    else {
      this.flushHashes();
      this.zeros = { object, firstChunk: index, count: 1 };
    }
  }

  private addHash(object: number, index: number, contentHash: Uint8Array): void {
    const { hashes } = this;
    const continues =
      hashes !== undefined &&
      hashes.object === object &&
      hashes.firstChunk + hashes.hashes.length === index &&
      hashes.hashes.length < HASHES_PER_MESSAGE;
    if (continues) hashes.hashes.push(contentHash);
    else {
      this.flushHashes();
      this.hashes = { object, firstChunk: index, hashes: [contentHash] };
    }
  }

  private checkFile(file: OutgoingFile, source: SourceFile): void {
    file.state = "checking";
    this.toRead.delete(file);
    this.setup.supply.checkUnchanged(source, (isSame) => {
      if (file.state !== "checking") return;
      if (isSame && source.sizeBytes !== undefined) {
        const root = file.forest.root(source.sizeBytes);
        assert(root !== undefined, "a file that was read has all its leaves");
        file.root = root;
        file.state = "rooted";
        this.sourcesOpen--;
        this.flushHashes();
        this.setup.messages.add({
          type: "root",
          object: file.entry.object,
          sizeBytes: source.sizeBytes,
          root,
        });
        if (file.rereading.size === 0) this.setup.supply.rest(source);
      } else {
        const { code, text } = source.failure ?? {
          code: "SOURCE_CHANGED" as const,
          text: "the source changed",
        };
        this.failFile(file, code, text);
      }
      this.setup.onProgress();
    });
  }

  /** The source of `file` cannot be sent. The entry stays open until the receiver's answer. */
  failFile(file: OutgoingFile, code: ErrorCode, text: string): void {
    if (file.state === "failed" || !file.usesSource) return;
    this.letGo(file);
    file.state = "failed";
    this.setup.messages.add({ type: "source-failed", object: file.entry.object, code, text });
    this.setup.onProgress();
  }

  handleChunkSent(): void {
    // Sending makes room for reading ahead.
    this.setup.onProgress();
  }

  handleChunkAcked(chunk: OutgoingChunk): void {
    if (chunk.loaded !== undefined) this.release(chunk.loaded);
    const file = this.setup.objects.get(chunk.object);
    if (file?.own !== undefined && file.source !== undefined)
      this.setup.dealing?.dealer.handleDelivered(file.source, chunk.index, this);
    if (file?.againWhenAcked.delete(chunk.index) === true) {
      file.again.add(chunk.index, chunk.index + 1);
      this.toReread.add(file);
    }
    this.setup.onProgress();
  }

  handleReloadNeeded(chunk: OutgoingChunk): void {
    const file = this.setup.objects.get(chunk.object);
    if (file === undefined || file.state === "failed" || file.rereading.has(chunk.index)) return;
    file.rereading.set(chunk.index, chunk);
    file.reloads.add(chunk.index);
    this.toReread.add(file);
    this.setup.onProgress();
  }

  /** Gives back memory, descriptors and places in queues. */
  letGo(file: OutgoingFile): void {
    for (const chunk of this.pieces.removeObject(file.entry.object)) this.release(chunk);
    if (file.state === "reading" || file.state === "checking") this.sourcesOpen--;
    this.readsRunning -= file.requested.size;
    file.requested.clear();
    for (const chunk of file.loadedAhead.values()) {
      this.waitingBytes -= chunk.lengthBytes;
      this.release(chunk);
    }
    file.loadedAhead.clear();
    this.toRead.delete(file);
    this.toReread.delete(file);
    file.state = "failed";
    if (file.usesSource && file.source !== undefined) {
      file.usesSource = false;
      if (file.own !== undefined) this.setup.dealing?.dealer.handleLaneOver(file.source, this);
      this.setup.supply.removeUser(file.source);
    }
  }
}

function isZero({ bytes, lengthBytes }: LoadedChunk): boolean {
  for (let i = 0; i < lengthBytes; i++) if (bytes[i] !== 0) return false;
  return true;
}
