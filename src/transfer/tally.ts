/** What became of the entries of a transfer, and the verdict over all of them. */
import type { ErrorCode } from "../base/errors.ts";
import { ERRORS } from "../base/errors.ts";
import type { DurableEntries } from "./receipt.ts";

/** Failures listed by name; more are counted only. */
const LISTED_FAILURES = 10_000;

/** One entry that failed. */
export interface EntryFailure {
  readonly path: string;
  readonly code: ErrorCode;
  readonly text: string;
}

/** The end of a transfer. */
export interface TransferOutcome {
  /** `undefined` for complete success. */
  readonly code: ErrorCode | undefined;
  /** One sentence for a person. */
  readonly text: string;
  /** Files that are durable under their final name, those found complete included. */
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  /** Bytes of these files. */
  readonly bytes: number;
  /** Files left alone because they were there already (`--update`). */
  readonly unchangedFiles: number;
  /** Bytes that were not sent because the receiver had them verified. */
  readonly resumedBytes: number;
  readonly failedEntries: number;
  /** The first failures. */
  readonly failures: readonly EntryFailure[];
  /** Entries left out on purpose: links, specials. */
  readonly skippedEntries: number;
  /** Entries that a dry run would have transferred. */
  readonly plannedEntries: number;
  /** Root over the durable entries, hexadecimal; `""` without any. docs/spec/receipts.md */
  readonly root: string;
}

/** Whether state for a later resume is kept after a transfer ended with `code`. docs/spec/files.md §5. */
export function keepsState(code: ErrorCode): boolean {
  const { exit } = ERRORS[code];
  return exit !== 7 && exit !== 8 && exit !== 9 && exit !== 10;
}

/** Counts results. */
export class Tally {
  files = 0;
  directories = 0;
  links = 0;
  bytes = 0;
  unchangedFiles = 0;
  resumedBytes = 0;
  failedEntries = 0;
  skippedEntries = 0;
  plannedEntries = 0;
  readonly failures: EntryFailure[] = [];
  /** What the root is over; `undefined` for who moves no entries. */
  readonly durable: DurableEntries | undefined;

  constructor(durable?: DurableEntries) {
    this.durable = durable;
  }

  /** Counts an entry that failed. */
  addFailure(path: string, code: ErrorCode, text: string): void {
    this.failedEntries++;
    if (this.failures.length < LISTED_FAILURES) this.failures.push({ path, code, text });
  }

  /** Entries that are as they should be. */
  get completeEntries(): number {
    return this.files + this.unchangedFiles + this.links + this.plannedEntries;
  }

  /** The verdict when everything was tried; with `code`, the verdict of a transfer that broke off. */
  outcome(code?: ErrorCode, text?: string): TransferOutcome {
    const verdict = code === undefined ? this.verdict() : { code, text: text ?? code };
    const { files, directories, links, bytes, unchangedFiles, resumedBytes, failedEntries, skippedEntries } =
      this;
    return {
      ...verdict,
      files,
      directories,
      links,
      bytes,
      unchangedFiles,
      resumedBytes,
      failedEntries,
      failures: this.failures,
      skippedEntries,
      plannedEntries: this.plannedEntries,
      root: this.durable?.rootHex ?? "",
    };
  }

  private verdict(): { code: ErrorCode | undefined; text: string } {
    const { failures, failedEntries } = this;
    if (failedEntries === 0) return { code: undefined, text: `${this.files} files complete` };
    const [first] = failures;
    // Nothing complete and one kind of failure: that failure is the verdict.
    const hasOneExit = failures.every(({ code }) => ERRORS[code].exit === ERRORS[first.code].exit);
    if (this.completeEntries === 0 && hasOneExit) {
      const more = failedEntries > 1 ? ` (and ${failedEntries - 1} more)` : "";
      return { code: first.code, text: first.text + more };
    }
    return {
      code: "PARTIAL",
      text: `${failedEntries} of ${failedEntries + this.completeEntries} entries failed; first: ${first.text}`,
    };
  }
}
