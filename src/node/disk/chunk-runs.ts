/**
 * Reads and writes on libuv's threads. Those of one file that wait together and continue each other go in
 * one call: handing a call to a thread and back costs as much as copying a chunk.
 */
import { read, readv, write, writev } from "node:fs";
import type { DiskResult, OperationOf } from "../../files/disk.ts";
import { failure } from "./answers.ts";

/** Bytes of one call at most: four whole chunks. More would save little and make the first of them wait. */
const RUN_BYTES = 1024 * 1024;

/**
 * Writes under way for one file: one at work and one ready. Systems write to a file one after the other
 * anyway, and more threads only spin for its lock. docs/design/hot-path.md
 */
const WRITE_CALLS_PER_FILE = 2;

type DataOperation = OperationOf<"read" | "write">;

interface Waiting {
  readonly kind: "read" | "write";
  readonly file: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly done: (result: DiskResult) => void;
}

/** The operations on data that one disk was given. */
export class ChunkRuns {
  private waiting: Waiting[] = [];
  /** Writes under way, by file. */
  private readonly writing = new Map<number, number>();

  /** Takes an operation; it begins with the next `start`, if its file has room for it. */
  add(operation: DataOperation, done: (result: DiskResult) => void): void {
    const { kind, file, offset } = operation;
    const bytes = operation.kind === "read" ? operation.target : operation.bytes;
    this.waiting.push({ kind, file, offset, bytes, done });
  }

  /** Begins what may begin. */
  start(): void {
    for (let i = 0; i < this.waiting.length;) {
      const first = this.waiting[i];
      if (first.kind === "write" && (this.writing.get(first.file) ?? 0) >= WRITE_CALLS_PER_FILE) i++;
      else this.begin(this.takeRun(i));
    }
  }

  /** Takes the operation at `index` and those that continue it. */
  private takeRun(index: number): Waiting[] {
    const run = this.waiting.splice(index, 1);
    const { kind, file, offset } = run[0];
    let end = offset + run[0].bytes.length;
    for (;;) {
      const next = this.waiting.findIndex(
        (one) =>
          one.file === file &&
          one.kind === kind &&
          one.offset === end &&
          end + one.bytes.length - offset <= RUN_BYTES,
      );
      if (next === -1) return run;
      run.push(...this.waiting.splice(next, 1));
      end += run[run.length - 1].bytes.length;
    }
  }

  private begin(run: readonly Waiting[]): void {
    const { kind, file, offset, bytes } = run[0];
    const onEnd = (error: NodeJS.ErrnoException | null, lengthBytes: number): void =>
      this.finish(run, error, lengthBytes);
    const parts = run.map((one) => one.bytes);
    if (kind === "read") {
      if (run.length === 1) read(file, bytes, 0, bytes.length, offset, onEnd);
      else readv(file, parts, offset, onEnd);
      return;
    }
    this.writing.set(file, (this.writing.get(file) ?? 0) + 1);
    if (run.length === 1) write(file, bytes, 0, bytes.length, offset, onEnd);
    else writev(file, parts, offset, onEnd);
  }

  private finish(run: readonly Waiting[], error: NodeJS.ErrnoException | null, lengthBytes: number): void {
    const { kind, file } = run[0];
    if (kind === "write") {
      const left = (this.writing.get(file) ?? 1) - 1;
      if (left > 0) this.writing.set(file, left);
      else this.writing.delete(file);
    }
    // A failure, and the end of the file, are the first one's. Others that got nothing are asked again: each has
    // an answer of its own.
    const results: DiskResult[] = [];
    let leftBytes = lengthBytes;
    for (const { bytes } of run) {
      if (results.length > 0 && (error !== null || leftBytes === 0)) break;
      const own = Math.min(bytes.length, leftBytes);
      results.push(error === null ? { ok: true, lengthBytes: own } : failure(error));
      leftBytes -= own;
    }
    this.waiting.unshift(...run.slice(results.length));
    results.forEach((result, i) => run[i].done(result));
    this.start();
  }
}
