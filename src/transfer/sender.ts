/**
 * The side that has the files: offers entries, reads and hashes what is accepted, sends data and
 * hashes, and learns what became durable. One lane to one receiver; reading is `ChunkSupply`'s.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_BYTES, ENTRIES_AHEAD, HASHES_PER_MESSAGE } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import type { EventQueue } from "../events/queue.ts";
import type { Hash, Subtree } from "../files/hash-tree.ts";
import { chunkCount, chunkLength, HashForest } from "../files/hash-tree.ts";
import type { ChunkSupply, LoadedChunk, SourceFile, SupplyUser } from "./chunk-supply.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { AcceptMode, ControlMessage } from "./messages.ts";
import type { Offer, OfferFeed } from "./offers.ts";
import type { OutgoingChunk, PieceOwner } from "./piece-queue.ts";
import { PieceQueue } from "./piece-queue.ts";
import { DurableEntries } from "./receipt.ts";
import { Tally } from "./tally.ts";

/** Loaded bytes that wait to be sent: enough to keep a disk and a fast path busy. */
const READ_AHEAD_BYTES = 8 * 1024 * 1024;

/** Reads running at once. */
const READS_AT_ONCE = 16;

/** Control bytes waiting for the stream before no more entries are offered. */
const CONTROL_AHEAD_BYTES = 128 * 1024;

/** What became of an offered entry. */
type OutgoingState = "offered" | "queued" | "reading" | "checking" | "rooted" | "failed";

/** One offered file. */
class OutgoingFile implements SupplyUser {
  readonly entry: EntryMessage;
  readonly source: SourceFile | undefined;
  private readonly lane: Sender;
  state: OutgoingState = "offered";
  mode: AcceptMode = "data";
  /** Chunks the receiver has. */
  readonly have = new RangeSet();
  readonly forest: HashForest;
  /** First chunk that was not requested yet. */
  nextChunk = 0;
  /** Chunks requested for the first time and not there yet. */
  chunksAwaited = 0;
  /** Chunks in the order they were requested, up to the first that is not there yet. */
  readonly requestOrder: number[] = [];
  /** Chunks that are there before an earlier one. */
  readonly loadedAhead = new Map<number, LoadedChunk>();
  /** Chunks asked of the supply and not there yet. */
  readonly requested = new Set<number>();
  /** Chunks to be read and sent again, because the receiver asked. */
  readonly again = new RangeSet();
  /** Chunks that lost pieces while their memory was lent to others. */
  readonly reloads = new Set<number>();
  /** Chunks to send again once their first copy was acknowledged whole. */
  readonly againWhenAcked = new Set<number>();
  /** Chunks being read for a second time: lost pieces or a refetch. */
  readonly rereading = new Map<number, OutgoingChunk | "refetch">();
  root: Uint8Array | undefined;
  usesSource = false;

  constructor(lane: Sender, offer: Offer, hash: Hash) {
    this.lane = lane;
    this.entry = offer.entry;
    this.source = offer.source;
    this.forest = new HashForest(hash);
  }

  handleChunk(chunk: LoadedChunk): void {
    this.lane.handleChunk(this, chunk);
  }

  handleSourceEnded(source: SourceFile): void {
    this.lane.handleSourceEnded(this, source);
  }

  handleSourceFailed(_source: SourceFile, code: ErrorCode, text: string): void {
    this.lane.failFile(this, code, text);
  }
}

/** What a sender needs. */
export interface SenderSetup {
  readonly hash: Hash;
  readonly supply: ChunkSupply;
  readonly feed: OfferFeed;
  readonly messages: MessageQueue;
  readonly events: EventQueue;
  /** Chunks of zeros are named instead of sent. */
  readonly isSparse: boolean;
  /** Keep the list of durable entries, for a receipt. */
  readonly keepsList?: boolean;
}

/** One lane. */
export class Sender implements PieceOwner {
  private readonly setup: SenderSetup;
  readonly pieces: PieceQueue;
  readonly tally: Tally;
  private readonly objects = new Map<number, OutgoingFile>();
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
  private hasOfferedAll = false;
  private offeredEntries = 0;
  private offeredBytes = 0;
  private offeredDirectories = 0;
  private offeredLinks = 0;
  private isPumping = false;
  private isStopped = false;
  /** Bytes that the receiver says it has verified. */
  verifiedBytes = 0;
  private progressCount = 0;
  private unwrittenSum = 0;
  /** The receiver's last word. */
  result: (ControlMessage & { type: "result" }) | undefined;

  constructor(setup: SenderSetup) {
    this.setup = setup;
    this.tally = new Tally(new DurableEntries(setup.hash, setup.keepsList));
    this.pieces = new PieceQueue(this);
  }

  /** Whether chunks are being read. */
  get isReading(): boolean {
    return this.readsRunning > 0;
  }

  /** Entries offered and not finished. */
  get openEntries(): number {
    return this.objects.size;
  }

  /** Bytes of the files offered so far; the whole when `isListComplete`. */
  get totalBytes(): number {
    return this.offeredBytes;
  }

  /** Entries offered so far that are files. */
  get totalFiles(): number {
    return this.offeredEntries - this.offeredDirectories - this.offeredLinks;
  }

  /** Whether all entries were offered. */
  get isListComplete(): boolean {
    return this.hasOfferedAll;
  }

  /** Does what can be done now: offers, reads. Called after every input. */
  pump(): void {
    if (this.isPumping || this.isStopped) return;
    this.isPumping = true;
    this.offerEntries();
    this.readAgain();
    this.readAhead();
    this.isPumping = false;
  }

  /** Puts hashes that were collected into the control stream. Called before the stream is read. */
  flushHashes(): void {
    if (this.hashes !== undefined) this.setup.messages.add({ type: "chunk-hashes", ...this.hashes });
    if (this.zeros !== undefined) this.setup.messages.add({ type: "zero-chunks", ...this.zeros });
    this.hashes = undefined;
    this.zeros = undefined;
  }

  /** Verified bytes that waited for the receiver's disk, as it said, on average. */
  get receiverBacklogBytes(): number {
    return this.unwrittenSum / Math.max(this.progressCount, 1);
  }

  /** Takes a message of the receiver. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage): void {
    switch (message.type) {
      case "accept":
        this.handleAccept(message.object, message.mode, message.have);
        break;
      case "refuse":
        this.handleRefuse(message.object, message.code, message.text);
        break;
      case "refetch":
        this.handleRefetch(message.object, message.ranges);
        break;
      case "committed":
        this.handleCommitted(message);
        break;
      case "progress":
        this.verifiedBytes = message.verifiedBytes;
        this.progressCount++;
        this.unwrittenSum += message.unwrittenBytes;
        break;
      case "result":
        if (!this.hasOfferedAll || this.objects.size > 0)
          throw violation("a result before every entry had one");
        this.result = message;
        this.setup.messages.add({ type: "finished" });
        break;
      default:
        throw violation(`a ${message.type} message to a sender`);
    }
    this.pump();
  }

  /** Stops reading and gives everything back. */
  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    this.setup.feed.close();
    for (const file of this.objects.values()) this.letGo(file);
    this.objects.clear();
  }

  // Offers

  private offerEntries(): void {
    const { feed, messages } = this.setup;
    while (
      !this.hasOfferedAll &&
      this.objects.size < ENTRIES_AHEAD &&
      messages.sizeBytes < CONTROL_AHEAD_BYTES
    ) {
      const step = feed.next();
      if (step.type === "wait") return;
      if (step.type === "end") this.endOffers();
      else if (step.type === "skipped") {
        const { path, isFailure, code, text } = step.skipped;
        messages.add({ type: "skipped", path, isFailure, code, text });
        if (isFailure) {
          this.tally.addFailure(path, code, text);
          this.setup.events.add({ type: "file-failed", path, code, text });
        } else {
          this.tally.skippedEntries++;
          this.setup.events.add({ type: "file-skipped", path, reason: text });
        }
      } else this.offer(step.offer);
    }
  }

  private offer(offer: Offer): void {
    const { entry } = offer;
    this.objects.set(entry.object, new OutgoingFile(this, offer, this.setup.hash));
    this.offeredEntries++;
    this.offeredBytes += entry.sizeBytes ?? 0;
    if (entry.kind === "directory") this.offeredDirectories++;
    if (entry.kind === "symlink") this.offeredLinks++;
    this.setup.messages.add(entry);
  }

  private endOffers(): void {
    this.hasOfferedAll = true;
    this.setup.messages.add({
      type: "entries-end",
      entries: this.offeredEntries,
      totalBytes: this.offeredBytes,
    });
    this.setup.events.add({
      type: "manifest-completed",
      files: this.offeredEntries - this.offeredDirectories - this.offeredLinks,
      directories: this.offeredDirectories,
      links: this.offeredLinks,
      totalBytes: this.offeredBytes,
    });
  }

  // Answers

  private handleAccept(object: number, mode: AcceptMode, have: readonly Subtree[]): void {
    const file = this.expect(object);
    if (file.state !== "offered" || file.source === undefined)
      throw violation("an accept for an object that was not offered as a file");
    const size = file.source.sizeBytes;
    let haveBytes = 0;
    for (const { height, index, hash } of have) {
      const start = index * 2 ** height;
      const end = start + 2 ** height;
      if (size === undefined || end > chunkCount(size) || file.have.add(start, end) < end - start)
        throw violation("verified chunks that the file does not have, or twice");
      file.forest.add(height, index, hash);
      haveBytes += resumedBytes(size, start, end);
    }
    this.tally.resumedBytes += haveBytes;
    file.mode = mode;
    file.state = "queued";
    this.setup.supply.addUser(file.source);
    file.usesSource = true;
    this.toRead.add(file);
    const { path, sizeBytes } = file.entry;
    if (haveBytes > 0) {
      const totalBytes = size ?? 0;
      const isWhole = haveBytes === totalBytes;
      this.setup.events.add({ type: "transfer-resumed", path, haveBytes, totalBytes, isWhole });
    }
    this.setup.events.add({ type: "file-started", path, sizeBytes });
  }

  private handleRefuse(object: number, code: ErrorCode, text: string): void {
    const file = this.expect(object);
    this.finish(file);
    this.tally.addFailure(file.entry.path, code, text);
    this.setup.events.add({ type: "file-failed", path: file.entry.path, code, text });
  }

  private handleRefetch(object: number, ranges: readonly (readonly [number, number])[]): void {
    const file = this.expect(object);
    const size = file.source?.sizeBytes;
    if (
      size === undefined ||
      (file.state !== "rooted" && file.state !== "checking" && file.state !== "reading")
    ) {
      if (file.state === "failed") return;
      throw violation("a refetch of a file that is not being sent");
    }
    for (const [start, end] of ranges) {
      if (end > chunkCount(size)) throw violation("a refetch beyond the end of the file");
      for (let index = start; index < end; index++) {
        if (this.pieces.find(object, index) !== undefined) file.againWhenAcked.add(index);
        else if (!file.rereading.has(index)) file.again.add(index, index + 1);
      }
    }
    file.mode = "data";
    this.toReread.add(file);
  }

  private handleCommitted(message: ControlMessage & { type: "committed" }): void {
    const file = this.expect(message.object);
    const { entry } = file;
    if (entry.kind === "file" && message.state === "committed") {
      // A file that the receiver had whole from an earlier run was never read in this one.
      const isKnown = file.root !== undefined;
      if (isKnown && file.root !== undefined && !equalBytes(file.root, message.root))
        throw violation("a receipt for other contents than those sent");
      if (!isKnown && file.state !== "offered") throw violation("a receipt before the root was sent");
      if (!isKnown) this.tally.resumedBytes += entry.sizeBytes ?? 0;
    }
    this.finish(file);
    const size = file.source?.sizeBytes ?? entry.sizeBytes ?? 0;
    const isPlanned = message.state === "planned" || message.state === "replacing";
    if (message.state === "committed") this.tally.durable?.add(entry, size, message.root);
    if (isPlanned) this.tally.plannedEntries++;
    else if (entry.kind === "directory") this.tally.directories++;
    else if (entry.kind === "symlink") this.tally.links++;
    else if (message.state === "unchanged") this.tally.unchangedFiles++;
    else {
      this.tally.files++;
      this.tally.bytes += size;
    }
    if (isPlanned) {
      if (entry.kind === "file")
        this.setup.events.add({
          type: "file-planned",
          path: entry.path,
          sizeBytes: entry.sizeBytes,
          replaces: message.state === "replacing",
        });
    } else if (message.state === "unchanged")
      this.setup.events.add({ type: "file-skipped", path: entry.path, reason: "unchanged" });
    else if (entry.kind === "file")
      this.setup.events.add({
        type: "file-committed",
        path: entry.path,
        sizeBytes: size,
        root: toHex(message.root),
      });
  }

  /** The open object. @throws GodwitError PROTOCOL_VIOLATION if it was never offered or has its answer. */
  private expect(object: number): OutgoingFile {
    const file = this.objects.get(object);
    if (file === undefined) throw violation(`an answer to object ${object}, which is not open`);
    return file;
  }

  // Reading

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

  private readAgain(): void {
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
    const limit = Math.min(READ_AHEAD_BYTES, this.setup.supply.readAheadBytes);
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

  /** @internal A chunk that was requested for `file` is in memory. */
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
    this.pump();
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
    if (file.mode === "data") this.pieces.add(object, chunk);
    else this.release(chunk);
  }

  /** @internal The pipe of `file` has ended. */
  handleSourceEnded(file: OutgoingFile, source: SourceFile): void {
    const end = chunkCount(source.sizeBytes ?? 0);
    for (const index of [...file.requested].filter((index) => index >= end)) {
      this.settle(file, index);
      file.chunksAwaited--;
      file.requestOrder.splice(file.requestOrder.indexOf(index), 1);
    }
    file.nextChunk = Math.min(file.nextChunk, end);
    this.pump();
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
      this.pump();
    });
  }

  /** @internal The source of `file` cannot be sent. The entry stays open until the receiver's answer. */
  failFile(file: OutgoingFile, code: ErrorCode, text: string): void {
    if (file.state === "failed" || !file.usesSource) return;
    this.letGo(file);
    file.state = "failed";
    this.setup.messages.add({ type: "source-failed", object: file.entry.object, code, text });
    this.pump();
  }

  // PieceOwner

  handleChunkSent(): void {
    // Sending makes room for reading ahead.
    this.pump();
  }

  handleChunkAcked(chunk: OutgoingChunk): void {
    if (chunk.loaded !== undefined) this.release(chunk.loaded);
    const file = this.objects.get(chunk.object);
    if (file?.againWhenAcked.delete(chunk.index) === true) {
      file.again.add(chunk.index, chunk.index + 1);
      this.toReread.add(file);
    }
    this.pump();
  }

  handleReloadNeeded(chunk: OutgoingChunk): void {
    const file = this.objects.get(chunk.object);
    if (file === undefined || file.state === "failed" || file.rereading.has(chunk.index)) return;
    file.rereading.set(chunk.index, chunk);
    file.reloads.add(chunk.index);
    this.toReread.add(file);
    this.pump();
  }

  private finish(file: OutgoingFile): void {
    this.letGo(file);
    this.objects.delete(file.entry.object);
  }

  /** Gives back memory, descriptors and places in queues. */
  private letGo(file: OutgoingFile): void {
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
      this.setup.supply.removeUser(file.source);
    }
  }
}

function isZero({ bytes, lengthBytes }: LoadedChunk): boolean {
  for (let i = 0; i < lengthBytes; i++) if (bytes[i] !== 0) return false;
  return true;
}

function resumedBytes(sizeBytes: number, start: number, end: number): number {
  return (end - 1 - start) * chunkLength(sizeBytes, start) + chunkLength(sizeBytes, end - 1);
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the receiver broke the protocol: ${what}`);
}
