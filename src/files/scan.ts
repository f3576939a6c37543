/**
 * Walks the sources of a transfer page by page: one directory is open at a time, directories come
 * before what is in them, links are not followed, specials are named and skipped.
 */
import type { ErrorCode } from "../base/errors.ts";
import { PATH_DEPTH } from "../base/limits.ts";
import type { DiskPath, DiskSequence, EntryFacts, ListedEntry, RootHandle } from "./disk.ts";
import { ask } from "./disk.ts";
import { errnoText, sourceErrorCode } from "./disk-errors.ts";
import { printable } from "./printable.ts";
import { unsafeNameReason } from "./safe-path.ts";
import { isLeftoverName } from "./staging-name.ts";

/** Entries of one page: small enough that the first file is offered at once. */
const PAGE_ENTRIES = 128;

/** One thing the user named: a path below an opened root, and the name it has for the receiver. */
export interface ScanStart {
  readonly root: RootHandle;
  readonly path: DiskPath;
  /** Components for the receiver; `[]` offers the contents of a directory without itself. */
  readonly name: DiskPath;
}

/** What a scan found. */
export type ScannedEntry =
  | {
      readonly type: "entry";
      readonly root: RootHandle;
      readonly path: DiskPath;
      readonly name: DiskPath;
      readonly facts: EntryFacts;
      /** Target of a symbolic link, otherwise `""`. */
      readonly target: string;
    }
  | {
      readonly type: "skipped";
      readonly name: DiskPath;
      /** Whether the entry should have been sent. */
      readonly isFailure: boolean;
      readonly code: ErrorCode;
      readonly text: string;
    };

/** Whether an entry is wanted at all; a directory that is not is not entered. */
export type EntryFilter = (name: DiskPath, isDirectory: boolean) => boolean;

/** Choices of a scan. */
export interface ScanOptions {
  readonly sendsLinks: boolean;
  /** Only what was named, or the contents of a directory that was: nothing deeper. */
  readonly isShallow?: boolean;
  readonly filter: EntryFilter | undefined;
}

/** Where a scan stands. Made by `startScan`, moved on by `scanPage`. */
export interface ScanState {
  readonly options: ScanOptions;
  readonly starts: ScanStart[];
  /** Directories still to be listed; the last one is next. */
  readonly directories: ScanStart[];
  open: { readonly handle: number; readonly at: ScanStart } | undefined;
}

/** A scan over `starts`, in their order. */
export function startScan(starts: readonly ScanStart[], options: ScanOptions): ScanState {
  return { options, starts: [...starts], directories: [], open: undefined };
}

/** The next entries, never none; `undefined` when the scan is over. */
export function* scanPage(state: ScanState): DiskSequence<ScannedEntry[] | undefined> {
  const found: ScannedEntry[] = [];
  while (found.length === 0) {
    if (state.open !== undefined) yield* listPage(state, state.open, found);
    else if (state.directories.length > 0) yield* openNext(state, found);
    else {
      const start = state.starts.shift();
      if (start === undefined) return undefined;
      yield* look(state, start, found, undefined);
    }
  }
  return found;
}

/** Closes what a scan holds open. */
export function* endScan(state: ScanState): DiskSequence<void> {
  if (state.open === undefined) return;
  const { handle } = state.open;
  state.open = undefined;
  yield* ask({ kind: "close-directory", directory: handle });
}

function failure(name: DiskPath, errno: string): ScannedEntry {
  const shown = printable(name.join("/"));
  return {
    type: "skipped",
    name,
    isFailure: true,
    code: sourceErrorCode(errno),
    text: `cannot read ${shown}: ${errnoText(errno)}`,
  };
}

function* openNext(state: ScanState, found: ScannedEntry[]): DiskSequence<void> {
  const at = state.directories.pop();
  if (at === undefined) return;
  const opened = yield* ask({ kind: "open-directory", root: at.root, path: at.path });
  if (opened.ok) state.open = { handle: opened.directory, at };
  else found.push(failure(at.name, opened.errno));
}

function* listPage(
  state: ScanState,
  open: { readonly handle: number; readonly at: ScanStart },
  found: ScannedEntry[],
): DiskSequence<void> {
  const { handle: directory } = open;
  const page = yield* ask({ kind: "read-directory", directory, maxEntries: PAGE_ENTRIES, withFacts: true });
  if (!page.ok || page.entries.length === 0) {
    if (!page.ok) found.push(failure(open.at.name, page.errno));
    yield* endScan(state);
    return;
  }
  for (const listed of page.entries) {
    if (isLeftoverName(listed.name)) continue;
    yield* lookListed(state, open.at, listed, found);
  }
}

function* lookListed(
  state: ScanState,
  parent: ScanStart,
  listed: ListedEntry,
  found: ScannedEntry[],
): DiskSequence<void> {
  const name = [...parent.name, listed.name];
  if (state.options.filter?.(name, listed.kind === "directory") === false) return;
  if (!listed.isExactName) {
    found.push({
      type: "skipped",
      name,
      isFailure: true,
      code: "UNSAFE_NAME",
      text: `cannot send ${printable(name.join("/"))}: its name is not valid UTF-8; rename it and send again`,
    });
    return;
  }
  const at = { root: parent.root, path: [...parent.path, listed.name], name };
  yield* look(state, at, found, listed);
}

function* look(
  state: ScanState,
  start: ScanStart,
  found: ScannedEntry[],
  /** `undefined` for what the user named. */
  listed: ListedEntry | undefined,
): DiskSequence<void> {
  const isStart = listed === undefined;
  let facts = listed?.facts;
  if (facts === undefined) {
    const looked = yield* ask({ kind: "lstat", root: start.root, path: start.path });
    if (!looked.ok) {
      found.push(failure(start.name.length === 0 ? start.path : start.name, looked.errno));
      return;
    }
    ({ facts } = looked);
  }
  // Only a directory can be offered by its contents; anything else has a name.
  const isNameless = start.name.length === 0 && facts.kind !== "directory";
  const at = isNameless ? { ...start, name: start.path.slice(-1) } : start;
  const { name } = at;
  const shown = printable(name.join("/"));
  const unsafe = name.length === 0 ? undefined : unsafeNameReason(name[name.length - 1]);
  if (unsafe !== undefined || name.length > PATH_DEPTH) {
    const reason = unsafe ?? `it lies deeper than ${PATH_DEPTH} directories`;
    found.push({
      type: "skipped",
      name,
      isFailure: true,
      code: "UNSAFE_NAME",
      text: `cannot send ${shown}: ${reason}; rename it and send again`,
    });
    return;
  }
  switch (facts.kind) {
    case "directory":
      if (isStart || state.options.isShallow !== true) state.directories.push(at);
      if (name.length > 0) found.push({ type: "entry", ...at, facts, target: "" });
      return;
    case "file":
      found.push({ type: "entry", ...at, facts, target: "" });
      return;
    case "symlink": {
      if (!state.options.sendsLinks) {
        const text = `skipped the symbolic link ${shown}; --links sends links as links`;
        found.push({ type: "skipped", name, isFailure: isStart, code: "SOURCE_SPECIAL", text });
        return;
      }
      const link = yield* ask({ kind: "read-link", root: at.root, path: at.path });
      if (link.ok) found.push({ type: "entry", ...at, facts, target: link.target });
      else found.push(failure(name, link.errno));
      return;
    }
    default: {
      const text = `skipped ${shown}: neither file, directory nor link`;
      found.push({ type: "skipped", name, isFailure: isStart, code: "SOURCE_SPECIAL", text });
    }
  }
}
