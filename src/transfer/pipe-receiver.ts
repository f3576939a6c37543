/**
 * Receives one file as a stream of bytes for the host, in order, each chunk verified before it is
 * handed out. Touches no disk. What was handed out cannot be taken back: the root is proved at the end only.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_BYTES, MANIFEST_ENTRIES, RECEIVE_MEMORY_MAX_BYTES } from "../base/limits.ts";
import type { EventQueue } from "../events/queue.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import type { Hash } from "../files/hash-tree.ts";
import { chunkLength } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import { parseSafePath } from "../files/safe-path.ts";
import type { PieceRun } from "../transport/objects.ts";
import type { VerifiedChunk } from "./incoming-file.ts";
import { IncomingFile } from "./incoming-file.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { ControlMessage } from "./messages.ts";
import type { ReceivingEngine } from "./receiving-engine.ts";
import { DurableEntries } from "./receipt.ts";
import { Tally } from "./tally.ts";

/** Receives into a stream. */
export class PipeReceiver implements ReceivingEngine {
  readonly tally: Tally;
  private readonly hash: Hash;
  private readonly messages: MessageQueue;
  private readonly events: EventQueue;
  private readonly pool = new ChunkPool(RECEIVE_MEMORY_MAX_BYTES + 16 * CHUNK_BYTES);
  private file: IncomingFile | undefined;
  private readonly verified = new Map<number, VerifiedChunk>();
  /** Index of the chunk to be handed out next. */
  private nextChunk = 0;
  private nextObject = 0;
  private offeredBytes = 0;
  private openObjects = 0;
  private isListComplete = false;
  private consumed = 0;
  private handedOutBytes = 0;
  hasSentResult = false;
  isFinished = false;
  isResultKnown = false;
  fatal: GodwitError | undefined;

  constructor(hash: Hash, messages: MessageQueue, events: EventQueue) {
    this.hash = hash;
    this.tally = new Tally(new DurableEntries(hash));
    this.messages = messages;
    this.events = events;
  }

  get totalBytes(): number {
    return this.offeredBytes;
  }

  get isTotalKnown(): boolean {
    return this.isListComplete;
  }

  get totalFiles(): number {
    return this.nextObject;
  }

  get progressBytes(): number {
    return this.handedOutBytes;
  }

  get unwrittenBytes(): number {
    return this.verified.size * CHUNK_BYTES;
  }

  /** The next verified bytes, or `undefined` while there are none. They belong to the caller. */
  takePipeBytes(): Uint8Array | undefined {
    const chunk = this.verified.get(this.nextChunk);
    if (chunk === undefined) return undefined;
    this.verified.delete(this.nextChunk++);
    const bytes = chunk.bytes.slice(0, chunk.lengthBytes);
    this.pool.give(chunk.bytes);
    this.consumed += chunk.lengthBytes;
    this.handedOutBytes += chunk.lengthBytes;
    this.file?.have.add(chunk.index, chunk.index + 1);
    this.finishIfWhole();
    return bytes;
  }

  takeConsumedBytes(): number {
    const { consumed } = this;
    this.consumed = 0;
    return consumed;
  }

  handleMessage(message: ControlMessage): void {
    switch (message.type) {
      case "entry":
        this.handleEntry(message);
        break;
      case "entries-end":
        if (this.isListComplete || message.entries !== this.nextObject)
          throw violation("a wrong end of the list of entries");
        this.isListComplete = true;
        break;
      case "totals":
        // Its memory is a window, whatever is offered.
        break;
      case "skipped":
        if (message.isFailure) this.tally.addFailure(message.path, message.code, message.text);
        else this.tally.skippedEntries++;
        break;
      case "chunk-hashes":
        if (this.file?.object !== message.object || this.file.state !== "receiving") break;
        this.file.handleHashes(message.firstChunk, message.hashes);
        message.hashes.forEach((_, i) => this.verify(message.firstChunk + i));
        break;
      case "root":
        if (this.file?.object !== message.object || this.file.state !== "receiving") break;
        this.file.handleRoot(message.sizeBytes, message.root);
        for (const index of this.file.openChunks()) this.verify(index);
        this.finishIfWhole();
        break;
      case "source-failed":
        if (this.file?.object === message.object) this.refuseFile(message.code, message.text);
        break;
      case "finished":
        if (!this.hasSentResult) throw violation("an end before the result");
        this.isFinished = true;
        break;
      default:
        throw violation(`a ${message.type} message to a receiver`);
    }
    this.finishIfDone();
  }

  handlePiece(object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number): number {
    const { file } = this;
    if (file?.object !== object) throw violation("file data that was not accepted");
    if (file.state !== "receiving") return 0;
    const added = file.handlePiece(offset, bytes, from, lengthBytes);
    if (added > 0) {
      const last = Math.floor((offset + lengthBytes - 1) / CHUNK_BYTES);
      for (let index = Math.floor(offset / CHUNK_BYTES); index <= last; index++) this.verify(index);
    }
    return added;
  }

  handlePieces(run: PieceRun): number {
    let added = 0;
    let at = run.offset;
    for (let i = 0; i < run.count; i++) {
      added += this.handlePiece(run.object, at, run.bytes, run.starts[i], run.lengths[i]);
      at += run.lengths[i];
    }
    return added;
  }

  stop(): void {
    this.file?.discardOpen();
    for (const chunk of this.verified.values()) this.pool.give(chunk.bytes);
    this.verified.clear();
  }

  readonly isStopping = false;

  continueStop(): void {
    // Nothing is on a disk.
  }

  private handleEntry(entry: EntryMessage): void {
    if (this.isListComplete || entry.object !== this.nextObject || this.nextObject >= MANIFEST_ENTRIES)
      throw violation("an entry out of order");
    this.nextObject++;
    this.openObjects++;
    this.offeredBytes += entry.sizeBytes ?? 0;
    if (entry.kind !== "file" || this.nextObject > 1) {
      const text =
        entry.kind === "file"
          ? `${printable(entry.path)}: only one file fits into a stream`
          : `${printable(entry.path)} is a ${entry.kind}: only a file can be written to a stream`;
      this.refuse(entry, "DECLINED", text);
      return;
    }
    try {
      const path = parseSafePath(entry.path);
      this.file = new IncomingFile(this.hash, this.pool, entry, path, new Uint8Array(16), []);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.refuse(entry, error.code, error.message);
      return;
    }
    this.file.state = "receiving";
    this.messages.add({ type: "accept", object: entry.object, mode: "data", have: [] });
    this.events.add({ type: "file-started", path: entry.path, sizeBytes: entry.sizeBytes });
  }

  private verify(index: number): void {
    const { file } = this;
    if (file === undefined || file.state !== "receiving") return;
    let isBad = false;
    try {
      const chunk = file.verifyChunk(index, () => (isBad = true));
      if (chunk !== undefined) this.verified.set(index, chunk);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.consumed += file.sizeBytes === undefined ? CHUNK_BYTES : chunkLength(file.sizeBytes, index);
      this.refuseFile(error.code, `${printable(file.entry.path)}: ${error.message}`);
      return;
    }
    if (!isBad) return;
    this.consumed += file.sizeBytes === undefined ? CHUNK_BYTES : chunkLength(file.sizeBytes, index);
    this.messages.add({ type: "refetch", object: file.object, ranges: [[index, index + 1]] });
  }

  private finishIfWhole(): void {
    const { file } = this;
    if (file === undefined || file.state !== "receiving" || file.root === undefined || !file.isWhole) return;
    const sizeBytes = file.sizeBytes ?? 0;
    const root = file.forest.root(sizeBytes);
    if (root === undefined || !equalBytes(root, file.root)) {
      const text = `${printable(file.entry.path)} does not have the root its sender announced; do not use what was written`;
      this.refuseFile("VERIFICATION_FAILED", text);
      return;
    }
    file.state = "closed";
    this.tally.files++;
    this.tally.bytes += sizeBytes;
    this.tally.durable?.add(file.entry, sizeBytes, root);
    this.events.add({ type: "file-committed", path: file.entry.path, sizeBytes, root: toHex(root) });
    this.openObjects--;
    this.messages.add({ type: "committed", object: file.object, state: "committed", root });
    this.finishIfDone();
  }

  private refuseFile(code: ErrorCode, text: string): void {
    const { file } = this;
    if (file === undefined || file.state === "closed") return;
    file.state = "closed";
    this.consumed += file.discardOpen();
    this.refuse(file.entry, code, text);
    this.finishIfDone();
  }

  private refuse(entry: EntryMessage, code: ErrorCode, text: string): void {
    this.tally.addFailure(entry.path, code, text);
    this.events.add({ type: "file-failed", path: entry.path, code, text });
    this.openObjects--;
    this.messages.add({ type: "refuse", object: entry.object, code, text });
  }

  private finishIfDone(): void {
    if (!this.isListComplete || this.openObjects > 0 || this.hasSentResult) return;
    const { code, text } = this.tally.outcome();
    const { completeEntries, failedEntries } = this.tally;
    this.messages.add({ type: "result", code, text, committed: completeEntries, failed: failedEntries });
    this.hasSentResult = true;
  }
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
