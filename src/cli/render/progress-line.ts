/** The progress line as a pure function of what is known: tested without a terminal. */
import { formatBytes, formatDuration, formatRate } from "../../base/units.ts";

/** What the line shows. Unknown values are `undefined` and take no room. */
export interface ProgressView {
  readonly label: string;
  /** Bytes verified at the receiver, resumed ones included. */
  readonly verifiedBytes: number;
  readonly totalBytes: number | undefined;
  readonly committedFiles: number;
  readonly totalFiles: number | undefined;
  /** Verified bytes per second over the last seconds. */
  readonly rateBytesPerSecond: number;
  readonly smoothedRttUs: number | undefined;
  /** Share of sent packets declared lost, 0 to 1. */
  readonly lossFraction: number | undefined;
}

const BAR_WIDTH = 24;

function bar(fraction: number): string {
  const filled = Math.round(Math.min(Math.max(fraction, 0), 1) * BAR_WIDTH);
  return `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}]`;
}

/** The line, at most `columns` characters; fields that do not fit are left out from the end. */
export function progressLine(view: ProgressView, columns: number): string {
  const { totalBytes, totalFiles, verifiedBytes } = view;
  const fields: string[] = [];
  if (totalBytes === undefined) fields.push(formatBytes(verifiedBytes));
  else {
    const fraction = totalBytes === 0 ? 1 : verifiedBytes / totalBytes;
    fields.push(
      `${bar(fraction)} ${(Math.floor(fraction * 1_000) / 10).toFixed(1)} %`,
      `${formatBytes(verifiedBytes)} of ${formatBytes(totalBytes)}`,
    );
  }
  fields.push(formatRate(view.rateBytesPerSecond));
  if (totalBytes !== undefined && view.rateBytesPerSecond > 0 && verifiedBytes < totalBytes) {
    fields.push(`ETA ${formatDuration(((totalBytes - verifiedBytes) / view.rateBytesPerSecond) * 1e6)}`);
  }
  if (totalFiles !== undefined && totalFiles > 1) fields.push(`${view.committedFiles}/${totalFiles} files`);
  if (view.smoothedRttUs !== undefined) fields.push(`rtt ${(view.smoothedRttUs / 1_000).toFixed(1)} ms`);
  if (view.lossFraction !== undefined) fields.push(`loss ${(view.lossFraction * 100).toFixed(1)} %`);
  let line = view.label;
  for (const field of fields) {
    const longer = line === "" ? field : `${line}  ${field}`;
    if (longer.length > columns) break;
    line = longer;
  }
  return line.slice(0, columns);
}
