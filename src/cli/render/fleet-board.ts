/** The live board of a transfer to many, and its last table, as pure functions: tested without a terminal. */
import { counted, formatBytes, formatDuration, formatRate } from "../../base/units.ts";
import type { ReceiverVerdict } from "../../group/verdict.ts";
import { printable } from "../../files/printable.ts";
import { progressLine } from "./progress-line.ts";

/** One receiver on the board. */
export interface BoardLane {
  readonly target: string;
  readonly state: "waiting" | "dialling" | "moving" | "ended";
  readonly verifiedBytes: number;
  readonly totalBytes: number | undefined;
  readonly rateBytesPerSecond: number;
  readonly lossFraction: number | undefined;
}

/** The whole. */
export interface BoardTotal {
  readonly receivers: number;
  readonly completeReceivers: number;
  readonly endedReceivers: number;
  readonly verifiedBytes: number;
  readonly totalBytes: number | undefined;
  readonly rateBytesPerSecond: number;
  readonly sourceReadBytes: number;
  readonly sourceRereadBytes: number;
  /** With relay: what receivers gave each other. */
  readonly relay: { readonly relayedBytes: number } | undefined;
}

/** Characters of a target's name on the board; longer ones are cut. */
const NAME_COLUMNS = 24;

function nameColumn(target: string): string {
  const name = printable(target);
  return (name.length > NAME_COLUMNS ? `${name.slice(0, NAME_COLUMNS - 1)}…` : name).padEnd(NAME_COLUMNS);
}

/** One line for a lane that moves or dials, at most `columns` characters. */
export function laneLine(lane: BoardLane, columns: number): string {
  const label = nameColumn(lane.target);
  if (lane.state === "dialling") return `${label}  connecting`.slice(0, columns);
  const view = { ...lane, label, committedFiles: 0, totalFiles: undefined, smoothedRttUs: undefined };
  return progressLine(view, columns);
}

/** The line of the whole: receivers done, bytes, rate, and what was read again. */
export function totalLine(total: BoardTotal, columns: number): string {
  const failed = total.endedReceivers - total.completeReceivers;
  const more = failed > 0 ? `, ${failed} failed` : "";
  const again = total.sourceRereadBytes > 0 ? `  read again ${formatBytes(total.sourceRereadBytes)}` : "";
  const view = {
    ...total,
    label: `${total.completeReceivers}/${total.receivers} receivers${more}`,
    committedFiles: 0,
    totalFiles: undefined,
    smoothedRttUs: undefined,
    lossFraction: undefined,
  };
  const relayed = total.relay === undefined ? "" : `  relayed ${formatBytes(total.relay.relayedBytes)}`;
  return `${progressLine(view, columns)}${relayed}${again}`.slice(0, columns);
}

/**
 * The lines of the board: lanes that move or dial, folded into one line beyond `rows`, and the whole
 * last.
 */
export function boardLines(
  lanes: readonly BoardLane[],
  total: BoardTotal,
  rows: number,
  columns: number,
): string[] {
  const active = lanes.filter(({ state }) => state === "moving" || state === "dialling");
  const shown = active.length <= rows ? active : active.slice(0, Math.max(rows - 1, 0));
  const lines = shown.map((lane) => laneLine(lane, columns));
  const folded = active.slice(shown.length);
  if (folded.length > 0) {
    const rate = folded.reduce((sum, lane) => sum + lane.rateBytesPerSecond, 0);
    lines.push(`and ${folded.length} more, together ${formatRate(rate)}`.slice(0, columns));
  }
  return [...lines, totalLine(total, columns)];
}

/** What the last table says about one receiver. */
export interface TableRow {
  readonly target: string;
  readonly verdict: ReceiverVerdict;
  readonly files: number;
  readonly unchangedFiles: number;
  readonly bytes: number;
  readonly resumedBytes: number;
  readonly seconds: number;
  readonly attempts: number;
  /** Why it is not complete. */
  readonly text: string;
}

const VERDICT_WORDS: Readonly<Record<ReceiverVerdict, string>> = {
  verified: "verified",
  resumed: "resumed",
  partial: "partial",
  refused: "refused",
  unreachable: "unreachable",
  "timed-out": "timed out",
  failed: "failed",
  stopped: "stopped",
};

/** One row of the last table: `lab1:4639  verified  3 files, 20.0 MB in 4.21 s (38.0 Mbit/s)`. */
export function tableRow(row: TableRow): string {
  const { verdict, files, unchangedFiles, bytes, resumedBytes, seconds } = row;
  const head = `${nameColumn(row.target)}  ${VERDICT_WORDS[verdict].padEnd(11)}`;
  const again = row.attempts > 1 ? `, ${row.attempts} attempts` : "";
  if (row.text !== "") return `${head}  ${printable(row.text)}${again}`;
  const there = unchangedFiles > 0 ? `, ${unchangedFiles} unchanged` : "";
  const moved = Math.max(bytes - resumedBytes, 0);
  const rate = moved > 0 && seconds > 0 ? ` (${formatRate(moved / seconds)})` : "";
  const before = resumedBytes > 0 ? `, ${formatBytes(resumedBytes)} from before` : "";
  return `${head}  ${counted(files, "file")}${there}, ${formatBytes(bytes)} in ${formatDuration(seconds * 1e6)}${rate}${before}${again}`;
}

/** Text cut into rows of a terminal: the board switches the terminal's own wrapping off. */
export function terminalRows(text: string, columns: number): string[] {
  return text.split("\n").flatMap((line) => {
    const characters = Array.from(line);
    return Array.from({ length: Math.max(1, Math.ceil(characters.length / columns)) }, (_, row) =>
      characters.slice(row * columns, (row + 1) * columns).join(""),
    );
  });
}
