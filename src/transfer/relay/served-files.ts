/** Reads chunks of a transfer's files for other receivers, from the staging file or the finished one. */
import { CHUNK_BYTES, RELAY_FILES_OPEN, RELAY_OBJECTS } from "../../base/limits.ts";
import { RangeSet } from "../../base/range-set.ts";
import type { DiskPath, DiskSequence, FileHandle, RootHandle } from "../../files/disk.ts";
import { ask } from "../../files/disk.ts";
import type { DiskRunner } from "../../files/disk-runner.ts";
import { chunkCount } from "../../files/hash-tree.ts";

/** A file of which chunks can be served. */
export interface ServedFile {
  readonly object: number;
  readonly sizeBytes: number;
  readonly staging: DiskPath;
  readonly final: DiskPath;
  /** Chunks that others were told of. */
  readonly announced: RangeSet;
}

interface OpenFile {
  readonly file: FileHandle;
  readsRunning: number;
}

/** The files of one transfer. */
export class ServedFiles {
  private readonly runner: DiskRunner;
  private readonly location: string;
  private readonly files = new Map<number, ServedFile>();
  private readonly handles = new Map<number, OpenFile>();
  private root: RootHandle | undefined;
  private readonly opening = new Map<number, (() => void)[]>();
  private reads = 0;
  private isClosing = false;

  /** @param location - Directory the transfer's root is, in the host's own form. */
  constructor(runner: DiskRunner, location: string) {
    this.runner = runner;
    this.location = location;
  }

  /** Whether something is being read. */
  get isReading(): boolean {
    return this.reads > 0;
  }

  /** A file that is being received. */
  add(object: number, sizeBytes: number, staging: DiskPath, final: DiskPath): ServedFile {
    const served = { object, sizeBytes, staging, final, announced: new RangeSet() };
    if (this.files.size >= RELAY_OBJECTS)
      for (const oldest of this.files.keys()) return this.replace(oldest, served);
    this.files.set(object, served);
    return served;
  }

  private replace(oldest: number, served: ServedFile): ServedFile {
    this.remove(oldest);
    this.files.set(served.object, served);
    return served;
  }

  /** A file of it is not there any more. */
  remove(object: number): void {
    this.files.delete(object);
    this.letGo(object);
  }

  /** The file of this number, if it can be served. */
  find(object: number): ServedFile | undefined {
    return this.files.get(object);
  }

  /** All files with something to serve. */
  all(): Iterable<ServedFile> {
    return this.files.values();
  }

  /** Whether others may ask for this chunk. */
  hasChunk(object: number, index: number): boolean {
    const file = this.files.get(object);
    return file !== undefined && index < chunkCount(file.sizeBytes) && file.announced.has(index);
  }

  /** Reads chunk `index` into `target`; `onRead` is told whether all of it is there. */
  read(object: number, index: number, target: Uint8Array, onRead: (isRead: boolean) => void): void {
    const served = this.files.get(object);
    if (served === undefined || this.isClosing) {
      onRead(false);
      return;
    }
    this.reads++;
    const onDone = (isRead: boolean): void => {
      this.reads--;
      onRead(isRead);
      this.closeIfIdle();
    };
    this.whenOpen(served, () => {
      const open = this.handles.get(object);
      if (open === undefined) {
        onDone(false);
        return;
      }
      open.readsRunning++;
      this.runner.start(readAll(open.file, index * CHUNK_BYTES, target), (isRead) => {
        open.readsRunning--;
        if (this.handles.get(object) !== open && open.readsRunning === 0) this.closeFile(open);
        onDone(isRead);
      });
    });
  }

  /** Closes everything once nothing is being read. */
  close(): void {
    this.isClosing = true;
    this.closeIfIdle();
  }

  private closeIfIdle(): void {
    if (!this.isClosing || this.reads > 0) return;
    for (const object of this.handles.keys()) this.letGo(object);
    const { root } = this;
    this.root = undefined;
    if (root !== undefined) this.runner.start(ask({ kind: "close-root", root }), () => undefined);
  }

  private whenOpen(served: ServedFile, onOpen: () => void): void {
    const { object } = served;
    const open = this.handles.get(object);
    if (open !== undefined) {
      // The one used last goes last.
      this.handles.delete(object);
      this.handles.set(object, open);
      onOpen();
      return;
    }
    const waiters = this.opening.get(object);
    if (waiters !== undefined) {
      waiters.push(onOpen);
      return;
    }
    this.opening.set(object, [onOpen]);
    this.runner.start(this.open(served), (file) => {
      if (file !== undefined) {
        this.handles.set(object, { file, readsRunning: 0 });
        if (this.handles.size > RELAY_FILES_OPEN)
          for (const oldest of this.handles.keys()) {
            this.letGo(oldest);
            break;
          }
      }
      const waiting = this.opening.get(object) ?? [];
      this.opening.delete(object);
      for (const waiter of waiting) waiter();
    });
  }

  private *open(served: ServedFile): DiskSequence<FileHandle | undefined> {
    if (this.root === undefined) {
      const opened = yield* ask({ kind: "open-root", location: this.location, create: false });
      if (!opened.ok) return undefined;
      // Another file was opened meanwhile.
      if (this.root === undefined) this.root = opened.root;
      else yield* ask({ kind: "close-root", root: opened.root });
    }
    // It may get its final name between the first look and the second, never lose it.
    for (const path of [served.staging, served.final, served.staging]) {
      const opened = yield* ask({ kind: "open-source", root: this.root, path });
      if (!opened.ok) continue;
      if (opened.facts.sizeBytes <= served.sizeBytes) return opened.file;
      yield* ask({ kind: "close-file", file: opened.file });
    }
    return undefined;
  }

  private letGo(object: number): void {
    const open = this.handles.get(object);
    if (open === undefined) return;
    this.handles.delete(object);
    if (open.readsRunning === 0) this.closeFile(open);
  }

  private closeFile({ file }: OpenFile): void {
    this.runner.start(ask({ kind: "close-file", file }), () => undefined);
  }
}

function* readAll(file: FileHandle, offset: number, target: Uint8Array): DiskSequence<boolean> {
  let at = 0;
  while (at < target.length) {
    const read = yield* ask({ kind: "read", file, offset: offset + at, target: target.subarray(at) });
    if (!read.ok || read.lengthBytes === 0) return false;
    at += read.lengthBytes;
  }
  return true;
}
