/** The last lines of a transfer as pure functions: what happened, and what the path was like. */
import { counted, formatBytes, formatDuration, formatRate } from "../../base/units.ts";
import type { PathReport } from "../../api/path-report.ts";

/** What the verdict is about. */
export interface VerdictView {
  readonly verb: "sent" | "received";
  readonly files: number;
  readonly bytes: number;
  readonly resumedBytes: number;
  readonly seconds: number;
  /** Hash of the tree of everything that was transferred, hexadecimal. */
  readonly root: string;
  /** The other side, as the user named it, and its fingerprint. */
  readonly peer: string;
}

/** Hexadecimal digits of a root that a person is shown; the whole is in --json and in the receipt. */
const ROOT_SHOWN = 16;

/** `verified 12 files, 386 MB in 4.21 s (94.1 Mbit/s) … root 9f3c…`. */
export function verdictLine(view: VerdictView): string {
  const moved = Math.max(view.bytes - view.resumedBytes, 0);
  const rate = moved > 0 && view.seconds > 0 ? ` (${formatRate(moved / view.seconds)})` : "";
  const resumed = view.resumedBytes > 0 ? `, ${formatBytes(view.resumedBytes)} of it from before` : "";
  const direction = view.verb === "sent" ? "on" : "here, from";
  const root = view.root === "" ? "" : `, root ${view.root.slice(0, ROOT_SHOWN)}...`;
  return `verified ${counted(view.files, "file")}, ${formatBytes(view.bytes)} in ${formatDuration(view.seconds * 1e6)}${rate}${resumed}, flushed ${direction} ${view.peer}${root}`;
}

/** `path 80.4 ms, 4.9 % lost, 5.3 % sent again, datagrams 1452 B; limit: path`. */
export function pathLine(report: PathReport): string {
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return [
    `path ${(report.minRttUs / 1_000).toFixed(1)} ms (${(report.smoothedRttUs / 1_000).toFixed(1)} ms with queues)`,
    `${percent(report.lossFraction)} lost`,
    `${percent(report.retransmittedFraction)} sent again`,
    `datagrams ${report.datagramBytes} B`,
    `limit: ${report.limit}`,
  ].join(", ");
}
