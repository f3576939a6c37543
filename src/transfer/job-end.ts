/** What happens to a job's files at its end: completed, kept for a later run, or removed. */
import type { DiskSequence, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { removeStagingIn } from "../files/leftovers.ts";
import type { DirectoryTree } from "./directory-tree.ts";
import type { IncomingFile } from "./incoming-file.ts";
import type { JobJournal } from "./job-journal.ts";
import type { StagingOutput } from "./staging-output.ts";

/**
 * Everything has an answer: what an earlier run left goes, then directories get their modes and times,
 * deepest first.
 *
 * @param interruptedJob - The job, when an earlier run of it broke off and nothing of that is needed any more: it may have
 *   left staging files of entries that needed no data now, or were refused, or are no longer offered.
 */
export function* finishJob(
  root: RootHandle,
  directories: DirectoryTree,
  interruptedJob: string | undefined,
): DiskSequence<void> {
  if (interruptedJob !== undefined)
    for (const { path } of [directories.root, ...directories.deepestFirst()])
      yield* removeStagingIn(root, path, interruptedJob);
  for (const node of directories.deepestFirst()) {
    if (node.mode === undefined) continue;
    const { path, mode, modifiedAtUs } = node;
    yield* ask({ kind: "set-directory-facts", root, path, mode, modifiedAtUs });
    yield* ask({ kind: "sync-directory", root, path });
  }
}

/** The job broke off and can be resumed: staging files and journal stay. */
export function* saveJob(
  files: readonly IncomingFile[],
  output: StagingOutput,
  journal: JobJournal | undefined,
): DiskSequence<void> {
  for (const file of files) yield* output.save(file);
  if (journal !== undefined) yield* journal.close(journal.hasState);
}

/** The job broke off for good: nothing of it stays. */
export function* discardJob(
  root: RootHandle,
  files: readonly IncomingFile[],
  directories: DirectoryTree,
  journal: JobJournal | undefined,
): DiskSequence<void> {
  for (const file of files) {
    if (file.handle !== undefined) yield* ask({ kind: "close-file", file: file.handle });
    if (file.isStaged) yield* ask({ kind: "unlink", root, path: file.staging });
  }
  // Those that hold something are not empty and stay.
  for (const node of directories.deepestFirst())
    if (node.isMade) yield* ask({ kind: "remove-directory", root, path: node.path });
  if (journal !== undefined) yield* journal.close(false);
}
