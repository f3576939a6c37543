/** Whether an offered file is taken, given what is at its place. Contract: docs/spec/transfer.md §6. */
import type { ErrorCode } from "../base/errors.ts";
import type { EntryKind } from "../files/disk.ts";
import { printable } from "../files/printable.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { TransferOptions } from "./transfer-options.ts";

/** What is at the final name already. */
export interface Existing {
  readonly kind: EntryKind;
  readonly sizeBytes: number;
  readonly modifiedAtUs: number;
}

/** What to do with an offered file. */
export type FileDecision =
  | { readonly type: "take"; readonly replaces: boolean }
  | { readonly type: "unchanged" }
  /** Unchanged if the contents are equal, else refused with `text`. */
  | { readonly type: "compare"; readonly text: string }
  | { readonly type: "refuse"; readonly code: ErrorCode; readonly text: string };

/** Times that differ less are equal: file systems keep between 100 ns and 2 s (FAT) of them. */
const SAME_TIME_US = 2_000_000;

/** Decides about a file; `existing` is `undefined` if nothing has its name. */
export function decideFile(
  entry: EntryMessage,
  existing: Existing | undefined,
  options: TransferOptions,
): FileDecision {
  if (existing === undefined) return { type: "take", replaces: false };
  const shown = printable(entry.path);
  if (existing.kind !== "file") {
    const what = { directory: "a directory", symlink: "a symbolic link", special: "a special file" }[
      existing.kind
    ];
    return { type: "refuse", code: "EXISTS", text: `${shown} is ${what} at the receiver; it was left alone` };
  }
  if (options.update && !options.checksum && isSame(entry, existing)) return { type: "unchanged" };
  if (options.overwrite || options.update) return { type: "take", replaces: true };
  const text = `${shown} exists at the receiver; use --overwrite to replace it or --update to replace what differs`;
  // Perhaps what the same command left when it was killed behind its last file: then it is complete.
  return isSame(entry, existing) ? { type: "compare", text } : { type: "refuse", code: "EXISTS", text };
}

function isSame(entry: EntryMessage, existing: Existing): boolean {
  return (
    entry.sizeBytes === existing.sizeBytes &&
    entry.modifiedAtUs !== undefined &&
    Math.abs(entry.modifiedAtUs - existing.modifiedAtUs) < SAME_TIME_US
  );
}

/** Times before 1970 and beyond what numbers hold become the nearest that every file system can hold. */
export function clampTime(timeUs: number | undefined): number | undefined {
  return timeUs === undefined ? undefined : Math.max(0, Math.min(timeUs, TIME_MAX_US));
}

/** 2106-02-07, the last second of 32 bits without a sign: the earliest end among file systems in use. */
const TIME_MAX_US = 4_294_967_295_000_000;
