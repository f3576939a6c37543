/** Sequences on a staging file: writing all of a chunk, flushing, publishing, removing. */
import type { DiskPath, DiskSequence, EntryFacts, FileHandle, RootHandle } from "./disk.ts";
import { ask } from "./disk.ts";

/** `undefined` for success, otherwise the system's error. */
export type Errno = string | undefined;

/**
 * Writes all of `bytes` at `offset`, looping on short writes: a nearly full disk writes less without
 * an error. A write of nothing counts as a full disk.
 */
export function* writeAll(file: FileHandle, offset: number, bytes: Uint8Array): DiskSequence<Errno> {
  let at = 0;
  while (at < bytes.length) {
    const part = at === 0 ? bytes : bytes.subarray(at);
    const written = yield* ask({ kind: "write", file, offset: offset + at, bytes: part });
    if (!written.ok) return written.errno;
    if (written.lengthBytes === 0) return "ENOSPC";
    at += written.lengthBytes;
  }
  return undefined;
}

/** Makes the staging file; one that a crash left behind, which the job's lock makes ours, is replaced. */
export function* createStaging(
  root: RootHandle,
  path: DiskPath,
): DiskSequence<{ readonly file: FileHandle } | { readonly errno: string }> {
  let created = yield* ask({ kind: "create-staging", root, path });
  if (!created.ok && created.errno === "EEXIST") {
    const removed = yield* ask({ kind: "unlink", root, path });
    if (!removed.ok) return { errno: removed.errno };
    created = yield* ask({ kind: "create-staging", root, path });
  }
  return created.ok ? { file: created.file } : { errno: created.errno };
}

/** What a finished staging file shall look like. */
export interface FinishedFacts {
  readonly sizeBytes: number;
  readonly mode: number;
  readonly modifiedAtUs: number | undefined;
}

/**
 * Gives a complete staging file its mode and time and looks at it once more: a file that is not as long
 * as what was verified must not be published. It stays open.
 */
export function* sealStaging(
  file: FileHandle,
  finished: FinishedFacts,
): DiskSequence<{ readonly facts: EntryFacts } | { readonly errno: string }> {
  const set = yield* ask({
    kind: "set-file-facts",
    file,
    mode: finished.mode,
    modifiedAtUs: finished.modifiedAtUs,
  });
  // A file system without modes, or with other limits on times, still holds the contents.
  if (!set.ok && set.errno === "EIO") return { errno: set.errno };
  const looked = yield* ask({ kind: "stat-file", file });
  if (!looked.ok) return { errno: looked.errno };
  return looked.facts.sizeBytes === finished.sizeBytes ? { facts: looked.facts } : { errno: "EIO" };
}

/** Flushes and closes. An fsync error is final: the page may be marked clean already, a second try would lie. */
export function* syncAndClose(file: FileHandle): DiskSequence<Errno> {
  const synced = yield* ask({ kind: "sync-file", file });
  const closed = yield* ask({ kind: "close-file", file });
  return errnoOf(synced) ?? errnoOf(closed);
}

/**
 * Gives a flushed staging file its final name: without `replaces` never over anything. The directory
 * still has to be synced.
 */
export function* publishStaging(
  root: RootHandle,
  staging: DiskPath,
  final: DiskPath,
  replaces: boolean,
): DiskSequence<Errno> {
  if (replaces) {
    const there = yield* ask({ kind: "lstat", root, path: final });
    if (there.ok && there.facts.kind !== "file") return "EEXIST";
    return errnoOf(yield* ask({ kind: "rename", root, from: staging, to: final }));
  }
  const linked = yield* ask({ kind: "link", root, from: staging, to: final });
  if (linked.ok) return errnoOf(yield* ask({ kind: "unlink", root, path: staging }));
  if (!LINKLESS.has(linked.errno)) return linked.errno;
  // A file system without hard links (FAT): look, then rename. A name that appears in between is
  // replaced; such file systems have one user. docs/spec/files.md §6.
  const there = yield* ask({ kind: "lstat", root, path: final });
  if (there.ok) return "EEXIST";
  if (there.errno !== "ENOENT") return there.errno;
  return errnoOf(yield* ask({ kind: "rename", root, from: staging, to: final }));
}

/** Errors of `link` that say: no hard links here. */
const LINKLESS: ReadonlySet<string> = new Set([
  "EPERM",
  "ENOTSUP",
  "EOPNOTSUPP",
  "EMLINK",
  "ENOSYS",
  "EXDEV",
]);

function errnoOf(result: { readonly ok: true } | { readonly ok: false; readonly errno: string }): Errno {
  return result.ok ? undefined : result.errno;
}

/** Closes a staging file and removes it. Failures are not told: there is nothing left to do about them. */
export function* removeStaging(
  root: RootHandle,
  path: DiskPath,
  file: FileHandle | undefined,
): DiskSequence<void> {
  if (file !== undefined) yield* ask({ kind: "close-file", file });
  yield* ask({ kind: "unlink", root, path });
}
