/** Finds and removes what interrupted transfers left: staging files, journals and locks without an owner. */
import { MANIFEST_ENTRIES } from "../base/limits.ts";
import type { DiskPath, DiskSequence, ListedEntry, RootHandle } from "./disk.ts";
import { ask } from "./disk.ts";
import { isLeftoverName, isStagingOf, lockPath } from "./staging-name.ts";

/** Entries listed at once. */
const PAGE_ENTRIES = 256;

/** The files of one interrupted transfer. */
export interface Leftover {
  /** 16 hexadecimal digits, see docs/spec/files.md §5. */
  readonly job: string;
  readonly paths: DiskPath[];
  sizeBytes: number;
  /** Latest time of modification among its files, in microseconds since 1970. */
  modifiedAtUs: number;
}

/** All interrupted transfers below a root, by job. Links are not followed; what cannot be read is passed over. */
export function* findLeftovers(root: RootHandle): DiskSequence<Map<string, Leftover>> {
  const found = new Map<string, Leftover>();
  const directories: DiskPath[] = [[]];
  for (let at = 0; at < directories.length; at++) {
    const parent = directories[at];
    const leftovers: string[] = [];
    yield* list(root, parent, ({ name, kind, isExactName }) => {
      if (kind === "directory" && isExactName && directories.length < MANIFEST_ENTRIES)
        directories.push([...parent, name]);
      else if (kind === "file" && isLeftoverName(name)) leftovers.push(name);
    });
    for (const name of leftovers) yield* note(root, [...parent, name], name, found);
  }
  return found;
}

/** Removes the staging files of a job in one directory. What cannot be read or removed stays. */
export function* removeStagingIn(root: RootHandle, parent: DiskPath, job: string): DiskSequence<void> {
  const names: string[] = [];
  yield* list(root, parent, ({ name, kind }) => {
    if (kind === "file" && isStagingOf(job, name)) names.push(name);
  });
  if (names.length === 0) return;
  for (const name of names) yield* ask({ kind: "unlink", root, path: [...parent, name] });
  // Or a power cut brings them back when the journal that tells of them is gone.
  yield* ask({ kind: "sync-directory", root, path: parent });
}

/** Calls `onEntry` for each entry of a directory; what cannot be read is passed over. */
function* list(root: RootHandle, path: DiskPath, onEntry: (entry: ListedEntry) => void): DiskSequence<void> {
  const opened = yield* ask({ kind: "open-directory", root, path });
  if (!opened.ok) return;
  const { directory } = opened;
  for (;;) {
    const page = yield* ask({ kind: "read-directory", directory, maxEntries: PAGE_ENTRIES });
    if (!page.ok || page.entries.length === 0) break;
    for (const entry of page.entries) onEntry(entry);
  }
  yield* ask({ kind: "close-directory", directory });
}

function* note(
  root: RootHandle,
  path: DiskPath,
  name: string,
  found: Map<string, Leftover>,
): DiskSequence<void> {
  const looked = yield* ask({ kind: "lstat", root, path });
  if (!looked.ok) return;
  const job = name.slice(".godwit-".length, ".godwit-".length + 16);
  let leftover = found.get(job);
  if (leftover === undefined)
    found.set(job, (leftover = { job, paths: [], sizeBytes: 0, modifiedAtUs: Number.NEGATIVE_INFINITY }));
  leftover.paths.push(path);
  leftover.sizeBytes += looked.facts.sizeBytes;
  leftover.modifiedAtUs = Math.max(leftover.modifiedAtUs, looked.facts.modifiedAtUs);
}

/**
 * Removes the files of one interrupted transfer. `inUse`: a living process is receiving it, nothing was
 * touched; otherwise how many files could not be removed.
 */
export function* removeLeftover(
  root: RootHandle,
  leftover: Leftover,
): DiskSequence<{ readonly inUse: boolean; readonly failed: number }> {
  const lock = lockPath(leftover.job);
  const locked = yield* ask({ kind: "lock", root, path: lock });
  if (!locked.ok) return { inUse: locked.errno === "EBUSY", failed: leftover.paths.length };
  let failed = 0;
  for (const path of leftover.paths) {
    if (path.length === 1 && path[0] === lock[0]) continue;
    const removed = yield* ask({ kind: "unlink", root, path });
    if (!removed.ok && removed.errno !== "ENOENT") failed++;
  }
  const unlocked = yield* ask({ kind: "unlock", root, path: lock });
  return { inUse: false, failed: unlocked.ok ? failed : failed + 1 };
}
