/** One line of a listing, safe for a terminal. */
import type { Entry } from "../../api/list.ts";
import { printable } from "../../files/printable.ts";

const KIND_LETTER = { file: "-", directory: "d", symlink: "l" } as const;

/** `-rw-r--r--      12345  2026-11-21 08:29  docs/a.txt`; times in UTC, peers' names escaped. */
export function entryLine(entry: Entry): string {
  const bits = Array.from("rwxrwxrwx", (letter, i) => ((entry.mode >> (8 - i)) & 1 ? letter : "-")).join("");
  const size = entry.kind === "file" ? String(entry.sizeBytes ?? "?") : "";
  const name = printable(entry.path) + (entry.kind === "directory" ? "/" : "");
  const target = entry.kind === "symlink" ? ` -> ${printable(entry.target)}` : "";
  return `${KIND_LETTER[entry.kind]}${bits} ${size.padStart(12)}  ${timeText(entry.modifiedAtUs)}  ${name}${target}`;
}

function timeText(us: number | undefined): string {
  const date = us === undefined ? undefined : new Date(us / 1_000);
  // A peer may name a time that no calendar has.
  if (date === undefined || Number.isNaN(date.getTime())) return "-".padEnd(16);
  return date.toISOString().slice(0, 16).replace("T", " ");
}
