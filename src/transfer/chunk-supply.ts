/**
 * Reads sources once for all who send them: chunks are read ahead into a budgeted pool, hashed once,
 * handed to every lane that asked, and kept while a lane holds them.
 *
 * A chunk that has to be read again must have the hash it had before: otherwise the source changed.
 * When the system says that a source was touched while it was read, the whole of it is read again
 * and compared: equal contents prove that what was sent is the file as it stood at one instant.
 */
import type { ErrorCode } from "../base/errors.ts";
import { assert } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import type { DiskPath, DiskSequence, EntryFacts, FileHandle, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { errnoText, sourceErrorCode } from "../files/disk-errors.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { chunkCount, chunkLength } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";

/** A chunk in memory, shared by the lanes that hold it. */
export interface LoadedChunk {
  readonly source: SourceFile;
  readonly index: number;
  readonly lengthBytes: number;
  /** The bytes; may be longer than the chunk. */
  readonly bytes: Uint8Array;
  readonly contentHash: Uint8Array;
}

/** Who asked for chunks of a source. */
export interface SupplyUser {
  /** A chunk that was requested is there; the user holds it until it releases it. */
  handleChunk(chunk: LoadedChunk): void;
  /** A pipe has ended: its size is known, and chunks behind it that were requested will not come. */
  handleSourceEnded(source: SourceFile): void;
  /** The source cannot be read on; chunks that were requested will not come. */
  handleSourceFailed(source: SourceFile, code: ErrorCode, text: string): void;
}

/** Where a source is on disk, and what was offered. */
export interface SourceSpec {
  readonly root: RootHandle;
  readonly path: DiskPath;
  /** Name for messages. */
  readonly name: string;
  /** What the disk said when the file was offered; its size is what is sent. */
  readonly facts: EntryFacts;
}

interface CachedChunk extends LoadedChunk {
  holders: number;
  /** Times it was handed to a lane. */
  served: number;
}

/** Loaded bytes of one lane that wait to be sent: enough to keep a disk and a fast path busy. */
const READ_AHEAD_BYTES = 8 * 1024 * 1024;

/**
 * The same while what is read was in memory: enough for one turn of the loop. Less is better, as it is sealed
 * while it is still in the processor's cache. docs/design/hot-path.md
 */
const MEMORY_AHEAD_BYTES = 2 * 1024 * 1024;

/** Files one lane reads at once, at most: each holds a descriptor. */
const SOURCES_AT_ONCE = 16;

/** Descriptors of sources, all lanes together: a quarter of the usual limit of 1 024 for a process. */
const DESCRIPTORS = 256;

/** One file, or a pipe, that is being sent. Made by `ChunkSupply`. */
export class SourceFile {
  /** `undefined` for a pipe. */
  readonly spec: SourceSpec | undefined;
  readonly name: string;
  /** Bytes to send; `undefined` until a pipe ended. */
  sizeBytes: number | undefined;
  /** Hashes of the chunks read so far, by index. */
  readonly contentHashes: (Uint8Array | undefined)[] = [];
  /** @internal */
  readonly chunks = new Map<number, CachedChunk>();
  /** @internal Users waiting for a chunk, by index. */
  readonly waiting = new Map<number, SupplyUser[]>();
  /** @internal */
  handle: FileHandle | undefined;
  /** @internal Who waits for the file to be open; `undefined` while it is not being opened. */
  openWaiters: ((failure: Failure | undefined) => void)[] | undefined;
  /** @internal Reads running on `handle`. */
  readsRunning = 0;
  /** @internal */
  users = 0;
  /** @internal */
  failure: { readonly code: ErrorCode; readonly text: string } | undefined;
  /** @internal */
  verdict: "unknown" | "checking" | "same" | "changed" = "unknown";
  /** @internal */
  readonly verdictWaiters: ((isSame: boolean) => void)[] = [];
  /** @internal Who waits for a check that begins after the one under way. */
  readonly nextVerdictWaiters: ((isSame: boolean) => void)[] = [];
  /** @internal Chunks were read for the first time since the check for `verdict` began. */
  isVerdictStale = false;

  constructor(spec: SourceSpec | undefined, name: string) {
    this.spec = spec;
    this.name = name;
    this.sizeBytes = spec?.facts.sizeBytes;
  }
}

/** Whether two facts about a file show no sign of a change between them. */
function isUntouched(a: EntryFacts, b: EntryFacts): boolean {
  return (
    a.sizeBytes === b.sizeBytes &&
    a.modifiedAtUs === b.modifiedAtUs &&
    a.changedAtUs === b.changedAtUs &&
    a.identity === b.identity
  );
}

/** Reads and hashes for one or more lanes. */
export class ChunkSupply {
  private readonly runner: DiskRunner;
  private readonly hash: Hash;
  private readonly pool: ChunkPool;
  /** Chunks nobody holds that a lane may still want, oldest first; they go when room is needed. */
  private readonly idle = new Set<CachedChunk>();
  /** Chunks nobody holds that every lane of their source had: they go before the others. */
  private readonly spent = new Set<CachedChunk>();
  private readonly laneCount: number;
  private pipe: PipeFill | undefined;
  private openCount = 0;
  /** Sources for which no descriptor was left. */
  private readonly toOpen: SourceFile[] = [];
  /** What was read last was there at once. */
  private wasInMemory = false;
  /** Bytes read from disks, second readings included. */
  readBytes = 0;
  /** Bytes that had to be read a second time. */
  rereadBytes = 0;

  /**
   * @param laneCount - Most lanes at once. With more than one, chunks stay in memory for the others
   *   after their last holder released them, until the room is needed.
   */
  constructor(runner: DiskRunner, hash: Hash, budgetBytes: number, laneCount = 1) {
    this.runner = runner;
    this.hash = hash;
    this.pool = new ChunkPool(budgetBytes);
    this.laneCount = laneCount;
  }

  /** Bytes that one lane may hold: the shares of all lanes fit the budget, so that none can starve another. */
  get shareBytes(): number {
    return this.laneCount > 1 ? this.pool.budgetBytes / this.laneCount : Number.POSITIVE_INFINITY;
  }

  /** Bytes that one lane may read ahead of what it has sent. The rest of its share is for what was lost. */
  get readAheadBytes(): number {
    if (this.laneCount === 1 && this.wasInMemory)
      return Math.min(MEMORY_AHEAD_BYTES, this.pool.budgetBytes / 4);
    return Math.min(READ_AHEAD_BYTES, this.laneCount > 1 ? this.shareBytes / 2 : this.pool.budgetBytes / 4);
  }

  /** Sources that one lane may read at once: each holds a descriptor. */
  get sourcesAtOnce(): number {
    return Math.max(2, Math.min(SOURCES_AT_ONCE, Math.floor(DESCRIPTORS / this.laneCount)));
  }

  /** Most bytes of memory in use. */
  get budgetBytes(): number {
    return this.pool.budgetBytes;
  }

  /** Bytes of memory in use. */
  get usedBytes(): number {
    return this.pool.usedBytes;
  }

  /** A source on disk. Opened when the first chunk is requested. */
  addFile(spec: SourceSpec): SourceFile {
    return new SourceFile(spec, spec.name);
  }

  /** The source that the host fills with `offerPipeBytes`. At most one per supply. */
  addPipe(name: string): SourceFile {
    assert(this.pipe === undefined, "a supply has one pipe at most");
    const source = new SourceFile(undefined, name);
    this.pipe = { source, index: 0, filledBytes: 0, buffer: undefined, hasEnded: false };
    return source;
  }

  /** A lane begins to use a source. */
  addUser(source: SourceFile): void {
    source.users++;
  }

  /** A lane is done with a source; the last one closes it. Its chunks are released separately. */
  removeUser(source: SourceFile): void {
    source.users--;
    if (source.users === 0) this.closeIfUnused(source);
  }

  /**
   * Asks for a chunk; `user.handleChunk` is told when it is there, perhaps at once. Returns false if
   * there is no room: ask again after something was released.
   */
  request(source: SourceFile, index: number, user: SupplyUser): boolean {
    const cached = source.chunks.get(index);
    if (cached !== undefined) {
      cached.holders++;
      cached.served++;
      this.idle.delete(cached);
      this.spent.delete(cached);
      user.handleChunk(cached);
      return true;
    }
    const waiters = source.waiting.get(index);
    if (waiters !== undefined) {
      waiters.push(user);
      return true;
    }
    if (source.failure !== undefined) {
      user.handleSourceFailed(source, source.failure.code, source.failure.text);
      return true;
    }
    if (source.spec === undefined) {
      source.waiting.set(index, [user]);
      return true;
    }
    assert(source.sizeBytes !== undefined, "a file has a size");
    const lengthBytes = chunkLength(source.sizeBytes, index);
    const buffer = this.takeBuffer(lengthBytes);
    if (buffer === undefined) return false;
    source.waiting.set(index, [user]);
    source.readsRunning++;
    const onRead = (failure: Failure | undefined): void => {
      source.readsRunning--;
      if (failure !== undefined) {
        this.pool.give(buffer);
        this.fail(source, failure.code, failure.text);
      } else this.publish(source, index, lengthBytes, buffer);
      if (source.users === 0) this.closeIfUnused(source);
    };
    this.whenOpen(source, source.spec, (failure) => {
      if (failure !== undefined || source.handle === undefined) onRead(failure);
      else {
        const target = buffer.subarray(0, lengthBytes);
        this.runner.start(this.readFully(source, source.handle, index * CHUNK_BYTES, target), onRead);
      }
    });
    return true;
  }

  /** A lane no longer holds a chunk. */
  release(chunk: LoadedChunk): void {
    const cached = chunk as CachedChunk;
    assert(cached.holders > 0, "a chunk is released once by each holder");
    cached.holders--;
    if (cached.holders > 0) return;
    if (this.laneCount === 1) this.drop(cached);
    else if (cached.served >= cached.source.users) this.spent.add(cached);
    else this.idle.add(cached);
  }

  /** Whether a pipe's bytes cannot be read again. */
  isRereadable(source: SourceFile): boolean {
    return source.spec !== undefined;
  }

  /**
   * Tells whether the contents that were read are the file as it stood at one instant. Called once
   * all chunks a lane needs were read; the answer is shared by all lanes.
   */
  checkUnchanged(source: SourceFile, onVerdict: (isSame: boolean) => void): void {
    const { spec } = source;
    if (spec === undefined || (source.verdict === "same" && !source.isVerdictStale)) {
      onVerdict(true);
      return;
    }
    if (source.failure !== undefined) {
      onVerdict(false);
      return;
    }
    if (source.verdict === "checking") {
      // A check that is under way has not seen what was read since it began.
      if (source.isVerdictStale) source.nextVerdictWaiters.push(onVerdict);
      else source.verdictWaiters.push(onVerdict);
      return;
    }
    source.verdictWaiters.push(onVerdict);
    source.verdict = "checking";
    source.isVerdictStale = false;
    const onChecked = (problem: Failure | undefined): void => {
      const waiters = source.verdictWaiters.splice(0);
      const isSame = problem === undefined;
      source.verdict = isSame ? "same" : "changed";
      if (problem !== undefined) source.failure ??= problem;
      for (const waiter of waiters) waiter(isSame);
      for (const waiter of source.nextVerdictWaiters.splice(0)) this.checkUnchanged(source, waiter);
      if (source.users === 0) this.closeIfUnused(source);
    };
    this.whenOpen(source, spec, (failure) => {
      if (failure !== undefined || source.handle === undefined) onChecked(failure ?? changed(source));
      else this.runner.start(this.check(source, spec, source.handle), onChecked);
    });
  }

  /** Closes a source's file while nothing needs to be read; it is opened again when something does. */
  rest(source: SourceFile): void {
    if (source.handle === undefined || source.readsRunning > 0) return;
    if (source.verdict === "checking") return;
    const file = source.handle;
    source.handle = undefined;
    this.runner.start(ask({ kind: "close-file", file }), () => {
      this.openCount--;
      const next = this.toOpen.shift();
      if (next?.spec !== undefined) this.open(next, next.spec);
    });
  }

  // Pipes

  /** Takes bytes of the pipe and returns how many there was room for. */
  offerPipeBytes(bytes: Uint8Array): number {
    const { pipe } = this;
    if (pipe === undefined || pipe.hasEnded || pipe.source.failure !== undefined) return 0;
    let accepted = 0;
    while (accepted < bytes.length) {
      pipe.buffer ??= this.takeBuffer(CHUNK_BYTES);
      if (pipe.buffer === undefined) break;
      const part = bytes.subarray(accepted, accepted + CHUNK_BYTES - pipe.filledBytes);
      pipe.buffer.set(part, pipe.filledBytes);
      pipe.filledBytes += part.length;
      accepted += part.length;
      if (pipe.filledBytes === CHUNK_BYTES) this.finishPipeChunk(pipe, pipe.buffer);
    }
    return accepted;
  }

  /** Bytes that `offerPipeBytes` would take now. */
  get pipeRoomBytes(): number {
    const { pipe } = this;
    if (pipe === undefined || pipe.hasEnded) return 0;
    if (pipe.buffer !== undefined) return CHUNK_BYTES - pipe.filledBytes;
    return this.pool.usedBytes + CHUNK_BYTES <= this.pool.budgetBytes ? CHUNK_BYTES : 0;
  }

  /** The pipe has ended. Returns its source, whose size is known now. */
  endPipe(): SourceFile {
    const { pipe } = this;
    assert(pipe !== undefined && !pipe.hasEnded, "a pipe ends once");
    pipe.hasEnded = true;
    pipe.source.sizeBytes = pipe.index * CHUNK_BYTES + pipe.filledBytes;
    if (pipe.buffer !== undefined) {
      if (pipe.filledBytes > 0) this.finishPipeChunk(pipe, pipe.buffer);
      else this.pool.give(pipe.buffer);
      pipe.buffer = undefined;
    }
    const users = new Set<SupplyUser>();
    for (const waiters of pipe.source.waiting.values()) for (const user of waiters) users.add(user);
    pipe.source.waiting.clear();
    for (const user of users) user.handleSourceEnded(pipe.source);
    return pipe.source;
  }

  /** The pipe broke before its end. */
  failPipe(code: ErrorCode, text: string): void {
    if (this.pipe !== undefined) this.fail(this.pipe.source, code, text);
  }

  private finishPipeChunk(pipe: PipeFill, buffer: Uint8Array): void {
    pipe.buffer = undefined;
    const lengthBytes = pipe.filledBytes;
    pipe.filledBytes = 0;
    this.readBytes += lengthBytes;
    this.publish(pipe.source, pipe.index++, lengthBytes, buffer);
  }

  // Chunks

  private takeBuffer(lengthBytes: number): Uint8Array | undefined {
    for (;;) {
      const buffer = this.pool.take(lengthBytes);
      if (buffer !== undefined) return buffer;
      const [oldest] = this.spent.size > 0 ? this.spent : this.idle;
      if (oldest === undefined) return undefined;
      this.spent.delete(oldest);
      this.idle.delete(oldest);
      this.drop(oldest);
    }
  }

  private drop(chunk: CachedChunk): void {
    assert(chunk.source.chunks.get(chunk.index) === chunk, "a chunk is dropped once");
    chunk.source.chunks.delete(chunk.index);
    this.pool.give(chunk.bytes);
  }

  private publish(source: SourceFile, index: number, lengthBytes: number, buffer: Uint8Array): void {
    const contentHash = this.hash(buffer.subarray(0, lengthBytes));
    const before = source.contentHashes[index];
    if (before !== undefined) {
      this.rereadBytes += lengthBytes;
      if (!equalBytes(before, contentHash)) {
        this.pool.give(buffer);
        this.fail(
          source,
          "SOURCE_CHANGED",
          `${printable(source.name)} changed while it was being sent; send it again`,
        );
        return;
      }
    }
    // The verdict is about what was read before it: a lane that came later reads what others did not need.
    if (before === undefined && source.verdict !== "unknown") source.isVerdictStale = true;
    source.contentHashes[index] = contentHash;
    const waiters = source.waiting.get(index) ?? [];
    source.waiting.delete(index);
    const count = waiters.length;
    // No spread: each chunk would have a hidden class of its own in V8.
    const chunk: CachedChunk = {
      source,
      index,
      lengthBytes,
      bytes: buffer,
      contentHash,
      holders: count,
      served: count,
    };
    source.chunks.set(index, chunk);
    // A pipe's chunk waits for its lane; a file's chunk that nobody waits for any more may go.
    if (count === 0 && source.spec !== undefined) this.drop(chunk);
    for (const user of waiters) user.handleChunk(chunk);
  }

  private fail(source: SourceFile, code: ErrorCode, text: string): void {
    source.failure ??= { code, text };
    const users = new Set<SupplyUser>();
    for (const waiters of source.waiting.values()) for (const user of waiters) users.add(user);
    source.waiting.clear();
    for (const user of users) user.handleSourceFailed(source, code, text);
  }

  private closeIfUnused(source: SourceFile): void {
    this.rest(source);
    if (source.spec === undefined)
      for (const chunk of source.chunks.values()) if (chunk.holders === 0) this.drop(chunk);
  }

  // Sequences

  private whenOpen(
    source: SourceFile,
    spec: SourceSpec,
    onOpen: (failure: Failure | undefined) => void,
  ): void {
    if (source.handle !== undefined) {
      onOpen(undefined);
      return;
    }
    if (source.openWaiters !== undefined) {
      source.openWaiters.push(onOpen);
      return;
    }
    source.openWaiters = [onOpen];
    this.open(source, spec);
  }

  private open(source: SourceFile, spec: SourceSpec): void {
    this.runner.start(ask({ kind: "open-source", root: spec.root, path: spec.path }), (opened) => {
      let failure: Failure | undefined;
      if (!opened.ok && (opened.errno === "EMFILE" || opened.errno === "ENFILE") && this.openCount > 0) {
        // Others will close theirs.
        this.toOpen.push(source);
        return;
      }
      if (!opened.ok) failure = readFailure(source, opened.errno);
      else {
        source.handle = opened.file;
        this.openCount++;
        if (opened.facts.identity !== spec.facts.identity || opened.facts.sizeBytes < spec.facts.sizeBytes)
          failure = changed(source);
      }
      const waiters = source.openWaiters ?? [];
      source.openWaiters = undefined;
      for (const waiter of waiters) waiter(failure);
    });
  }

  private *readFully(
    source: SourceFile,
    file: FileHandle,
    offset: number,
    target: Uint8Array,
  ): DiskSequence<Failure | undefined> {
    let at = 0;
    while (at < target.length) {
      const read = yield* ask({
        kind: "read",
        file,
        offset: offset + at,
        target: at === 0 ? target : target.subarray(at),
      });
      if (!read.ok) return readFailure(source, read.errno);
      this.wasInMemory = read.wasInMemory === true;
      // The end came before the size that was offered: truncated.
      if (read.lengthBytes === 0) return changed(source);
      at += read.lengthBytes;
      this.readBytes += read.lengthBytes;
    }
    return undefined;
  }

  /** Nothing if the file is untouched, or touched but with all its contents as they were read. */
  private *check(source: SourceFile, spec: SourceSpec, file: FileHandle): DiskSequence<Failure | undefined> {
    assert(source.sizeBytes !== undefined, "a file has a size");
    const before = yield* ask({ kind: "stat-file", file });
    if (!before.ok) return readFailure(source, before.errno);
    if (isUntouched(before.facts, spec.facts)) return undefined;
    if (before.facts.sizeBytes < source.sizeBytes) return changed(source);
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, source.sizeBytes));
    for (let index = 0; index < chunkCount(source.sizeBytes); index++) {
      const expected = source.contentHashes[index];
      // Chunks that the receiver had from an earlier run were never read in this one.
      if (expected === undefined) return changed(source);
      const part = buffer.subarray(0, chunkLength(source.sizeBytes, index));
      const unreadable = yield* this.readFully(source, file, index * CHUNK_BYTES, part);
      if (unreadable !== undefined) return unreadable;
      this.rereadBytes += part.length;
      if (!equalBytes(this.hash(part), expected)) return changed(source);
    }
    return undefined;
  }
}

interface PipeFill {
  readonly source: SourceFile;
  index: number;
  filledBytes: number;
  buffer: Uint8Array | undefined;
  hasEnded: boolean;
}

interface Failure {
  readonly code: ErrorCode;
  readonly text: string;
}

function readFailure(source: SourceFile, errno: string): Failure {
  return {
    code: sourceErrorCode(errno),
    text: `cannot read ${printable(source.name)}: ${errnoText(errno)}`,
  };
}

function changed(source: SourceFile): Failure {
  return {
    code: "SOURCE_CHANGED",
    text: `${printable(source.name)} changed while it was being sent; send it again`,
  };
}
