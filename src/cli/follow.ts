/** Shows a running transfer: progress for people, JSON lines for scripts, and the last word for both. */
import type { Transfer, TransferResult, TransferUpdate } from "../api/transfer.ts";
import { ERRORS, GodwitError } from "../base/errors.ts";
import { counted, formatBytes, formatDuration } from "../base/units.ts";
import { FailureLines } from "./failure-lines.ts";
import { shown, type Output } from "./output.ts";
import { RateMeter } from "./render/rate-meter.ts";
import type { ProgressView } from "./render/progress-line.ts";
import { statisticsLines } from "./render/statistics.ts";
import { pathLine, verdictLine } from "./render/verdict.ts";

/** Files whose resumption is told by name. */
const RESUMED_FILES_SHOWN = 5;

/** Keeps what the progress line shows. */
export class ProgressFollower {
  private readonly output: Output;
  private readonly failures: FailureLines;
  private readonly meter = new RateMeter();
  private view: ProgressView;
  private hasStarted = false;
  private resumedFiles = 0;

  constructor(output: Output, label: string) {
    this.output = output;
    this.failures = new FailureLines((line) => output.error(line));
    this.view = {
      label,
      verifiedBytes: 0,
      totalBytes: undefined,
      committedFiles: 0,
      totalFiles: undefined,
      rateBytesPerSecond: 0,
      smoothedRttUs: undefined,
      lossFraction: undefined,
    };
  }

  /** Takes an update: says what a person wants to know at once, and renews the line. */
  handle(update: TransferUpdate): void {
    const { output } = this;
    this.failures.handle(update);
    switch (update.type) {
      case "transfer-resumed":
        this.sayResumed(update);
        return;
      case "file-restarted":
        output.say(`${shown(update.path)} starts again: ${shown(update.reason)}`);
        return;
      case "file-skipped":
        // What is there already is counted at the end; a line for each would hide what matters.
        if (update.reason !== "unchanged") output.say(shown(update.reason));
        return;
      case "file-planned": {
        const size = update.sizeBytes === undefined ? "" : ` (${formatBytes(update.sizeBytes)})`;
        output.say(`would ${update.replaces ? "replace" : this.view.label} ${shown(update.path)}${size}`);
        return;
      }
      case "path-silent":
        output.say(`no answer for ${formatDuration(update.sinceUs)}, trying on`);
        return;
      case "path-returned":
        output.say(`the path is back after ${formatDuration(update.afterUs)}`);
        return;
      case "socket-degraded":
        output.say(`${update.feature} is off on this path: ${update.reason}`);
        return;
      case "log-stopped":
        output.error(`the qlog is not complete: ${shown(update.reason)}`);
        return;
      case "progress":
        this.hasStarted = true;
        this.view = {
          ...this.view,
          verifiedBytes: update.verifiedBytes,
          totalBytes: update.totalBytes,
          committedFiles: update.committedFiles,
          totalFiles: update.totalFiles,
          rateBytesPerSecond: this.meter.add(update.verifiedBytes - update.resumedBytes, performance.now()),
        };
        break;
      case "path-measured":
        this.view = {
          ...this.view,
          smoothedRttUs: update.report.smoothedRttUs,
          lossFraction: update.report.lossFraction,
        };
        break;
      default:
        return;
    }
    if (this.hasStarted) output.progress(this.view);
  }

  /** The transfer is over; `text` is what will be said of it, `undefined` where that names no failure. */
  end(text: string | undefined): void {
    this.failures.end(text);
  }

  /** Files found whole are only counted at the end; a tree that was cut off has a few in the middle. */
  private sayResumed(update: TransferUpdate & { readonly type: "transfer-resumed" }): void {
    if (update.isWhole || ++this.resumedFiles > RESUMED_FILES_SHOWN) return;
    const share = Math.floor((1_000 * update.haveBytes) / Math.max(update.totalBytes, 1)) / 10;
    this.output.say(`${shown(update.path)} resumed at ${share.toFixed(1)} %`);
  }
}

/** The events that JSON lines leave out unless asked: one for each chunk would be the bulk of the output. */
const VERBOSE_EVENTS: ReadonlySet<string> = new Set(["chunk-verified", "recovery-updated"]);

/** A JSON line for an update. */
export function jsonEvent(update: TransferUpdate): (Record<string, unknown> & { event: string }) | undefined {
  if (VERBOSE_EVENTS.has(update.type)) return undefined;
  const { type, ...fields } = update;
  return { event: type, ...fields };
}

/** The last JSON line of a command that moved data. */
export function resultEvent(result: TransferResult): Record<string, unknown> & { event: string } {
  return {
    event: "result",
    result: result.result,
    exit: result.exit,
    files: result.files,
    bytes: result.bytes,
    wireBytes: result.path.wireBytes,
    retransmittedBytes: result.path.retransmittedBytes,
    resumedBytes: result.resumedBytes,
    seconds: result.seconds,
    root: result.root,
    path: result.path,
    peers: [
      {
        id: result.peer.fingerprint,
        address: result.peer.address,
        result: result.result,
        exit: result.exit,
      },
    ],
    errors: result.failures,
  };
}

/** The last JSON line of a command that failed. */
export function failureEvent(
  error: GodwitError,
  seconds: number,
): Record<string, unknown> & { event: string } {
  const peers =
    error.peer === undefined ? [] : [{ id: "", address: error.peer, result: "failed", exit: error.exit }];
  return {
    event: "result",
    result: "failed",
    exit: error.exit,
    files: 0,
    bytes: 0,
    wireBytes: 0,
    retransmittedBytes: 0,
    resumedBytes: 0,
    seconds,
    peers,
    errors: [{ path: error.path ?? "", code: error.code, text: error.message }],
  };
}

/** Follows a transfer to its end and says how it went. @throws GodwitError when it failed as a whole. */
export async function follow(
  transfer: Transfer,
  output: Output,
  verb: "sent" | "received",
  wantsStats: boolean,
): Promise<TransferResult> {
  const follower = new ProgressFollower(output, verb === "sent" ? "send" : "get");
  try {
    for await (const update of transfer) {
      if (output.wantsJson) {
        const event = jsonEvent(update);
        if (event !== undefined) output.json(event);
      }
      follower.handle(update);
    }
    const result = await transfer.result;
    output.endProgress();
    follower.end(undefined);
    sayVerdict(result, output, verb, wantsStats);
    return result;
  } catch (error) {
    follower.end(error instanceof Error ? error.message : undefined);
    throw error;
  } finally {
    output.endProgress();
  }
}

function sayVerdict(
  result: TransferResult,
  output: Output,
  verb: "sent" | "received",
  wantsStats: boolean,
): void {
  if (output.wantsJson) return;
  if (result.unchangedFiles > 0)
    output.say(`${counted(result.unchangedFiles, "file")} there already, unchanged`);
  if (result.plannedEntries > 0) {
    output.say(
      `dry run: ${counted(result.plannedEntries, "entry", "entries")} would be transferred, nothing was`,
    );
  } else {
    sayVerified(result, output, verb);
  }
  if (wantsStats) for (const line of statisticsLines(result.path)) output.say(line);
  if (result.result === "partial") {
    output.error(
      `${counted(result.failures.length, "entry", "entries")} failed; everything else is complete`,
    );
  }
}

function sayVerified(result: TransferResult, output: Output, verb: "sent" | "received"): void {
  output.say(
    verdictLine({
      verb,
      files: result.files,
      bytes: result.bytes,
      resumedBytes: result.resumedBytes,
      seconds: result.seconds,
      root: result.root,
      peer: `${result.peer.address} (${result.peer.fingerprint})`,
    }),
  );
  output.say(pathLine(result.path));
}

/** Ends a command that failed: one sentence, or the last JSON line, and the exit status. */
export function reportFailure(error: unknown, output: Output, startedAt: number, exitStatus?: number): void {
  const failure =
    error instanceof GodwitError
      ? error
      : new GodwitError("INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error));
  output.endProgress();
  if (output.wantsJson) output.json(failureEvent(failure, (performance.now() - startedAt) / 1_000));
  // A stack has lines of its own; in any other sentence a line break is a peer's.
  output.error(`godwit: ${failure.code === "INTERNAL" ? failure.message : shown(failure.message)}`);
  process.exitCode = exitStatus ?? ERRORS[failure.code].exit;
}
