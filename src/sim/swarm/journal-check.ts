/** Whether a journal tells the truth about the disk it is on. */
import { equalBytes } from "../../base/bytes.ts";
import { CHUNK_BYTES } from "../../base/limits.ts";
import type { Hash } from "../../files/hash-tree.ts";
import { chunkLength } from "../../files/hash-tree.ts";
import type { JournaledChunks } from "../../files/journal.ts";
import { JournalDecoder } from "../../files/journal.ts";

/**
 * Looks for a chunk that a journal names and that its staging file would not hold after a power cut.
 *
 * @param journal - Its bytes as the running system sees them: what was written may reach the disk at any time.
 * @param durable - Bytes of every file by identity that a power cut would leave for certain.
 * @returns a sentence about the first one, or `undefined`. A staging file that is gone is no harm.
 */
export function findUnsafeChunk(
  hash: Hash,
  job: string,
  journal: Uint8Array,
  durable: ReadonlyMap<string, Uint8Array>,
): string | undefined {
  const records: JournaledChunks[] = [];
  const decoder = new JournalDecoder(hash, job, (chunks) => records.push(chunks));
  decoder.handleBytes(journal);
  const { files } = decoder.finish();
  for (const file of files.values()) {
    const bytes = durable.get(file.identity);
    if (bytes === undefined) continue;
    for (const { fileIndex, firstChunk, hashes } of records) {
      if (fileIndex !== file.index) continue;
      for (let i = 0; i < hashes.length; i++) {
        const at = (firstChunk + i) * CHUNK_BYTES;
        const chunk = bytes.subarray(at, at + chunkLength(file.sizeBytes, firstChunk + i));
        if (!equalBytes(hash(chunk), hashes[i]))
          return `the journal names chunk ${firstChunk + i} of a file, but a power cut would take it away`;
      }
    }
  }
  return undefined;
}
