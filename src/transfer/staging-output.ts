/**
 * Puts verified chunks on the disk: staging files, checkpoints, flush, publication. The order of
 * operations that makes "confirmed" mean durable is here and in `publisher.ts`.
 */
import { CHUNK_BYTES } from "../base/limits.ts";
import type { ChunkPool } from "../files/chunk-pool.ts";
import type { DiskSequence, EntryFacts, FileHandle, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import { createStaging, removeStaging, sealStaging, syncAndClose, writeAll } from "../files/staging.ts";
import type { DirectoryNode } from "./directory-tree.ts";
import type { IncomingFile, VerifiedChunk } from "./incoming-file.ts";
import type { JobJournal } from "./job-journal.ts";
import type { Publisher } from "./publisher.ts";

/** Staging files open at once: each holds a descriptor. */
const STAGING_OPEN = 16;

/** Chunks of one file that the disk has at once: neighbours among them are written together. */
const WRITES_GIVEN_PER_FILE = 8;

/** Written bytes of one file that a crash may cost: half of the 8 MiB that the contract allows. */
const CHECKPOINT_BYTES = 4 * 1024 * 1024;

/** Part of a large file that a crash may cost besides: 2 % of the 5 % that the contract allows. */
const CHECKPOINT_PART = 0.02;

/** Told about files by their output. */
export interface OutputOwner {
  /** All chunks are written, or already were. */
  handleWritten(file: IncomingFile): void;
  /** The disk failed on a file. */
  handleFileFailed(file: IncomingFile, errno: string): void;
  /** The file is durable under its final name. */
  handlePublished(file: IncomingFile, root: Uint8Array): void;
  /** Chunks of an earlier run are not on the disk as they should be. */
  handleDamaged(
    file: IncomingFile,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void;
  /** Something ended: others may go on. */
  handleProgress(): void;
}

/** Where verified chunks go. */
export interface FileOutput {
  /** Takes a verified chunk. */
  add(file: IncomingFile, chunk: VerifiedChunk): void;
  /** The file's root is proved and all chunks are written: finish it. */
  finish(file: IncomingFile, root: Uint8Array, mode: number, modifiedAtUs: number | undefined): void;
  /** The file needs a place even if no chunk will come. Returns whether it has one. */
  prepare(file: IncomingFile): boolean;
  /** The file is given up: nothing of it stays. */
  drop(file: IncomingFile): void;
  /** Starts what waits for a descriptor. */
  pump(): void;
  /** Bytes that need no memory any more, since the last call. */
  takeConsumedBytes(): number;
}

/** Output to staging files below a root. */
export class StagingOutput implements FileOutput {
  private readonly runner: DiskRunner;
  private readonly root: RootHandle;
  private readonly pool: ChunkPool;
  private readonly publisher: Publisher;
  private readonly owner: OutputOwner;
  /** Set once the job is open. */
  journal: JobJournal | undefined;
  private readonly toOpen = new Set<IncomingFile>();
  private openCount = 0;
  private openLimit = STAGING_OPEN;
  private consumed = 0;

  constructor(
    runner: DiskRunner,
    root: RootHandle,
    pool: ChunkPool,
    publisher: Publisher,
    owner: OutputOwner,
  ) {
    this.runner = runner;
    this.root = root;
    this.pool = pool;
    this.publisher = publisher;
    this.owner = owner;
  }

  takeConsumedBytes(): number {
    const { consumed } = this;
    this.consumed = 0;
    return consumed;
  }

  add(file: IncomingFile, chunk: VerifiedChunk): void {
    file.waitingWrites.push(chunk);
    if (this.prepare(file)) this.writeWaiting(file);
  }

  prepare(file: IncomingFile): boolean {
    if (file.handle !== undefined) return true;
    if (!file.isOpening) {
      file.isOpening = true;
      this.toOpen.add(file);
    }
    return false;
  }

  pump(): void {
    for (const file of this.toOpen) {
      if (this.openCount >= this.openLimit) return;
      this.toOpen.delete(file);
      this.open(file);
    }
  }

  finish(file: IncomingFile, root: Uint8Array, mode: number, modifiedAtUs: number | undefined): void {
    const { handle } = file;
    if (handle === undefined) return;
    const finished = { sizeBytes: file.sizeBytes ?? 0, mode, modifiedAtUs };
    this.runner.start(sealStaging(handle, finished), (sealed) => {
      if (file.state === "closed") this.drop(file);
      else if ("errno" in sealed) this.owner.handleFileFailed(file, sealed.errno);
      else this.flushAndPublish(file, handle, root, sealed.facts);
      this.owner.handleProgress();
    });
  }

  drop(file: IncomingFile): void {
    this.toOpen.delete(file);
    for (const chunk of file.waitingWrites.splice(0)) {
      this.pool.give(chunk.bytes);
      this.consumed += chunk.windowBytes;
    }
    if (file.writesRunning > 0 || file.isLooking || file.isCheckpointing || !file.isStaged) return;
    file.isStaged = false;
    const { handle } = file;
    file.handle = undefined;
    this.runner.start(removeStaging(this.root, file.staging, handle), () => {
      if (handle !== undefined) this.openCount--;
      this.owner.handleProgress();
    });
  }

  /**
   * Leaves a file so that a later run can go on with it: what is written is flushed and journaled. Only
   * when nothing is running on it.
   */
  *save(file: IncomingFile): DiskSequence<void> {
    for (const chunk of file.waitingWrites.splice(0)) this.pool.give(chunk.bytes);
    const { handle, journal, binding } = {
      handle: file.handle,
      journal: this.journal,
      binding: file.binding,
    };
    file.handle = undefined;
    if (handle === undefined) return;
    const isWorthIt = binding !== undefined && file.have.size > 0 && journal?.isBroken === false;
    if (isWorthIt) {
      const synced = yield* ask({ kind: "sync-data", file: handle });
      const looked = yield* ask({ kind: "stat-file", file: handle });
      if (synced.ok && looked.ok) {
        if (file.unjournaled.length > 0 || file.resumed === undefined)
          journal.addChunks(binding, looked.facts.identity, file.unjournaled);
        if (!file.needsLook && !file.hasDamage) journal.addClean(binding, looked.facts);
        yield* ask({ kind: "close-file", file: handle });
        return;
      }
    }
    yield* ask({ kind: "close-file", file: handle });
    if (file.resumed === undefined && !file.isJournaled)
      yield* ask({ kind: "unlink", root: this.root, path: file.staging });
  }

  // Opening

  private open(file: IncomingFile): void {
    this.openCount++;
    this.runner.start(openFor(this.root, file), (opened) => {
      file.isOpening = false;
      if ("errno" in opened) {
        this.openCount--;
        if (isOutOfDescriptors(opened.errno) && this.openCount > 0 && file.state !== "closed") {
          // Others will close theirs: wait, and open fewer at once from now on.
          this.openLimit = this.openCount;
          this.prepare(file);
        } else this.owner.handleFileFailed(file, opened.errno);
      } else {
        file.isStaged = true;
        file.handle = opened.file;
        if (file.state === "closed") this.drop(file);
        else {
          if (file.needsLook) this.look(file, opened.file);
          this.writeWaiting(file);
          this.owner.handleWritten(file);
        }
      }
      this.owner.handleProgress();
    });
  }

  /** Looks at the chunks of an earlier run that ended without order, while new ones come in. */
  private look(file: IncomingFile, handle: FileHandle): void {
    const { journal } = this;
    const { resumed } = file;
    if (journal === undefined || resumed === undefined) return;
    file.isLooking = true;
    this.runner.start(journal.findDamaged(resumed.index, handle, resumed.sizeBytes), (damaged) => {
      file.isLooking = false;
      if (file.state === "closed") this.drop(file);
      else {
        file.needsLook = false;
        file.hasDamage = damaged.length > 0;
        if (damaged.length > 0) this.owner.handleDamaged(file, damaged);
        else this.owner.handleWritten(file);
      }
      this.owner.handleProgress();
    });
  }

  // Writing

  private writeWaiting(file: IncomingFile): void {
    const { handle } = file;
    if (handle === undefined) return;
    while (file.waitingWrites.length > 0 && file.writesRunning < WRITES_GIVEN_PER_FILE) {
      const chunk = file.waitingWrites.shift();
      if (chunk !== undefined) this.write(file, handle, chunk);
    }
  }

  private write(file: IncomingFile, handle: FileHandle, chunk: VerifiedChunk): void {
    file.writesRunning++;
    const bytes = chunk.bytes.subarray(0, chunk.lengthBytes);
    this.runner.start(writeAll(handle, chunk.index * CHUNK_BYTES, bytes), (errno) => {
      file.writesRunning--;
      this.pool.give(chunk.bytes);
      this.consumed += chunk.windowBytes;
      if (file.state === "closed") this.drop(file);
      else if (errno !== undefined) this.owner.handleFileFailed(file, errno);
      else {
        file.have.add(chunk.index, chunk.index + 1);
        file.unjournaled.push({ index: chunk.index, contentHash: chunk.contentHash });
        file.unjournaledBytes += chunk.lengthBytes;
        this.writeWaiting(file);
        this.checkpoint(file);
        this.owner.handleWritten(file);
      }
      this.owner.handleProgress();
    });
  }

  /** Flushes and journals what was written, when there is enough of it. Writing goes on meanwhile. */
  private checkpoint(file: IncomingFile): void {
    const { journal } = this;
    const { binding, handle } = file;
    if (journal === undefined || binding === undefined || handle === undefined || file.isCheckpointing)
      return;
    const due = Math.max(CHECKPOINT_BYTES, binding.sizeBytes * CHECKPOINT_PART);
    if (file.unjournaledBytes < due || file.isWhole) return;
    const chunks = file.unjournaled;
    file.unjournaled = [];
    file.unjournaledBytes = 0;
    file.isCheckpointing = true;
    this.runner.start(flushData(handle), (flushed) => {
      file.isCheckpointing = false;
      if (file.state === "closed") this.drop(file);
      else if ("errno" in flushed) this.owner.handleFileFailed(file, flushed.errno);
      else {
        // Only now: the journal must never know a chunk that a power cut could take away.
        journal.addChunks(binding, flushed.identity, chunks);
        file.isJournaled = true;
        journal.flush(() => this.owner.handleProgress());
        this.owner.handleWritten(file);
      }
      this.owner.handleProgress();
    });
  }

  // Publishing

  private flushAndPublish(file: IncomingFile, handle: FileHandle, root: Uint8Array, facts: EntryFacts): void {
    const { journal } = this;
    const { binding, directory } = file;
    if (directory === undefined) return;
    let left = 1;
    let failure: string | undefined;
    const onDone = (): void => {
      left--;
      if (left > 0) return;
      if (failure !== undefined) this.owner.handleFileFailed(file, failure);
      else if (file.state === "closed") this.drop(file);
      else {
        file.state = "publishing";
        this.publish(file, directory, root);
      }
      this.owner.handleProgress();
    };
    file.handle = undefined;
    this.runner.start(syncAndClose(handle), (errno) => {
      this.openCount--;
      failure ??= errno;
      onDone();
    });
    if (journal !== undefined && binding !== undefined) {
      left++;
      journal.addIntent(binding, root, facts.identity);
      file.isJournaled = true;
      journal.flush(() => onDone());
    }
  }

  private publish(file: IncomingFile, directory: DirectoryNode, root: Uint8Array): void {
    const { staging, replaces } = file;
    this.publisher.add(directory, { staging, final: file.path.components, replaces }, (errno) => {
      if (errno === "EEXIST" && !replaces && file.mayReplace) {
        // Another command gave a file this name meanwhile: allowed to be replaced like any other.
        file.replaces = true;
        this.publish(file, directory, root);
        return;
      }
      if (errno !== undefined) this.owner.handleFileFailed(file, errno);
      else this.owner.handlePublished(file, root);
      this.owner.handleProgress();
    });
  }
}

function isOutOfDescriptors(errno: string): boolean {
  return errno === "EMFILE" || errno === "ENFILE";
}

function* openFor(
  root: RootHandle,
  file: IncomingFile,
): DiskSequence<{ readonly file: FileHandle } | { readonly errno: string }> {
  const { resumed } = file;
  if (resumed === undefined) {
    const created = yield* createStaging(root, file.staging);
    if ("errno" in created || !file.isSparse || file.sizeBytes === undefined) return created;
    const sized = yield* ask({ kind: "truncate", file: created.file, sizeBytes: file.sizeBytes });
    if (sized.ok) return created;
    yield* removeStaging(root, file.staging, created.file);
    return { errno: sized.errno };
  }
  const opened = yield* ask({ kind: "open-staging", root, path: file.staging });
  if (!opened.ok) return { errno: opened.errno };
  if (opened.facts.identity === resumed.identity) {
    if (opened.facts.sizeBytes <= resumed.sizeBytes) return { file: opened.file };
    const cut = yield* ask({ kind: "truncate", file: opened.file, sizeBytes: resumed.sizeBytes });
    if (cut.ok) return { file: opened.file };
  }
  yield* ask({ kind: "close-file", file: opened.file });
  return { errno: "ESTALE" };
}

function* flushData(
  handle: FileHandle,
): DiskSequence<{ readonly identity: string } | { readonly errno: string }> {
  const synced = yield* ask({ kind: "sync-data", file: handle });
  if (!synced.ok) return { errno: synced.errno };
  const looked = yield* ask({ kind: "stat-file", file: handle });
  return looked.ok ? { identity: looked.facts.identity } : { errno: looked.errno };
}
