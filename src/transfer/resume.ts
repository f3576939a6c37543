/** What an earlier run left of a file, and whether it can be used. Argued in docs/design/resume.md. */
import { equalBytes } from "../base/bytes.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import type { DiskSequence, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { errnoText } from "../files/disk-errors.ts";
import type { Hash } from "../files/hash-tree.ts";
import { chunkCount, chunkLength, HashForest } from "../files/hash-tree.ts";
import type { JournaledFile } from "../files/journal.ts";
import type { IncomingFile } from "./incoming-file.ts";

/**
 * Whether the staging file of an earlier run can be used; otherwise the reason why the file starts
 * again. `isClean`: it was left in order and not touched since, so that no chunk needs to be read.
 */
export function* findEarlierState(
  root: RootHandle,
  file: IncomingFile,
  journaled: JournaledFile,
): DiskSequence<{ readonly isClean: boolean } | string> {
  const { binding } = file;
  if (
    binding === undefined ||
    binding.sizeBytes !== journaled.sizeBytes ||
    !equalBytes(binding.token, journaled.token)
  )
    return "the source changed since the earlier run";
  const looked = yield* ask({ kind: "lstat", root, path: file.staging });
  if (!looked.ok)
    return looked.errno === "ENOENT"
      ? "the partial file of the earlier run is gone"
      : `the partial file of the earlier run cannot be looked at: ${errnoText(looked.errno)}`;
  const { facts } = looked;
  // The chunks that the journal knows must at least fit in the file.
  const end = Math.min(journaled.have.end * CHUNK_BYTES, journaled.sizeBytes);
  if (facts.kind !== "file" || facts.identity !== journaled.identity || facts.sizeBytes < end)
    return "the partial file of the earlier run was replaced";
  const { clean } = journaled;
  const isClean =
    clean !== undefined &&
    clean.sizeBytes === facts.sizeBytes &&
    clean.modifiedAtUs === facts.modifiedAtUs &&
    clean.changedAtUs === facts.changedAtUs;
  return { isClean };
}

/** Whether the file under the final name has the root that the sender announced. */
export function* compareExisting(root: RootHandle, file: IncomingFile, hash: Hash): DiskSequence<boolean> {
  const { sizeBytes } = file;
  if (sizeBytes === undefined || file.root === undefined) return false;
  const opened = yield* ask({ kind: "open-source", root, path: file.path.components });
  if (!opened.ok) return false;
  const forest = new HashForest(hash);
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes));
  let isComplete = opened.facts.sizeBytes === sizeBytes;
  for (let index = 0; isComplete && index < chunkCount(sizeBytes); index++) {
    const part = buffer.subarray(0, chunkLength(sizeBytes, index));
    let at = 0;
    while (at < part.length) {
      const read = yield* ask({
        kind: "read",
        file: opened.file,
        offset: index * CHUNK_BYTES + at,
        target: part.subarray(at),
      });
      if (!read.ok || read.lengthBytes === 0) break;
      at += read.lengthBytes;
    }
    isComplete = at === part.length;
    if (isComplete) forest.addChunk(index, part.length, hash(part));
  }
  yield* ask({ kind: "close-file", file: opened.file });
  const found = isComplete ? forest.root(sizeBytes) : undefined;
  return found !== undefined && equalBytes(found, file.root);
}
