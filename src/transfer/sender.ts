/**
 * The side that has the files: offers entries, has what is accepted read and sent, and learns what
 * became durable. One lane to one receiver; reading and hashing is `SourceReader`'s.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { ENTRIES_AHEAD } from "../base/limits.ts";
import { RangeSet } from "../base/range-set.ts";
import type { EventQueue } from "../events/queue.ts";
import type { Hash, Subtree } from "../files/hash-tree.ts";
import { chunkCount, chunkLength } from "../files/hash-tree.ts";
import type { ChunkSupply } from "./chunk-supply.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { LaneRelay } from "./relay/lane-relay.ts";
import type { ChunkRanges } from "./relay/relay-messages.ts";
import type { AcceptMode, ControlMessage } from "./messages.ts";
import type { Offer, OfferFeed } from "./offers.ts";
import { OutgoingFile } from "./outgoing-file.ts";
import type { PieceQueue } from "./piece-queue.ts";
import { DurableEntries } from "./receipt.ts";
import { SourceReader } from "./source-reader.ts";
import { Tally } from "./tally.ts";

/** Control bytes waiting for the stream before no more entries are offered. */
const CONTROL_AHEAD_BYTES = 128 * 1024;

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
  /** For a lane of several whose receivers exchange chunks. */
  readonly dealing?: LaneRelay | undefined;
}

/** One lane. */
export class Sender {
  private readonly setup: SenderSetup;
  private readonly reader: SourceReader;
  readonly tally: Tally;
  private readonly objects = new Map<number, OutgoingFile>();
  private hasOfferedAll = false;
  private offeredEntries = 0;
  private offeredBytes = 0;
  private offeredDirectories = 0;
  private offeredLinks = 0;
  private isWaitingForFeed = false;
  private hasSaidTotals = false;
  private isPumping = false;
  private isStopped = false;
  /** Bytes that the receiver says it has verified. */
  verifiedBytes = 0;
  private hasAnswer = false;
  private progressCount = 0;
  private unwrittenSum = 0;
  /** The receiver's last word. */
  result: (ControlMessage & { type: "result" }) | undefined;

  constructor(setup: SenderSetup) {
    this.setup = setup;
    this.tally = new Tally(new DurableEntries(setup.hash, setup.keepsList));
    const { supply, messages, isSparse, dealing } = setup;
    this.reader = new SourceReader({
      supply,
      messages,
      isSparse,
      objects: this.objects,
      dealing,
      onProgress: () => this.pump(),
    });
  }

  /** What is to be sent next. */
  get pieces(): PieceQueue {
    return this.reader.pieces;
  }

  /** Whether the disk, a pipe or the scan has to go on, and not the receiver. */
  get isBusy(): boolean {
    return this.reader.isReading || this.isWaitingForFeed;
  }

  /** Whether memory that other lanes hold is missing. */
  get isStarved(): boolean {
    return this.reader.isStarved;
  }

  /** Bytes of the files offered so far; the whole when `isListComplete`. */
  get totalBytes(): number {
    return this.offeredBytes;
  }

  /** Bytes of the files offered while the receiver has not answered anything. */
  get unansweredBytes(): number {
    return this.hasAnswer ? 0 : this.offeredBytes;
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
    this.reader.pump();
    this.isPumping = false;
  }

  /** Puts hashes that were collected into the control stream. Called before the stream is read. */
  flushHashes(): void {
    this.reader.flushHashes();
  }

  /** Verified bytes that waited for the receiver's disk, as it said, on average. */
  get receiverBacklogBytes(): number {
    return this.unwrittenSum / Math.max(this.progressCount, 1);
  }

  /** Takes a message of the receiver. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage): void {
    this.hasAnswer = true;
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
    for (const file of this.objects.values()) this.reader.letGo(file);
    this.objects.clear();
  }

  // Offers

  private offerEntries(): void {
    const { feed, messages } = this.setup;
    const { totals } = feed;
    if (totals !== undefined && !this.hasSaidTotals && !this.hasOfferedAll) {
      this.hasSaidTotals = true;
      messages.add({ type: "totals", ...totals });
    }
    while (
      !this.hasOfferedAll &&
      this.objects.size < ENTRIES_AHEAD &&
      messages.sizeBytes < CONTROL_AHEAD_BYTES
    ) {
      const step = feed.next();
      this.isWaitingForFeed = step.type === "wait";
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
    this.objects.set(entry.object, new OutgoingFile(this.reader, offer, this.setup.hash));
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
    const { dealing, isSparse } = this.setup;
    if (dealing?.isReady === true && mode === "data" && !isSparse && file.source.spec !== undefined)
      file.own = new RangeSet();
    this.reader.read(file, file.source);
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
      this.reader.readAgain(file, start, end);
    }
  }

  /** The receiver got chunks from nobody: they are sent here, unless they are on their way. @throws GodwitError PROTOCOL_VIOLATION */
  handleWant(object: number, ranges: ChunkRanges): void {
    // It may have its answer already.
    const file = this.objects.get(object);
    if (file?.own === undefined || file.source?.sizeBytes === undefined) return;
    for (const [start, end] of ranges) {
      if (end > chunkCount(file.source.sizeBytes)) throw violation("a wish beyond the end of the file");
      this.reader.readWanted(file, file.source, start, end);
    }
    this.pump();
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

  private finish(file: OutgoingFile): void {
    this.reader.letGo(file);
    this.objects.delete(file.entry.object);
  }
}

function resumedBytes(sizeBytes: number, start: number, end: number): number {
  return (end - 1 - start) * chunkLength(sizeBytes, start) + chunkLength(sizeBytes, end - 1);
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the receiver broke the protocol: ${what}`);
}
