/** Operations that the system mostly answers from memory, done at once: `call-pace.ts` says when. */
import {
  closeSync,
  fchmodSync,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
  type BigIntStats,
} from "node:fs";
import type {
  DiskOperation,
  DiskOperationKind,
  DiskResult,
  ListedEntry,
  OperationOf,
} from "../../files/disk.ts";
import {
  factsOf,
  failure,
  isWelcome,
  listed,
  NOT_REGULAR,
  OK,
  OPEN_FLAGS,
  type OpeningKind,
} from "./answers.ts";
import { CallPace } from "./call-pace.ts";
import { MemoryCalls } from "./memory-calls.ts";
import type { OpenHandles } from "./open-handles.ts";

/**
 * Data of at most so many bytes is read and written at once: copying it takes less time than waking a thread.
 * More than that only if it is in memory: `memory-calls.ts`.
 */
const DIRECT_BYTES = 64 * 1024;

/** Operations that the system mostly answers from memory. */
const DIRECT_KINDS: readonly DiskOperationKind[] = [
  "open-source",
  "open-staging",
  "create-staging",
  "read",
  "write",
  "stat-file",
  "close-file",
  "set-file-facts",
  "link",
  "unlink",
  "lstat",
  "read-directory",
];

/** A missing name is an ordinary answer: no exception is built for it. */
const QUIET = { throwIfNoEntry: false } as const;
const EXACT_QUIET = { bigint: true, throwIfNoEntry: false } as const;

/** Does short calls on the caller's thread. */
export class DirectCalls {
  private readonly handles: OpenHandles;
  private readonly memory = new MemoryCalls();
  private readonly paces = new Map<DiskOperationKind, CallPace>(
    DIRECT_KINDS.map((kind) => [kind, new CallPace()]),
  );

  constructor(handles: OpenHandles) {
    this.handles = handles;
  }

  /** Does an operation at once if such have been quick; `undefined` for one that may take its time. */
  attempt(operation: DiskOperation): DiskResult | undefined {
    if (operation.kind === "close-file") this.memory.forget(operation.file);
    if (operation.kind === "read" && operation.target.length > DIRECT_BYTES) {
      const lengthBytes = this.memory.read(operation.file, operation.target, operation.offset);
      return lengthBytes === undefined ? undefined : { ok: true, lengthBytes, wasInMemory: true };
    }
    if (operation.kind === "write" && operation.bytes.length > DIRECT_BYTES) {
      const lengthBytes = this.memory.write(operation.file, operation.bytes, operation.offset);
      return lengthBytes === undefined ? undefined : { ok: true, lengthBytes };
    }
    const pace = this.paces.get(operation.kind);
    if (pace?.takeTurn() !== true) return undefined;
    const startedAt = performance.now();
    let result: DiskResult | undefined;
    try {
      result = this.doNow(operation);
    } catch (error) {
      result = failure(error);
    }
    pace.handleCalls((performance.now() - startedAt) * 1_000, callCount(result));
    return result;
  }

  private doNow(operation: DiskOperation): DiskResult | undefined {
    switch (operation.kind) {
      case "open-source":
      case "open-staging":
      case "create-staging":
        return this.openNow(operation);
      case "read": {
        const { file, target, offset } = operation;
        return { ok: true, lengthBytes: readSync(file, target, 0, target.length, offset) };
      }
      case "write": {
        const { file, bytes, offset } = operation;
        return { ok: true, lengthBytes: writeSync(file, bytes, 0, bytes.length, offset) };
      }
      case "stat-file":
        return { ok: true, facts: factsOf(fstatSync(operation.file, { bigint: true })) };
      case "close-file":
        closeSync(operation.file);
        return OK;
      case "set-file-facts": {
        const { file, mode, modifiedAtUs } = operation;
        if (mode !== undefined) fchmodSync(file, mode);
        if (modifiedAtUs !== undefined) futimesSync(file, modifiedAtUs / 1e6, modifiedAtUs / 1e6);
        return OK;
      }
      case "link":
        return this.linkNow(operation);
      case "unlink":
        return this.nameNow(operation, (path) => {
          // With its last name a file may lose its contents, which takes time.
          if ((lstatSync(path, QUIET)?.nlink ?? 1) < 2) return undefined;
          unlinkSync(path);
          return OK;
        });
      case "lstat":
        return this.nameNow(operation, (path) => {
          const status = lstatSync(path, EXACT_QUIET);
          return status === undefined ? { ok: false, errno: "ENOENT" } : { ok: true, facts: factsOf(status) };
        });
      case "read-directory":
        return this.readDirectoryNow(operation);
      default:
        return undefined;
    }
  }

  /** Uses one name below a root at once. */
  private nameNow<Result>(
    operation: { readonly root: number; readonly path: readonly string[] },
    use: (path: string) => Result,
  ): Result {
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
    try {
      return use(path);
    } finally {
      release();
    }
  }

  private openNow(operation: OperationOf<OpeningKind>): DiskResult {
    const file = this.nameNow(operation, (path) => {
      try {
        return openSync(path, OPEN_FLAGS[operation.kind], 0o600);
      } catch (error) {
        return failure(error);
      }
    });
    if (typeof file !== "number") return file.errno === "EISDIR" ? NOT_REGULAR : file;
    if (operation.kind === "create-staging") return { ok: true, file };
    try {
      const status = fstatSync(file, { bigint: true });
      if (isWelcome(operation.kind, status)) return { ok: true, file, facts: factsOf(status) };
    } catch (error) {
      closeSync(file);
      return failure(error);
    }
    closeSync(file);
    return NOT_REGULAR;
  }

  private linkNow(operation: OperationOf<"link">): DiskResult {
    const root = this.handles.root(operation.root);
    const from = this.handles.confiner.confine(root, operation.from);
    try {
      const to = this.handles.confiner.confine(root, operation.to);
      try {
        linkSync(from.path, to.path);
        return OK;
      } finally {
        to.release();
      }
    } finally {
      from.release();
    }
  }

  private readDirectoryNow(operation: OperationOf<"read-directory">): DiskResult {
    const { directory, root, path } = this.handles.directory(operation.directory);
    const entries: ListedEntry[] = [];
    while (entries.length < operation.maxEntries) {
      const next = directory.readSync();
      if (next === null) break;
      const entry = listed(next);
      const status =
        operation.withFacts === true && entry.isExactName
          ? this.nameNow({ root, path: [...path, entry.name] }, lookQuietly)
          : undefined;
      entries.push(status === undefined ? entry : { ...entry, facts: factsOf(status) });
    }
    return { ok: true, entries };
  }
}

/** The facts of a name; `undefined` if they cannot be had. */
function lookQuietly(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, EXACT_QUIET);
  } catch {
    return undefined;
  }
}

/** How many calls a result stands for. */
function callCount(result: DiskResult | undefined): number {
  return result !== undefined && "entries" in result ? Math.max(1, result.entries.length) : 1;
}
