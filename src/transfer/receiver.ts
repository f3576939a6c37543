/**
 * The side that gets the files: decides about every entry, verifies every chunk and confirms what is
 * durable. Nothing is confirmed that would not survive a power cut. Disk: `staging-output.ts`.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import {
  CHUNK_BYTES,
  ENTRIES_AHEAD,
  MANIFEST_BYTES,
  MANIFEST_ENTRIES,
  RECEIVE_MEMORY_MAX_BYTES,
  REFETCH_RANGES,
  SUBTREES_PER_ACCEPT,
} from "../base/limits.ts";
import { formatBytes } from "../base/units.ts";
import type { EventQueue } from "../events/queue.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import type { EntryFacts, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { SafePath } from "../files/safe-path.ts";
import type { EntryFilter } from "../files/scan.ts";
import { isSafeLinkTarget, parseSafePath } from "../files/safe-path.ts";
import { pathKey, stagingPath } from "../files/staging-name.ts";
import type { DirectoryNode } from "./directory-tree.ts";
import { DirectoryTree } from "./directory-tree.ts";
import { IncomingFile } from "./incoming-file.ts";
import { JobJournal, openJob } from "./job-journal.ts";
import { discardJob, finishJob, saveJob } from "./job-end.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { ControlMessage } from "./messages.ts";
import type { TransferOptions } from "./transfer-options.ts";
import { NO_HASH } from "./messages.ts";
import { Publisher } from "./publisher.ts";
import type { FileDecision } from "./receive-policy.ts";
import { decideFile } from "./receive-policy.ts";
import type { ReceivingEngine } from "./receiving-engine.ts";
import { compareExisting, findEarlierState } from "./resume.ts";
import type { OutputOwner } from "./staging-output.ts";
import { StagingOutput } from "./staging-output.ts";
import { DurableEntries } from "./receipt.ts";
import { keepsState, Tally } from "./tally.ts";

/** Bytes of an entry message without its texts: length, type, number, kind, flags, size, mode, time, token. */
const ENTRY_FIXED_BYTES = 40;

/** Entries being looked at on the disk at once. */
const PREPARING_AT_ONCE = 32;

/** Entries offered before the first is accepted although the list is not complete: space is checked over them. */
const ENTRIES_BEFORE_DATA = 1_000;

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
  /** Name of the job, for staging files, journal and lock. */
  readonly job: string;
  /** Whether an entry was asked for; absent: the sender chooses, as in a push. */
  readonly isRequested?: EntryFilter | undefined;
  /** Called when everything is durable, before the result is said. */
  readonly giveReceipt?: ((tally: Tally) => void) | undefined;
}

/** Receives one transfer. */
export class Receiver implements ReceivingEngine, OutputOwner {
  private readonly setup: ReceiverSetup;
  readonly tally: Tally;
  private readonly pool = new ChunkPool(RECEIVE_MEMORY_MAX_BYTES + POOL_SLACK_BYTES);
  private readonly directories: DirectoryTree;
  private readonly output: StagingOutput;
  private journal: JobJournal | undefined;
  /** Files that were accepted, or will be, and have no answer yet. */
  private readonly files = new Map<number, IncomingFile>();
  private openObjects = 0;
  private nextObject = 0;
  private readonly toPrepare: { readonly entry: EntryMessage; readonly path: SafePath }[] = [];
  private toPrepareHead = 0;
  private preparing = 0;
  /** Prepared files that wait for the check of free space. */
  private toAccept: IncomingFile[] = [];
  private gate: "closed" | "checking" | "open" = "closed";
  private isBegun = false;
  private isListComplete = false;
  private isSpaceChecked = false;
  private offeredBytes = 0;
  private skippedEntries = 0;
  private manifestBytes = 0;
  private consumed = 0;
  private verifiedBytes = 0;
  unwrittenBytes = 0;
  private ending: "no" | "finishing" | "confirming" | "waiting" | "cleaning" | "done" = "no";
  private endCode: ErrorCode | undefined;
  private isStopped = false;
  /** All entries have an answer and the result was sent. */
  hasSentResult = false;
  /** The sender will send no more. */
  isFinished = false;
  /** A failure that ends the whole transfer. */
  fatal: GodwitError | undefined;

  constructor(setup: ReceiverSetup) {
    this.setup = setup;
    this.tally = new Tally(new DurableEntries(setup.hash));
    const { runner, root } = setup;
    this.directories = new DirectoryTree(runner, root, setup.hash);
    const publisher = new Publisher(runner, root, this.directories);
    this.publisher = publisher;
    this.output = new StagingOutput(runner, root, this.pool, publisher, this);
    this.begin();
  }

  private readonly publisher: Publisher;

  /** Bytes offered so far. */
  get totalBytes(): number {
    return this.offeredBytes;
  }

  /** Whether everything was offered. */
  get isTotalKnown(): boolean {
    return this.isListComplete;
  }

  /** Entries offered so far that are files. */
  get totalFiles(): number {
    return this.nextObject - this.directories.directoryCount - this.directories.linkCount;
  }

  /** Bytes verified so far, those of earlier runs included. */
  get progressBytes(): number {
    return this.verifiedBytes + this.tally.resumedBytes;
  }

  /** Bytes received that need no more memory, since the last call: the transport may let as many in. */
  takeConsumedBytes(): number {
    const written = this.output.takeConsumedBytes();
    this.unwrittenBytes -= written;
    const consumed = this.consumed + written;
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
        this.handleEntriesEnd(message.entries, message.totalBytes);
        break;
      case "skipped":
        this.handleSkipped(message);
        break;
      case "chunk-hashes": {
        const file = this.receiving(message.object);
        // While contents are compared, only the root counts.
        if (file === undefined || file.comparison === "running") break;
        file.handleHashes(message.firstChunk, message.hashes);
        message.hashes.forEach((_, i) => this.verify(file, message.firstChunk + i));
        break;
      }
      case "root": {
        const file = this.receiving(message.object);
        if (file === undefined) break;
        file.handleRoot(message.sizeBytes, message.root);
        if (file.comparison === "running") this.compare(file);
        else {
          for (const index of file.openChunks()) this.verify(file, index);
          this.handleWritten(file);
        }
        break;
      }
      case "zero-chunks": {
        const file = this.receiving(message.object);
        if (file !== undefined) this.handleZeros(file, message.firstChunk, message.count);
        break;
      }
      case "source-failed": {
        const file = this.receiving(message.object);
        if (file !== undefined) this.refuseFile(file, message.code, message.text);
        break;
      }
      case "finished":
        if (!this.hasSentResult) throw violation("an end before the result");
        this.closeJob(false);
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
      for (let index = Math.floor(offset / CHUNK_BYTES); index <= last; index++) {
        if (!file.isReadyToVerify(index)) continue;
        this.verify(file, index);
        this.pump();
      }
    }
    return added;
  }

  // The beginning

  private begin(): void {
    const { runner, root, hash, job, options, events } = this.setup;
    if (options.dryRun) {
      this.isBegun = true;
      return;
    }
    runner.start(openJob(root, hash, job), (opened) => {
      if ("errno" in opened) {
        const code = opened.isLocked ? "LOCKED" : destinationErrorCode(opened.errno);
        const text = opened.isLocked
          ? "another process is receiving the same files here; wait for it to end"
          : `cannot write in the destination: ${errnoText(opened.errno)}`;
        this.fatal = new GodwitError(code, text);
        this.ending = "done";
        return;
      }
      const { damage } = opened.contents;
      if (damage !== undefined) events.add({ type: "state-ignored", reason: damage });
      this.journal = new JobJournal(runner, root, hash, job, opened);
      this.output.journal = this.journal;
      this.directories.adoptsPrivate = opened.isResumed;
      this.directories.ignoresCase = opened.ignoresCase;
      this.isBegun = true;
      this.pump();
    });
  }

  // Entries

  private handleEntry(entry: EntryMessage): void {
    if (this.isListComplete || entry.object !== this.nextObject) throw violation("an entry out of order");
    this.nextObject++;
    this.openObjects++;
    if (this.openObjects > ENTRIES_AHEAD || this.nextObject > MANIFEST_ENTRIES)
      throw new GodwitError("OVER_LIMIT", "the sender offered more entries than this side takes");
    this.manifestBytes += entry.path.length + entry.target.length + ENTRY_FIXED_BYTES;
    if (this.manifestBytes > MANIFEST_BYTES)
      throw new GodwitError("OVER_LIMIT", "the sender's list of entries is longer than this side takes");
    this.offeredBytes += entry.sizeBytes ?? 0;
    if (!Number.isSafeInteger(this.offeredBytes))
      throw new GodwitError("OVER_LIMIT", "the sender offered more bytes than can be counted");
    let path: SafePath;
    try {
      const prefix = this.setup.destination;
      const relative = parseSafePath(entry.path);
      if (this.setup.isRequested?.(relative.components, entry.kind === "directory") === false)
        throw violation("an entry that was not asked for");
      path = prefix === undefined ? relative : parseSafePath(`${prefix.text}/${relative.text}`);
      if (entry.kind === "symlink" && !this.setup.options.links)
        throw new GodwitError(
          "DECLINED",
          `refused the link ${printable(entry.path)}: links were not asked for`,
        );
      if (entry.kind === "symlink" && !isSafeLinkTarget(relative, entry.target))
        throw new GodwitError(
          "UNSAFE_NAME",
          `refused the link ${printable(entry.path)}: it points out of the tree, to ${printable(entry.target)}`,
        );
    } catch (error) {
      if (!(error instanceof GodwitError) || error.code === "PROTOCOL_VIOLATION") throw error;
      this.refuse(entry, error.code, error.message);
      return;
    }
    this.toPrepare.push({ entry, path });
  }

  private handleEntriesEnd(entries: number, totalBytes: number): void {
    if (this.isListComplete || entries !== this.nextObject || totalBytes !== this.offeredBytes)
      throw violation("a wrong end of the list of entries");
    this.isListComplete = true;
    const { directoryCount, linkCount } = this.directories;
    this.setup.events.add({
      type: "manifest-completed",
      files: this.nextObject - directoryCount - linkCount,
      directories: directoryCount,
      links: linkCount,
      totalBytes: this.offeredBytes,
    });
  }

  private handleSkipped(message: ControlMessage & { type: "skipped" }): void {
    const { path, code, text, isFailure } = message;
    if (++this.skippedEntries > MANIFEST_ENTRIES)
      throw new GodwitError("OVER_LIMIT", "the sender skipped more entries than a transfer may have");
    if (isFailure) {
      this.tally.addFailure(path, code, text);
      this.setup.events.add({ type: "file-failed", path, code, text });
    } else {
      this.tally.skippedEntries++;
      this.setup.events.add({ type: "file-skipped", path, reason: text });
    }
  }

  /** Does what can be done now. */
  private pump(): void {
    if (this.ending !== "no" || this.fatal !== undefined || !this.isBegun) return;
    while (this.toPrepareHead < this.toPrepare.length && this.preparing < PREPARING_AT_ONCE) {
      const { entry, path } = this.toPrepare[this.toPrepareHead++];
      if (this.toPrepareHead === this.toPrepare.length) {
        this.toPrepare.length = 0;
        this.toPrepareHead = 0;
      }
      this.prepare(entry, path);
    }
    this.checkSpace();
    if (this.gate === "open") this.acceptAll();
    this.output.pump();
    this.finishIfDone();
  }

  private get isPreparing(): boolean {
    return this.preparing > 0 || this.toPrepare.length > 0;
  }

  private prepare(entry: EntryMessage, path: SafePath): void {
    const isDirectory = entry.kind === "directory";
    try {
      this.directories.claim(path, entry.kind);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.refuse(entry, error.code, error.message);
      return;
    }
    if (this.setup.options.dryRun) {
      this.plan(entry, path);
      return;
    }
    this.preparing++;
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

  /** A dry run: says what would be done. */
  private plan(entry: EntryMessage, path: SafePath): void {
    const { runner, root, events, options } = this.setup;
    this.preparing++;
    runner.start(ask({ kind: "lstat", root, path: path.components }), (looked) => {
      this.preparing--;
      const decision: FileDecision =
        entry.kind === "file"
          ? decideFile(entry, looked.ok ? looked.facts : undefined, options)
          : { type: "take", replaces: false };
      if (decision.type === "refuse") this.refuse(entry, decision.code, decision.text);
      else if (decision.type === "unchanged") this.answerUnchanged(entry);
      else {
        this.tally.plannedEntries++;
        const { sizeBytes } = entry;
        if (entry.kind === "file")
          events.add({ type: "file-planned", path: entry.path, sizeBytes, replaces: decision.replaces });
        const state = decision.replaces ? "replacing" : "planned";
        this.answer({ type: "committed", object: entry.object, state, root: NO_HASH });
      }
      this.pump();
    });
  }

  private acceptDirectory(entry: EntryMessage, node: DirectoryNode): void {
    if (node.isMade) {
      // At least 0700, so that what is in it can be reached and replaced later.
      node.mode = (entry.mode & 0o777 & ~this.setup.umask) | 0o700;
      node.modifiedAtUs = clampTime(entry.modifiedAtUs);
    }
    this.confirmEntry(entry, node.parent ?? node, () => this.tally.directories++);
  }

  private prepareLink(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root } = this.setup;
    const { target } = entry;
    runner.start(ask({ kind: "make-symlink", root, path: path.components, target }), (made) => {
      if (made.ok) node.isDirty = true;
      if (made.ok || made.errno !== "EEXIST") {
        this.preparing--;
        if (made.ok) this.confirmEntry(entry, node, () => this.tally.links++);
        else this.refuseDisk(entry, made.errno);
        this.pump();
        return;
      }
      // The same link is there already: nothing to do, whatever the options.
      runner.start(ask({ kind: "read-link", root, path: path.components }), (link) => {
        this.preparing--;
        if (link.ok && link.target === target) this.confirmEntry(entry, node, () => this.tally.links++);
        else this.refuseDisk(entry, "EEXIST");
        this.pump();
      });
    });
  }

  /** Confirms an entry without contents once its name is durable. */
  private confirmEntry(entry: EntryMessage, directory: DirectoryNode, count: () => void): void {
    this.publisher.add(directory, undefined, (errno) => {
      if (errno === undefined) {
        count();
        this.tally.durable?.add(entry, 0, NO_HASH);
        this.answer({ type: "committed", object: entry.object, state: "committed", root: NO_HASH });
      } else this.refuseDisk(entry, errno);
      this.pump();
    });
  }

  private prepareFile(entry: EntryMessage, path: SafePath, node: DirectoryNode): void {
    const { runner, root } = this.setup;
    runner.start(ask({ kind: "lstat", root, path: path.components }), (looked) => {
      if (!looked.ok && looked.errno !== "ENOENT") {
        this.preparing--;
        this.refuseDisk(entry, looked.errno);
      } else this.decide(entry, path, node, looked.ok ? looked.facts : undefined);
      this.pump();
    });
  }

  private decide(
    entry: EntryMessage,
    path: SafePath,
    node: DirectoryNode,
    existing: EntryFacts | undefined,
  ): void {
    const { hash, job, options, root, runner, events } = this.setup;
    const key = pathKey(hash, path.text);
    const intent = this.journal?.contents.intents.get(toHex(key));
    const file = new IncomingFile(hash, this.pool, entry, path, key, stagingPath(job, path.components, key));
    if (
      intent !== undefined &&
      existing?.kind === "file" &&
      existing.identity === intent.identity &&
      existing.sizeBytes === intent.sizeBytes &&
      equalBytes(intent.token, entry.token)
    ) {
      // An earlier run gave it its name and broke off before it could say so.
      this.preparing--;
      this.confirmEarlier(file, node, intent.root);
      return;
    }
    const decision = decideFile(entry, existing, options);
    if (decision.type !== "take") {
      this.preparing--;
      if (decision.type === "refuse") this.refuse(entry, decision.code, decision.text);
      else this.confirmUnchanged(entry, node);
      return;
    }
    file.directory = node;
    file.replaces = decision.replaces;
    file.isSparse = options.sparse && entry.sizeBytes !== undefined;
    const journaled = this.journal?.contents.files.get(toHex(key));
    if (
      options.update &&
      options.checksum &&
      existing !== undefined &&
      existing.sizeBytes === entry.sizeBytes
    )
      file.comparison = "running";
    if (journaled === undefined || file.comparison === "running") {
      this.preparing--;
      this.toAccept.push(file);
      return;
    }
    runner.start(findEarlierState(root, file, journaled), (state) => {
      this.preparing--;
      if (typeof state === "string") {
        this.journal?.addForget(key);
        events.add({ type: "file-restarted", path: entry.path, reason: state });
      } else this.resumeFile(file, state.isClean);
      this.toAccept.push(file);
      this.pump();
    });
  }

  private resumeFile(file: IncomingFile, isClean: boolean): void {
    const journaled = this.journal?.contents.files.get(toHex(file.key));
    if (journaled === undefined || journaled.forest.subtreeCount > SUBTREES_PER_ACCEPT) return;
    file.resume(journaled);
    file.needsLook = !isClean;
    file.isStaged = true;
    this.tally.resumedBytes += file.haveBytes;
    this.setup.events.add({
      type: "transfer-resumed",
      path: file.entry.path,
      haveBytes: file.haveBytes,
      totalBytes: file.sizeBytes ?? 0,
      isWhole: file.isWhole,
    });
  }

  private confirmEarlier(file: IncomingFile, node: DirectoryNode, root: Uint8Array): void {
    const sizeBytes = file.sizeBytes ?? 0;
    this.tally.resumedBytes += sizeBytes;
    const { path } = file.entry;
    this.setup.events.add({
      type: "transfer-resumed",
      path,
      haveBytes: sizeBytes,
      totalBytes: sizeBytes,
      isWhole: true,
    });
    // Its second name may still be there, and the directory may not be durable.
    const { runner, root: handle } = this.setup;
    node.isDirty = true;
    runner.start(ask({ kind: "unlink", root: handle, path: file.staging }), () => {
      this.publisher.add(node, undefined, (errno) => {
        if (errno === undefined) {
          this.countCommitted(file, root);
          this.answer({ type: "committed", object: file.object, state: "committed", root });
        } else this.refuseDisk(file.entry, errno);
        this.pump();
      });
    });
  }

  // Acceptance

  /** Opens the gate for data once it is known that the list so far fits, and checks the whole list once. */
  private checkSpace(): void {
    if (this.isSpaceChecked || this.gate === "checking" || this.isPreparing) return;
    if (!this.isListComplete && (this.gate === "open" || this.nextObject < ENTRIES_BEFORE_DATA)) return;
    const isWholeList = this.isListComplete;
    const { runner, root } = this.setup;
    let neededBytes = 0;
    for (const file of [...this.files.values(), ...this.toAccept])
      neededBytes += Math.max(0, (file.sizeBytes ?? 0) - file.haveBytes);
    // How much of a sparse file is holes is known only when it was read.
    if (neededBytes === 0 || this.setup.options.sparse) {
      this.isSpaceChecked = isWholeList;
      this.gate = "open";
      return;
    }
    this.gate = "checking";
    runner.start(ask({ kind: "free-space", root }), (space) => {
      this.gate = "open";
      this.isSpaceChecked = isWholeList;
      // A file system that cannot tell is no reason to refuse.
      if (space.ok && space.freeBytes < neededBytes) {
        const text = `disk full at the receiver: needs ${formatBytes(neededBytes)}, ${formatBytes(space.freeBytes)} free, ${formatBytes(neededBytes - space.freeBytes)} missing; free space and run the same command again`;
        this.fatal = new GodwitError("NO_SPACE", text);
        return;
      }
      this.pump();
    });
  }

  private acceptAll(): void {
    const accepted = this.toAccept;
    if (accepted.length === 0) return;
    this.toAccept = [];
    for (const file of accepted) {
      this.files.set(file.object, file);
      file.state = "receiving";
      this.setup.messages.add({
        type: "accept",
        object: file.object,
        mode: file.comparison === "running" ? "hashes" : "data",
        have: file.forest.subtrees(),
      });
      this.setup.events.add({ type: "file-started", path: file.entry.path, sizeBytes: file.sizeBytes });
      if (file.needsLook) this.output.prepare(file);
    }
  }

  // Contents

  private verify(file: IncomingFile, index: number): void {
    if (file.state !== "receiving") return;
    let isBad = false;
    try {
      const chunk = file.verifyChunk(index, () => (isBad = true));
      if (chunk !== undefined) {
        this.verifiedBytes += chunk.lengthBytes;
        const { path } = file.entry;
        const { lengthBytes } = chunk;
        this.setup.events.add({ type: "chunk-verified", path, offset: index * CHUNK_BYTES, lengthBytes });
        this.unwrittenBytes += chunk.lengthBytes;
        this.output.add(file, chunk);
      }
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.consumed += chunkBytes(file, index);
      this.refuseFile(file, error.code, `${printable(file.entry.path)}: ${error.message}`);
      return;
    }
    if (!isBad) return;
    this.consumed += chunkBytes(file, index);
    this.refetch(file, [index], "the chunk did not match its hash");
  }

  private handleZeros(file: IncomingFile, firstChunk: number, count: number): void {
    if (!file.isSparse) throw violation("chunks of zeros that were not asked for");
    if (file.resumed !== undefined) {
      // The staging file of an earlier run may hold anything there: zeros have to be written.
      this.setup.messages.add({
        type: "refetch",
        object: file.object,
        ranges: [[firstChunk, firstChunk + count]],
      });
      return;
    }
    this.verifiedBytes += file.addZeros(firstChunk, count, (lengthBytes) => this.hashOfZeros(lengthBytes));
    this.handleWritten(file);
  }

  private hashOfZeros(lengthBytes: number): Uint8Array {
    let known = this.zeroHashes.get(lengthBytes);
    if (known === undefined) {
      known = this.setup.hash(new Uint8Array(lengthBytes));
      // One for whole chunks and one for the last of each open file.
      if (this.zeroHashes.size > ENTRIES_AHEAD) this.zeroHashes.clear();
      this.zeroHashes.set(lengthBytes, known);
    }
    return known;
  }

  private readonly zeroHashes = new Map<number, Uint8Array>();

  handleDamaged(
    file: IncomingFile,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void {
    for (const { index, contentHash } of chunks) file.distrust(index, contentHash);
    this.refetch(
      file,
      chunks.map(({ index }) => index),
      "the chunk on disk is not what was verified",
    );
  }

  private refetch(file: IncomingFile, indexes: readonly number[], reason: string): void {
    const ranges: [number, number][] = [];
    for (const index of indexes) {
      const last = ranges.at(-1);
      if (last !== undefined && last[1] === index) last[1]++;
      else ranges.push([index, index + 1]);
      this.setup.events.add({
        type: "chunk-refetched",
        path: file.entry.path,
        offset: index * CHUNK_BYTES,
        reason,
      });
    }
    for (let at = 0; at < ranges.length; at += REFETCH_RANGES)
      this.setup.messages.add({
        type: "refetch",
        object: file.object,
        ranges: ranges.slice(at, at + REFETCH_RANGES),
      });
  }

  /** The sender's root is known: is the existing file the same? */
  private compare(file: IncomingFile): void {
    const { runner, root, hash } = this.setup;
    runner.start(compareExisting(root, file, hash), (isSame) => {
      file.comparison = "different";
      if (file.state !== "receiving") return;
      if (isSame) {
        file.state = "closed";
        this.files.delete(file.object);
        if (file.directory === undefined) this.answerUnchanged(file.entry);
        else this.confirmUnchanged(file.entry, file.directory);
      } else if (file.chunkCount === 0) this.handleWritten(file);
      else this.setup.messages.add({ type: "refetch", object: file.object, ranges: [[0, file.chunkCount]] });
      this.pump();
    });
  }

  handleWritten(file: IncomingFile): void {
    if (file.state !== "receiving" || file.root === undefined || !file.isWhole) return;
    if (file.comparison === "running") return;
    // An empty file, or one whose chunks were all there, has no place yet.
    if (!this.output.prepare(file)) return;
    if (file.needsLook || file.isLooking || file.isCheckpointing || file.writesRunning > 0) return;
    const size = file.sizeBytes ?? 0;
    const root = file.forest.root(size);
    if (root === undefined || !equalBytes(root, file.root)) {
      const text = `${printable(file.entry.path)} does not have the root its sender announced; nothing was kept`;
      this.refuseFile(file, "VERIFICATION_FAILED", text);
      return;
    }
    file.state = "finishing";
    const { path, mode, modifiedAtUs } = file.entry;
    this.setup.events.add({ type: "file-verified", path, sizeBytes: size, root: toHex(root) });
    this.output.finish(file, root, mode & 0o777 & ~this.setup.umask, clampTime(modifiedAtUs));
  }

  handlePublished(file: IncomingFile, root: Uint8Array): void {
    file.state = "closed";
    this.files.delete(file.object);
    this.countCommitted(file, root);
    this.answer({ type: "committed", object: file.object, state: "committed", root });
  }

  handleProgress(): void {
    this.pump();
  }

  handleFileFailed(file: IncomingFile, errno: string): void {
    if (file.state === "closed") {
      this.output.drop(file);
      return;
    }
    const code = destinationErrorCode(errno);
    const text = diskText(file.entry, errno);
    if (code === "NO_SPACE" || code === "FILE_TOO_LARGE") {
      // What is verified stays: the same command goes on when there is room.
      this.fatal ??= new GodwitError(code, `${text}; make room and run the same command to resume`, {
        path: file.entry.path,
      });
      return;
    }
    this.refuseFile(file, code, text);
  }

  private countCommitted(file: IncomingFile, root: Uint8Array): void {
    const sizeBytes = file.sizeBytes ?? 0;
    this.tally.files++;
    this.tally.bytes += sizeBytes;
    this.tally.durable?.add(file.entry, sizeBytes, root);
    this.setup.events.add({ type: "file-committed", path: file.entry.path, sizeBytes, root: toHex(root) });
  }

  private refuseFile(file: IncomingFile, code: ErrorCode, text: string): void {
    if (file.state === "closed") return;
    file.state = "closed";
    this.files.delete(file.object);
    this.consumed += file.discardOpen();
    // Nothing of it stays: not on the disk, not in the journal.
    if (file.resumed !== undefined || file.isJournaled) this.journal?.addForget(file.key);
    this.output.drop(file);
    this.refuse(file.entry, code, text);
    this.pump();
  }

  private receiving(object: number): IncomingFile | undefined {
    const file = this.files.get(object);
    if (file === undefined && object >= this.nextObject) throw violation("a message about an unknown object");
    return file?.state === "receiving" ? file : undefined;
  }

  // Answers

  private refuseDisk(entry: EntryMessage, errno: string): void {
    const code = destinationErrorCode(errno);
    if (code === "NO_SPACE")
      this.fatal ??= new GodwitError(code, diskText(entry, errno), { path: entry.path });
    else this.refuse(entry, code, diskText(entry, errno));
  }

  private refuse(entry: EntryMessage, code: ErrorCode, text: string): void {
    this.tally.addFailure(entry.path, code, text);
    this.setup.events.add({ type: "file-failed", path: entry.path, code, text });
    this.answer({ type: "refuse", object: entry.object, code, text });
  }

  /** The file is there already: it counts once its name is durable, whoever made it. */
  private confirmUnchanged(entry: EntryMessage, node: DirectoryNode): void {
    this.publisher.add(node, undefined, (errno) => {
      if (errno === undefined) this.answerUnchanged(entry);
      else this.refuseDisk(entry, errno);
      this.pump();
    });
  }

  private answerUnchanged(entry: EntryMessage): void {
    this.tally.unchangedFiles++;
    this.setup.events.add({ type: "file-skipped", path: entry.path, reason: "unchanged" });
    this.answer({ type: "committed", object: entry.object, state: "unchanged", root: NO_HASH });
  }

  private answer(message: ControlMessage): void {
    this.openObjects--;
    this.setup.messages.add(message);
  }

  // The end

  private finishIfDone(): void {
    if (!this.isListComplete || this.openObjects > 0) return;
    this.ending = "finishing";
    const { runner, root } = this.setup;
    // The journal may still be writing what nobody waits for.
    const go = (): void => {
      runner.start(finishJob(root, this.directories), () => this.sendResult());
    };
    if (this.journal === undefined) go();
    else this.journal.flush(go);
  }

  /** The job is complete; its journal stays until the sender knows, or the same command could not tell. */
  private sendResult(): void {
    this.ending = "confirming";
    const outcome = this.tally.outcome();
    this.setup.giveReceipt?.(this.tally);
    this.setup.messages.add({
      type: "result",
      code: outcome.code,
      text: outcome.text,
      committed: this.tally.completeEntries,
      failed: this.tally.failedEntries,
    });
    this.hasSentResult = true;
    if (this.isStopped) this.closeJob(true);
  }

  /** The sender knows the result, or will never ask again: journal and lock go, or the journal is kept. */
  private closeJob(keeps: boolean): void {
    if (this.ending !== "confirming") return;
    this.ending = "cleaning";
    const onClosed = (): void => {
      this.ending = "done";
      this.isFinished = true;
    };
    if (this.journal === undefined) onClosed();
    else this.setup.runner.start(this.journal.close(keeps && this.journal.hasState), onClosed);
  }

  /** Stops receiving. What happens to what is there depends on `code`; `continueStop` does it. */
  stop(code: ErrorCode | undefined): void {
    this.endCode = code;
    this.isStopped = true;
    if (this.ending === "no") this.ending = "waiting";
    this.closeJob(!this.isResultKnown);
  }

  /** The connection ended in order after the result: the sender has it. */
  isResultKnown = false;

  /** Whether stopping still needs the disk. */
  get isStopping(): boolean {
    return this.ending !== "done";
  }

  /** Goes on with stopping; called when no operation is running. */
  continueStop(): void {
    if (this.ending !== "waiting") return;
    this.ending = "cleaning";
    const { runner, root } = this.setup;
    const files = [...this.files.values(), ...this.toAccept];
    for (const file of files) this.consumed += file.discardOpen();
    const keeps = this.endCode === undefined || keepsState(this.endCode);
    const work = keeps
      ? saveJob(files, this.output, this.journal)
      : discardJob(root, files, this.directories, this.journal);
    runner.start(work, () => {
      this.ending = "done";
    });
  }
}

function chunkBytes(file: IncomingFile, index: number): number {
  return file.sizeBytes === undefined
    ? CHUNK_BYTES
    : Math.min(CHUNK_BYTES, file.sizeBytes - index * CHUNK_BYTES);
}

/** Times before 1970 and beyond what numbers hold become the nearest that every file system can hold. */
function clampTime(timeUs: number | undefined): number | undefined {
  return timeUs === undefined ? undefined : Math.max(0, Math.min(timeUs, TIME_MAX_US));
}

/** 2106-02-07, the last second of 32 bits without a sign: the earliest end among file systems in use. */
const TIME_MAX_US = 4_294_967_295_000_000;

function diskText(entry: EntryMessage, errno: string): string {
  return `cannot write ${printable(entry.path)}: ${errnoText(errno)}`;
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
