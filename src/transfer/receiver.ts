/**
 * The side that gets the files: decides about every entry, verifies every chunk, writes, flushes,
 * publishes and confirms. Nothing is confirmed that would not survive a power cut.
 */
import { toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import {
  CHUNK_BYTES,
  ENTRIES_AHEAD,
  MANIFEST_ENTRIES,
  RECEIVE_MEMORY_MAX_BYTES,
  REFETCH_RANGES,
} from "../base/limits.ts";
import type { EventQueue } from "../events/queue.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import type { RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { SafePath } from "../files/safe-path.ts";
import { isSafeLinkTarget, parseSafePath } from "../files/safe-path.ts";
import { createStaging, finishStaging, removeStaging, writeAll } from "../files/staging.ts";
import { pathKey, stagingPath } from "../files/staging-name.ts";
import type { ObjectSink } from "../transport/objects.ts";
import type { DirectoryNode } from "./directory-tree.ts";
import { DirectoryTree } from "./directory-tree.ts";
import type { VerifiedChunk } from "./incoming-file.ts";
import { IncomingFile } from "./incoming-file.ts";
import type { ControlMessage, EntryMessage, MessageQueue, TransferOptions } from "./messages.ts";
import { NO_HASH } from "./messages.ts";
import { Publisher } from "./publisher.ts";
import type { Existing } from "./receive-policy.ts";
import { decideFile } from "./receive-policy.ts";
import { Tally } from "./tally.ts";

/** Staging files open at once: each holds a descriptor. */
const STAGING_OPEN = 32;

/** Entries being looked at on the disk at once. */
const PREPARING_AT_ONCE = 32;

/** Writes running at once for one file. */
const WRITES_PER_FILE = 4;

/** Memory for chunks beside the largest window: those that are incomplete at its edges. */
const POOL_SLACK_BYTES = 16 * CHUNK_BYTES;

/** What a receiver needs. */
export interface ReceiverSetup {
  readonly hash: Hash;
  readonly runner: DiskRunner;
  readonly messages: MessageQueue;
  readonly events: EventQueue;
  /** Where everything goes; stays open until the outcome. */
  readonly root: RootHandle;
  /** Directory below the root, `undefined` for the root itself. */
  readonly destination: SafePath | undefined;
  readonly options: TransferOptions;
  /** Permission bits that are never given. */
  readonly umask: number;
  /** Name of the job, for staging files. */
  readonly job: string;
}

/** Receives one transfer. */
export class Receiver implements ObjectSink {
  private readonly setup: ReceiverSetup;
  readonly tally = new Tally();
  private readonly pool = new ChunkPool(RECEIVE_MEMORY_MAX_BYTES + POOL_SLACK_BYTES);
  private readonly directories: DirectoryTree;
  private readonly publisher: Publisher;
  /** Objects that have no answer yet. */
  private readonly files = new Map<number, IncomingFile>();
  private openObjects = 0;
  private nextObject = 0;
  private readonly toPrepare: { readonly entry: EntryMessage; readonly path: SafePath }[] = [];
  private preparing = 0;
  private stagingOpen = 0;
  private readonly toOpen = new Set<IncomingFile>();
  private isListComplete = false;
  private offeredBytes = 0;
  private consumed = 0;
  private isFinishing = false;
  private isStopped = false;
  /** All entries have an answer and the result was sent. */
  hasSentResult = false;
  /** The sender will send no more. */
  isFinished = false;
  /** A failure that ends the whole transfer. */
  fatal: GodwitError | undefined;

  constructor(setup: ReceiverSetup) {
    this.setup = setup;
    this.directories = new DirectoryTree(setup.runner, setup.root);
    this.publisher = new Publisher(setup.runner, setup.root, this.directories);
  }

  /** Bytes offered so far. */
  get totalBytes(): number {
    return this.offeredBytes;
  }

  /** Bytes received that need no more memory, since the last call: the transport may let as many in. */
  takeConsumedBytes(): number {
    const { consumed } = this;
    this.consumed = 0;
    return consumed;
  }

  /** Takes a message of the sender. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage): void {
    switch (message.type) {
      case "entry":
        this.handleEntry(message);
        break;
      case "entries-end":
        if (this.isListComplete || message.entries !== this.nextObject)
          throw violation("a wrong end of the list of entries");
        this.isListComplete = true;
        this.setup.events.add({
          type: "manifest-completed",
          files: this.nextObject,
          directories: 0,
          links: 0,
          totalBytes: this.offeredBytes,
        });
        break;
      case "skipped":
        if (message.isFailure) this.tally.addFailure(message.path, message.code, message.text);
        else this.tally.skippedEntries++;
        break;
      case "chunk-hashes": {
        const file = this.receiving(message.object);
        if (file === undefined) break;
        file.handleHashes(message.firstChunk, message.hashes);
        message.hashes.forEach((_, i) => this.verify(file, message.firstChunk + i));
        break;
      }
      case "root": {
        const file = this.receiving(message.object);
        if (file === undefined) break;
        file.handleRoot(message.sizeBytes, message.root);
        for (const index of file.openChunks()) this.verify(file, index);
        this.finishIfWhole(file);
        break;
      }
      case "source-failed": {
        const file = this.receiving(message.object);
        if (file !== undefined) this.refuseFile(file, message.code, message.text);
        break;
      }
      case "finished":
        if (!this.hasSentResult) throw violation("an end before the result");
        this.isFinished = true;
        break;
      default:
        throw violation(`a ${message.type} message to a receiver`);
    }
    this.pump();
  }

  handlePiece(object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number): number {
    const file = this.files.get(object);
    if (file === undefined || file.state !== "receiving") {
      if (object >= this.nextObject || file?.state === "preparing")
        throw violation("file data that was not accepted");
      return 0;
    }
    const added = file.handlePiece(offset, bytes, from, lengthBytes);
    if (added > 0) {
      const last = Math.floor((offset + lengthBytes - 1) / CHUNK_BYTES);
      for (let index = Math.floor(offset / CHUNK_BYTES); index <= last; index++) this.verify(file, index);
      this.pump();
    }
    return added;
  }

  // Entries

  private handleEntry(entry: EntryMessage): void {
    if (this.isListComplete || entry.object !== this.nextObject) throw violation("an entry out of order");
    this.nextObject++;
    this.openObjects++;
    if (this.openObjects > ENTRIES_AHEAD || this.nextObject > MANIFEST_ENTRIES)
      throw new GodwitError("OVER_LIMIT", "the sender offered more entries than this side takes");
    this.offeredBytes += entry.sizeBytes ?? 0;
    let path: SafePath;
    try {
      const prefix = this.setup.destination;
      const relative = parseSafePath(entry.path);
      path = prefix === undefined ? relative : parseSafePath(`${prefix.text}/${relative.text}`);
      if (entry.kind === "symlink" && !isSafeLinkTarget(relative, entry.target))
        throw new GodwitError(
          "UNSAFE_NAME",
          `refused the link ${printable(entry.path)}: it points out of the tree, to ${printable(entry.target)}`,
        );
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.refuse(entry, error.code, error.message);
      return;
    }
    this.toPrepare.push({ entry, path });
  }

  /** Does what can be done now. */
  private pump(): void {
    if (this.isStopped) return;
    while (this.toPrepare.length > 0 && this.preparing < PREPARING_AT_ONCE) {
      const next = this.toPrepare.shift();
      if (next !== undefined) this.prepare(next.entry, next.path);
    }
    for (const file of this.toOpen) {
      if (this.stagingOpen >= STAGING_OPEN) break;
      this.toOpen.delete(file);
      this.openStaging(file);
    }
    this.finishIfDone();
  }

  private prepare(entry: EntryMessage, path: SafePath): void {
    this.preparing++;
    const isDirectory = entry.kind === "directory";
    const parent = isDirectory ? path.components : path.components.slice(0, -1);
    this.directories.ensure(parent, (node) => {
      if (node.state === "failed") {
        this.preparing--;
        this.refuseDisk(entry, node.errno);
      } else if (isDirectory) {
        this.preparing--;
        this.acceptDirectory(entry, node);
      } else if (entry.kind === "symlink") this.prepareLink(entry, path, node);
      else this.prepareFile(entry, path, node);
      this.pump();
    });
  }

  private acceptDirectory(entry: EntryMessage, node: DirectoryNode): void {
    if (node.isMade) {
      node.mode = entry.mode & 0o777 & ~this.setup.umask;
      node.modifiedAtUs = clampTime(entry.modifiedAtUs);
    }
    this.publisher.add(node.parent ?? node, undefined, (errno) => {
      if (errno === undefined) {
        this.tally.directories++;
        this.answer(entry, { type: "committed", object: entry.object, state: "committed", root: NO_HASH });
      } else this.refuseDisk(entry, errno);
      this.pump();
    });
  }

  private prepareLink(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root } = this.setup;
    runner.start(ask({ kind: "make-symlink", root, path: path.components, target: entry.target }), (made) => {
      this.preparing--;
      if (made.ok) {
        node.isDirty = true;
        this.publisher.add(node, undefined, (errno) => {
          if (errno === undefined) {
            this.tally.links++;
            this.answer(entry, {
              type: "committed",
              object: entry.object,
              state: "committed",
              root: NO_HASH,
            });
          } else this.refuseDisk(entry, errno);
          this.pump();
        });
      } else this.refuseDisk(entry, made.errno);
      this.pump();
    });
  }

  private prepareFile(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root, hash, job } = this.setup;
    runner.start(ask({ kind: "lstat", root, path: path.components }), (looked) => {
      this.preparing--;
      const existing: Existing | undefined = looked.ok ? looked.facts : undefined;
      if (!looked.ok && looked.errno !== "ENOENT") this.refuseDisk(entry, looked.errno);
      else {
        const decision = decideFile(entry, existing, this.setup.options);
        if (decision.type === "refuse") this.refuse(entry, decision.code, decision.text);
        else if (decision.type === "unchanged") {
          this.tally.unchangedFiles++;
          this.answer(entry, { type: "committed", object: entry.object, state: "unchanged", root: NO_HASH });
        } else {
          const key = pathKey(hash, path.text);
          const file = new IncomingFile(
            hash,
            this.pool,
            entry,
            path,
            key,
            stagingPath(job, path.components, key),
          );
          file.directory = node;
          file.replaces = decision.replaces;
          this.accept(file);
        }
      }
      this.pump();
    });
  }

  private accept(file: IncomingFile): void {
    this.files.set(file.object, file);
    file.state = "receiving";
    this.setup.messages.add({
      type: "accept",
      object: file.object,
      mode: "data",
      have: file.forest.subtrees(),
    });
    this.setup.events.add({ type: "file-started", path: file.entry.path, sizeBytes: file.sizeBytes });
  }

  // Chunks

  private verify(file: IncomingFile, index: number): void {
    let chunk: VerifiedChunk | undefined;
    const bad: number[] = [];
    try {
      chunk = file.verifyChunk(index, (badIndex) => bad.push(badIndex));
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.refuseFile(file, error.code, `${printable(file.entry.path)}: ${error.message}`);
      return;
    }
    if (bad.length > 0) this.refetch(file, bad);
    if (chunk === undefined) return;
    this.setup.events.add({
      type: "chunk-verified",
      path: file.entry.path,
      offset: index * CHUNK_BYTES,
      lengthBytes: chunk.lengthBytes,
    });
    file.waitingWrites.push(chunk);
    this.writeWaiting(file);
  }

  private refetch(file: IncomingFile, indexes: readonly number[]): void {
    const ranges = indexes.slice(0, REFETCH_RANGES).map((index) => [index, index + 1] as const);
    for (const index of indexes) {
      this.consumed += chunkBytes(file, index);
      this.setup.events.add({
        type: "chunk-refetched",
        path: file.entry.path,
        offset: index * CHUNK_BYTES,
        reason: "the chunk did not match its hash",
      });
    }
    this.setup.messages.add({ type: "refetch", object: file.object, ranges });
  }

  private writeWaiting(file: IncomingFile): void {
    if (file.handle === undefined) {
      if (!file.isOpening) {
        file.isOpening = true;
        this.toOpen.add(file);
      }
      return;
    }
    while (file.waitingWrites.length > 0 && file.writesRunning < WRITES_PER_FILE) {
      const chunk = file.waitingWrites.shift();
      if (chunk !== undefined) this.write(file, file.handle, chunk);
    }
  }

  private openStaging(file: IncomingFile): void {
    const { runner, root } = this.setup;
    this.stagingOpen++;
    runner.start(createStaging(root, file.staging), (opened) => {
      file.isOpening = false;
      if ("errno" in opened) {
        this.stagingOpen--;
        this.failFile(file, opened.errno);
      } else {
        file.isStaged = true;
        file.handle = opened.file;
        if (file.state === "closed") this.dropStaging(file);
        else {
          this.writeWaiting(file);
          this.finishIfWhole(file);
        }
      }
      this.pump();
    });
  }

  private write(file: IncomingFile, handle: number, chunk: VerifiedChunk): void {
    file.writesRunning++;
    const bytes = chunk.bytes.subarray(0, chunk.lengthBytes);
    this.setup.runner.start(writeAll(handle, chunk.index * CHUNK_BYTES, bytes), (errno) => {
      file.writesRunning--;
      this.pool.give(chunk.bytes);
      this.consumed += chunk.lengthBytes;
      if (file.state === "closed") this.dropStaging(file);
      else if (errno !== undefined) this.failFile(file, errno);
      else {
        file.have.add(chunk.index, chunk.index + 1);
        file.unjournaled.push({ index: chunk.index, contentHash: chunk.contentHash });
        file.unjournaledBytes += chunk.lengthBytes;
        this.writeWaiting(file);
        this.finishIfWhole(file);
      }
      this.pump();
    });
  }

  // The end of a file

  private finishIfWhole(file: IncomingFile): void {
    if (file.state !== "receiving" || file.root === undefined || !file.isWhole) return;
    if (file.handle === undefined) {
      // An empty file, or one whose chunks were all there: nothing was written yet.
      if (!file.isOpening) {
        file.isOpening = true;
        this.toOpen.add(file);
      }
      return;
    }
    const size = file.sizeBytes ?? 0;
    const root = file.forest.root(size);
    if (root === undefined || toHex(root) !== toHex(file.root)) {
      const text = `${printable(file.entry.path)} does not have the root its sender announced; nothing was kept`;
      this.refuseFile(file, "VERIFICATION_FAILED", text);
      return;
    }
    file.state = "finishing";
    this.setup.events.add({
      type: "file-verified",
      path: file.entry.path,
      sizeBytes: size,
      root: toHex(root),
    });
    const finished = {
      sizeBytes: size,
      mode: file.entry.mode & 0o777 & ~this.setup.umask,
      modifiedAtUs: clampTime(file.entry.modifiedAtUs),
    };
    this.setup.runner.start(finishStaging(file.handle, finished), (done) => {
      file.handle = undefined;
      this.stagingOpen--;
      if ("errno" in done) this.failFile(file, done.errno);
      else if (file.state !== "closed") this.publish(file, root);
      else this.dropStaging(file);
      this.pump();
    });
  }

  private publish(file: IncomingFile, root: Uint8Array): void {
    const { directory } = file;
    if (directory === undefined) return;
    file.state = "publishing";
    const { staging, replaces } = file;
    this.publisher.add(directory, { staging, final: file.path.components, replaces }, (errno) => {
      if (errno !== undefined) this.failFile(file, errno);
      else {
        file.state = "closed";
        this.files.delete(file.object);
        this.tally.files++;
        this.tally.bytes += file.sizeBytes ?? 0;
        this.setup.events.add({
          type: "file-committed",
          path: file.entry.path,
          sizeBytes: file.sizeBytes ?? 0,
          root: toHex(root),
        });
        this.answer(file.entry, { type: "committed", object: file.object, state: "committed", root });
      }
      this.pump();
    });
  }

  /** An operation on a file's staging failed. */
  private failFile(file: IncomingFile, errno: string): void {
    if (file.state === "closed") {
      this.dropStaging(file);
      return;
    }
    this.refuseFile(file, destinationErrorCode(errno), diskText(file.entry, errno));
  }

  private refuseFile(file: IncomingFile, code: ErrorCode, text: string): void {
    if (file.state === "closed") return;
    file.state = "closed";
    this.files.delete(file.object);
    this.consumed += file.discardOpen();
    for (const chunk of file.waitingWrites.splice(0)) {
      this.pool.give(chunk.bytes);
      this.consumed += chunk.lengthBytes;
    }
    this.toOpen.delete(file);
    this.dropStaging(file);
    this.refuse(file.entry, code, text);
  }

  /** Removes the staging file of a closed file, once nothing is running on it. */
  private dropStaging(file: IncomingFile): void {
    if (file.writesRunning > 0 || !file.isStaged) return;
    file.isStaged = false;
    const { handle } = file;
    if (handle !== undefined) this.stagingOpen--;
    file.handle = undefined;
    this.setup.runner.start(removeStaging(this.setup.root, file.staging, handle), () => this.pump());
  }

  private receiving(object: number): IncomingFile | undefined {
    const file = this.files.get(object);
    if (file === undefined && object >= this.nextObject) throw violation("a message about an unknown object");
    return file?.state === "receiving" ? file : undefined;
  }

  // Answers

  private refuseDisk(entry: EntryMessage, errno: string): void {
    this.refuse(entry, destinationErrorCode(errno), diskText(entry, errno));
  }

  private refuse(entry: EntryMessage, code: ErrorCode, text: string): void {
    this.tally.addFailure(entry.path, code, text);
    this.setup.events.add({ type: "file-failed", path: entry.path, code, text });
    this.answer(entry, { type: "refuse", object: entry.object, code, text });
  }

  private answer(_entry: EntryMessage, message: ControlMessage): void {
    this.openObjects--;
    this.setup.messages.add(message);
  }

  // The end of the transfer

  /** Stops receiving and cleans up. */
  stop(_code: ErrorCode | undefined): void {
    if (this.isStopped) return;
    this.isStopped = true;
    for (const file of this.files.values()) {
      file.state = "closed";
      this.consumed += file.discardOpen();
      this.dropStaging(file);
    }
    this.files.clear();
  }

  /** Whether stopping still needs the disk. */
  get isStopping(): boolean {
    return !this.publisher.isIdle;
  }

  private finishIfDone(): void {
    if (!this.isListComplete || this.openObjects > 0 || this.isFinishing || this.isStopped) return;
    this.isFinishing = true;
    this.sendResult();
  }

  private sendResult(): void {
    const outcome = this.tally.outcome();
    this.setup.messages.add({
      type: "result",
      code: outcome.code,
      text: outcome.text,
      committed: this.tally.completeEntries,
      failed: this.tally.failedEntries,
    });
    this.hasSentResult = true;
  }
}

function chunkBytes(file: IncomingFile, index: number): number {
  return file.sizeBytes === undefined
    ? CHUNK_BYTES
    : Math.min(CHUNK_BYTES, file.sizeBytes - index * CHUNK_BYTES);
}

/** Times before 1970 and after 2255 become the nearest that every file system can hold. */
function clampTime(timeUs: number | undefined): number | undefined {
  return timeUs === undefined ? undefined : Math.max(0, Math.min(timeUs, Number.MAX_SAFE_INTEGER));
}

function diskText(entry: EntryMessage, errno: string): string {
  return `cannot write ${printable(entry.path)}: ${errnoText(errno)}`;
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
