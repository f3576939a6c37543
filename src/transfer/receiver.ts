/**
 * The side that gets the files: decides about every entry, verifies every chunk and confirms what is
 * durable. Nothing is confirmed that would not survive a power cut. Disk: `staging-output.ts`.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_BYTES, ENTRIES_AHEAD, RECEIVE_MEMORY_MAX_BYTES } from "../base/limits.ts";
import type { EventQueue } from "../events/queue.ts";
import type { MemoryLimit } from "../files/chunk-pool.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import type { RootHandle } from "../files/disk.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { SafePath } from "../files/safe-path.ts";
import type { EntryFilter } from "../files/scan.ts";
import type { PieceRun } from "../transport/objects.ts";
import { ChunkIntake } from "./chunk-intake.ts";
import { DirectoryTree } from "./directory-tree.ts";
import { EntryList } from "./entry-list.ts";
import { EntryPreparation } from "./entry-preparation.ts";
import { diskText, EntryVerdicts } from "./entry-verdicts.ts";
import type { IncomingFile } from "./incoming-file.ts";
import { JobJournal, openJob } from "./job-journal.ts";
import { discardJob, finishJob, saveJob } from "./job-end.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { TransferOptions } from "./transfer-options.ts";
import type { ControlMessage } from "./messages.ts";
import { Publisher } from "./publisher.ts";
import { clampTime } from "./receive-policy.ts";
import type { ReceivingEngine } from "./receiving-engine.ts";
import type { RelayNode } from "./relay/relay-node.ts";
import type { ChunkTaker } from "./relay/wanted-files.ts";
import { compareExisting } from "./resume.ts";
import { SpaceCheck } from "./space-check.ts";
import type { OutputOwner } from "./staging-output.ts";
import { StagingOutput } from "./staging-output.ts";
import type { Tally } from "./tally.ts";
import { keepsState } from "./tally.ts";

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
  /** Memory for chunks; as much as the largest window unless given. */
  readonly memory?: MemoryLimit | undefined;
  /** Permission bits that are never given. */
  readonly umask: number;
  /** Name of the job, for staging files, journal and lock. */
  readonly job: string;
  /** Whether an entry was asked for; absent: the sender chooses, as in a push. */
  readonly isRequested?: EntryFilter | undefined;
  /** Its part in what receivers exchange, when there is one. */
  readonly relay?: RelayNode | undefined;
  /** Called when everything is durable, before the result is said. */
  readonly giveReceipt?: ((tally: Tally) => void) | undefined;
}

/** Receives one transfer. */
export class Receiver implements ReceivingEngine, OutputOwner, ChunkTaker {
  private readonly setup: ReceiverSetup;
  readonly tally: Tally;
  private readonly pool: ChunkPool;
  private readonly directories: DirectoryTree;
  private readonly output: StagingOutput;
  private journal: JobJournal | undefined;
  /** Files that were accepted, or will be, and have no answer yet. */
  private readonly files = new Map<number, IncomingFile>();
  /** Prepared files that wait for the check of free space. */
  private toAccept: IncomingFile[] = [];
  /** Prepared files whose contents are compared first: that moves no data and waits for no space. */
  private toCompare: IncomingFile[] = [];
  private readonly list = new EntryList();
  private readonly verdicts: EntryVerdicts;
  private readonly preparation: EntryPreparation;
  private readonly space: SpaceCheck;
  private readonly intake: ChunkIntake;
  private isBegun = false;
  private ending: "no" | "finishing" | "confirming" | "waiting" | "cleaning" | "done" = "no";
  private endCode: ErrorCode | undefined;
  private isStopped = false;
  /** All entries have an answer and the result was sent. */
  hasSentResult = false;
  /** The sender will send no more. */
  isFinished = false;

  constructor(setup: ReceiverSetup) {
    this.setup = setup;
    const { runner, root, hash, messages, events } = setup;
    this.pool = new ChunkPool(setup.memory ?? RECEIVE_MEMORY_MAX_BYTES + POOL_SLACK_BYTES);
    this.verdicts = new EntryVerdicts(hash, messages, events);
    this.tally = this.verdicts.tally;
    this.directories = new DirectoryTree(runner, root, hash);
    this.space = new SpaceCheck(runner, root);
    const publisher = new Publisher(runner, root, this.directories);
    this.preparation = new EntryPreparation({
      ...setup,
      pool: this.pool,
      directories: this.directories,
      publisher,
      verdicts: this.verdicts,
      onFile: (file) => (file.comparison === "running" ? this.toCompare : this.toAccept).push(file),
      onProgress: () => this.pump(),
    });
    this.output = new StagingOutput(runner, root, this.pool, publisher, this);
    this.intake = new ChunkIntake({
      hash,
      messages,
      events,
      output: this.output,
      onRefused: (file, code, text) => this.refuseFile(file, code, text),
      onWritten: (file) => this.handleWritten(file),
    });
    this.begin();
  }

  /** Verified bytes in memory that wait for the disk. */
  get unwrittenBytes(): number {
    return this.intake.unwrittenBytes;
  }

  /** A failure that ends the whole transfer. */
  get fatal(): GodwitError | undefined {
    return this.verdicts.fatal;
  }

  /** Entries offered that have no answer. */
  private get openEntries(): number {
    return this.list.entries - this.verdicts.answered;
  }

  /** Bytes offered so far. */
  get totalBytes(): number {
    return this.list.totalBytes;
  }

  /** Whether everything was offered. */
  get isTotalKnown(): boolean {
    return this.list.isComplete;
  }

  /** Entries offered so far that are files. */
  get totalFiles(): number {
    return this.list.entries - this.directories.directoryCount - this.directories.linkCount;
  }

  /** Bytes verified so far, those of earlier runs included. */
  get progressBytes(): number {
    return this.intake.verifiedBytes + this.tally.resumedBytes;
  }

  /** Bytes received that need no more memory, since the last call: the transport may let as many in. */
  takeConsumedBytes(): number {
    return this.intake.takeConsumedBytes();
  }

  /** Takes a message of the sender. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage): void {
    switch (message.type) {
      case "entry":
        this.list.add(message, this.openEntries);
        this.preparation.add(message);
        break;
      case "entries-end":
        this.handleEntriesEnd(message.entries, message.totalBytes);
        break;
      case "totals":
        this.list.announce(message.totalBytes);
        break;
      case "skipped":
        this.handleSkipped(message);
        break;
      case "chunk-hashes": {
        const file = this.receiving(message.object);
        // While contents are compared, only the root counts.
        if (file === undefined || file.comparison === "running") break;
        file.handleHashes(message.firstChunk, message.hashes);
        message.hashes.forEach((_, i) => this.intake.verify(file, message.firstChunk + i));
        break;
      }
      case "root": {
        const file = this.receiving(message.object);
        if (file === undefined) break;
        file.handleRoot(message.sizeBytes, message.root);
        if (file.comparison === "running") this.compare(file);
        else {
          for (const index of file.openChunks()) this.intake.verify(file, index);
          this.handleWritten(file);
        }
        break;
      }
      case "zero-chunks": {
        const file = this.receiving(message.object);
        if (file !== undefined) this.intake.handleZeros(file, message.firstChunk, message.count);
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
    const file = this.receivingFile(object);
    if (file === undefined) return 0;
    const added = file.handlePiece(offset, bytes, from, lengthBytes);
    if (added > 0) this.verifyChunks(file, offset, lengthBytes);
    return added;
  }

  handlePieces(run: PieceRun): number {
    const file = this.receivingFile(run.object);
    if (file === undefined) return 0;
    const added = file.handlePieces(run);
    if (added > 0) this.verifyChunks(file, run.offset, run.lengthBytes);
    return added;
  }

  /** The file that takes data of `object`; `undefined` when it does not any more. @throws GodwitError PROTOCOL_VIOLATION */
  private receivingFile(object: number): IncomingFile | undefined {
    const file = this.files.get(object);
    if (file?.state === "receiving") return file;
    if (object >= this.list.entries || file?.state === "preparing")
      throw violation("file data that was not accepted");
    return undefined;
  }

  private verifyChunks(file: IncomingFile, offset: number, lengthBytes: number): void {
    const last = Math.floor((offset + lengthBytes - 1) / CHUNK_BYTES);
    for (let index = Math.floor(offset / CHUNK_BYTES); index <= last; index++) {
      if (!file.isReadyToVerify(index)) continue;
      this.intake.verify(file, index);
      this.pump();
    }
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
        this.verdicts.fatal = new GodwitError(code, text);
        this.ending = "done";
        return;
      }
      const { damage } = opened.contents;
      if (damage !== undefined) events.add({ type: "state-ignored", reason: damage });
      this.journal = new JobJournal(runner, root, hash, job, opened);
      this.output.journal = this.journal;
      this.preparation.journal = this.journal;
      this.directories.adoptsPrivate = opened.isResumed;
      this.directories.ignoresCase = opened.ignoresCase;
      this.isBegun = true;
      this.pump();
    });
  }

  // Entries

  private handleEntriesEnd(entries: number, totalBytes: number): void {
    this.list.end(entries, totalBytes);
    const { directoryCount, linkCount } = this.directories;
    this.setup.events.add({
      type: "manifest-completed",
      files: entries - directoryCount - linkCount,
      directories: directoryCount,
      links: linkCount,
      totalBytes,
    });
  }

  private handleSkipped(message: ControlMessage & { type: "skipped" }): void {
    const { path, code, text, isFailure } = message;
    this.list.addSkipped();
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
    this.preparation.pump();
    this.checkSpace();
    this.acceptAll();
    this.output.pump();
    this.finishIfDone();
  }

  // Acceptance

  /** Opens the gate for data once it is known that the list so far fits, and checks the whole list once. */
  private checkSpace(): void {
    const { list, space } = this;
    const announced = list.announcedBytes;
    if (!space.isDue(list.isComplete, announced !== undefined)) return;
    const onChecked = (refusal: GodwitError | undefined): void => {
      if (refusal === undefined) this.pump();
      else this.verdicts.fatal = refusal;
    };
    if (this.preparation.isBusy) {
      // What is there already may need nothing. But where all of it would fit nobody has to wait for that.
      if (announced !== undefined && !list.isComplete)
        space.check(Math.max(announced, list.totalBytes), false, false, onChecked);
      return;
    }
    let neededBytes = 0;
    // How much of a sparse file is holes is known only when it was read.
    if (!this.setup.options.sparse)
      for (const file of [...this.files.values(), ...this.toAccept])
        if (file.comparison !== "running") neededBytes += Math.max(0, (file.sizeBytes ?? 0) - file.haveBytes);
    // What was not offered yet, less what an earlier run has of it.
    if (!list.isComplete && announced !== undefined && !this.setup.options.sparse)
      neededBytes += Math.max(0, announced - list.totalBytes - this.journaledAheadBytes);
    // A sender offers so many and waits: then nothing is left that could need less.
    const isStuck = this.openEntries >= ENTRIES_AHEAD && !this.isComparing;
    space.check(neededBytes, list.isComplete, list.isComplete || isStuck, onChecked);
  }

  /** Bytes that an earlier run had of files that were not offered yet in this one. */
  private get journaledAheadBytes(): number {
    const { journal } = this;
    if (journal === undefined) return 0;
    let bytes = 0;
    for (const { sizeBytes } of journal.contents.intents.values()) bytes += sizeBytes;
    for (const [key, { have, sizeBytes }] of journal.contents.files)
      if (!journal.contents.intents.has(key)) bytes += Math.min(sizeBytes, have.size * CHUNK_BYTES);
    return Math.max(0, bytes - this.tally.resumedBytes);
  }

  private get isComparing(): boolean {
    for (const file of this.files.values()) if (file.comparison === "running") return true;
    return false;
  }

  /** Accepts what may be. */
  private acceptAll(): void {
    if (this.toCompare.length > 0) this.accept(this.toCompare.splice(0));
    if (this.toAccept.length > 0 && this.space.isOpen) this.accept(this.toAccept.splice(0));
  }

  private accept(accepted: readonly IncomingFile[]): void {
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
      this.setup.relay?.handleAccepted(file, this);
    }
  }

  // Contents

  takeRelayed(
    file: IncomingFile,
    index: number,
    bytes: Uint8Array,
    lengthBytes: number,
  ): "taken" | "unwanted" | "bad" {
    if (file.state !== "receiving" || this.ending !== "no") return "unwanted";
    const chunk = file.verifyRelayed(index, bytes, lengthBytes);
    if (typeof chunk === "string") return chunk;
    this.intake.take(file, chunk);
    this.pump();
    return "taken";
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
        if (file.directory === undefined) this.verdicts.answerUnchanged(file.entry);
        else this.preparation.confirmUnchanged(file.entry, file.directory);
      } else if (file.refusal !== undefined) this.refuseFile(file, "EXISTS", file.refusal);
      else if (file.chunkCount === 0) this.handleWritten(file);
      else this.setup.messages.add({ type: "refetch", object: file.object, ranges: [[0, file.chunkCount]] });
      this.pump();
    });
  }

  handleDamaged(
    file: IncomingFile,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void {
    this.intake.handleDamaged(file, chunks);
  }

  handleWritten(file: IncomingFile): void {
    this.setup.relay?.handleWritten(file);
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
    this.setup.relay?.handleClosed(file, true);
    this.verdicts.commit(file, root);
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
      this.verdicts.fatal ??= new GodwitError(code, `${text}; make room and run the same command to resume`, {
        path: file.entry.path,
      });
      return;
    }
    this.refuseFile(file, code, text);
  }

  private refuseFile(file: IncomingFile, code: ErrorCode, text: string): void {
    if (file.state === "closed") return;
    file.state = "closed";
    this.files.delete(file.object);
    this.setup.relay?.handleClosed(file, false);
    this.intake.discardOpen(file);
    // Nothing of it stays: not on the disk, not in the journal.
    if (file.resumed !== undefined || file.isJournaled) this.journal?.addForget(file.key);
    this.output.drop(file);
    this.verdicts.refuse(file.entry, code, text);
    this.pump();
  }

  private receiving(object: number): IncomingFile | undefined {
    const file = this.files.get(object);
    if (file === undefined && object >= this.list.entries)
      throw violation("a message about an unknown object");
    return file?.state === "receiving" ? file : undefined;
  }

  // The end

  private finishIfDone(): void {
    if (!this.list.isComplete || this.openEntries > 0) return;
    this.ending = "finishing";
    const { runner, root, job } = this.setup;
    const { journal } = this;
    const interruptedJob = journal?.wasThere === true && !journal.isNeeded ? job : undefined;
    // The journal may still be writing what nobody waits for.
    const go = (): void => {
      runner.start(finishJob(root, this.directories, interruptedJob), () => this.sendResult());
    };
    if (journal === undefined) go();
    else journal.flush(go);
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
    else {
      const { hasState, isNeeded } = this.journal;
      this.setup.runner.start(this.journal.close((keeps || isNeeded) && hasState), onClosed);
    }
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
    const files = [...this.files.values(), ...this.toAccept, ...this.toCompare];
    for (const file of files) this.intake.discardOpen(file);
    const keeps = this.endCode === undefined || keepsState(this.endCode);
    const work = keeps
      ? saveJob(files, this.output, this.journal)
      : discardJob(root, files, this.directories, this.journal);
    runner.start(work, () => {
      this.ending = "done";
    });
  }
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
