/** The list of entries as a sender offers it: in order, within the limits of one transfer. */
import { GodwitError } from "../base/errors.ts";
import { ENTRIES_AHEAD, MANIFEST_BYTES, MANIFEST_ENTRIES } from "../base/limits.ts";
import type { EntryMessage } from "./entry-message.ts";

/** Bytes of an entry message without its texts: length, type, number, kind, flags, size, mode, time, token. */
const ENTRY_FIXED_BYTES = 40;

/** Counts what was offered. */
export class EntryList {
  /** Entries offered so far; the number of the next. */
  entries = 0;
  /** Bytes of the files offered so far. */
  totalBytes = 0;
  /** Everything was offered. */
  isComplete = false;
  /** Bytes that the sender says all will come to; `undefined` while it has not said so. */
  announcedBytes: number | undefined;
  private skippedEntries = 0;
  private manifestBytes = 0;

  /** Takes an entry, while `open` others have no answer. @throws GodwitError PROTOCOL_VIOLATION, OVER_LIMIT */
  add(entry: EntryMessage, open: number): void {
    if (this.isComplete || entry.object !== this.entries) throw violation("an entry out of order");
    this.entries++;
    if (open >= ENTRIES_AHEAD || this.entries > MANIFEST_ENTRIES)
      throw new GodwitError("OVER_LIMIT", "the sender offered more entries than this side takes");
    this.manifestBytes += entry.path.length + entry.target.length + ENTRY_FIXED_BYTES;
    if (this.manifestBytes > MANIFEST_BYTES)
      throw new GodwitError("OVER_LIMIT", "the sender's list of entries is longer than this side takes");
    this.totalBytes += entry.sizeBytes ?? 0;
    if (!Number.isSafeInteger(this.totalBytes))
      throw new GodwitError("OVER_LIMIT", "the sender offered more bytes than can be counted");
  }

  /** Takes the sender's count of a long list. @throws GodwitError PROTOCOL_VIOLATION for a second one */
  announce(totalBytes: number): void {
    if (this.isComplete || this.announcedBytes !== undefined) throw violation("totals twice or too late");
    this.announcedBytes = totalBytes;
  }

  /** Counts an entry that the sender leaves out. @throws GodwitError OVER_LIMIT */
  addSkipped(): void {
    if (++this.skippedEntries > MANIFEST_ENTRIES)
      throw new GodwitError("OVER_LIMIT", "the sender skipped more entries than a transfer may have");
  }

  /** Takes the end of the list. @throws GodwitError PROTOCOL_VIOLATION if it is not what was counted. */
  end(entries: number, totalBytes: number): void {
    if (this.isComplete || entries !== this.entries || totalBytes !== this.totalBytes)
      throw violation("a wrong end of the list of entries");
    this.isComplete = true;
  }
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
