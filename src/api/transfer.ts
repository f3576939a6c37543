/** A transfer as a program sees it: an async iterable of events, and a promise of its result. */
import type { ErrorCode } from "../base/errors.ts";
import { ERRORS, GodwitError } from "../base/errors.ts";
import type { GodwitEvent } from "../events/event.ts";
import type { EntryFailure, TransferOutcome } from "../transfer/tally.ts";
import { EventStream } from "./event-stream.ts";
import type { PathReport } from "./path-report.ts";
import type { Receipt } from "./receipt.ts";

/** How the path is doing, told some times a second while a transfer runs. */
export interface PathMeasured {
  readonly type: "path-measured";
  readonly report: PathReport;
}

/** What a transfer tells while it runs. */
export type TransferUpdate = GodwitEvent | PathMeasured;

/** The end of a transfer in which nothing failed that would make the whole fail. */
export interface TransferResult {
  /** `complete`, or `partial` when some entries failed: they are in `failures`. */
  readonly result: "complete" | "partial";
  readonly exit: number;
  /** Files that are durable under their final name at the receiver. */
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  readonly unchangedFiles: number;
  /** With `dryRun`: entries that would be transferred. */
  readonly plannedEntries: number;
  /** Bytes of these files, and those among them that were there before. */
  readonly bytes: number;
  readonly resumedBytes: number;
  /** Hash of the tree of everything, hexadecimal; `""` where there is none. */
  readonly root: string;
  readonly seconds: number;
  readonly failures: readonly EntryFailure[];
  readonly peer: { readonly fingerprint: string; readonly address: string };
  readonly path: PathReport;
  /** The receiver's signed word for it, if `receipt` was asked for and something became durable there. */
  readonly receipt?: Receipt | undefined;
}

/** A running transfer. */
export interface Transfer extends AsyncIterable<TransferUpdate> {
  /** Settles at the end; rejects with a `GodwitError`. */
  readonly result: Promise<TransferResult>;
}

/** Times a second that the path is told about. */
const REPORTS_PER_SECOND = 5;

/** What the running part of a transfer is given. */
export interface TransferContext {
  /** Passes an event on to the readers. */
  emit(event: TransferUpdate): void;
  /** Tells the readers about the path, some times a second, until the transfer ends. */
  reportPath(measure: () => PathReport): void;
}

/** Starts `work` and presents it as a transfer. */
export function startTransfer(work: (context: TransferContext) => Promise<TransferResult>): Transfer {
  const events = new EventStream<TransferUpdate>();
  let timer: NodeJS.Timeout | undefined;
  const context: TransferContext = {
    emit: (event) => events.emit(event),
    reportPath: (measure) => {
      timer ??= setInterval(() => {
        if (events.hasReaders) events.emit({ type: "path-measured", report: measure() });
      }, 1_000 / REPORTS_PER_SECOND);
    },
  };
  const result = Promise.resolve()
    .then(() => work(context))
    .catch((error: unknown) => {
      throw asGodwitError(error);
    })
    .finally(() => {
      clearInterval(timer);
      events.end();
    });
  // Whoever only iterates learns of a failure by the end of the events; the result still rejects.
  result.catch(() => undefined);
  return { result, [Symbol.asyncIterator]: () => events[Symbol.asyncIterator]() };
}

/** The failure behind anything that was thrown. */
export function asGodwitError(error: unknown): GodwitError {
  if (error instanceof GodwitError) return error;
  if (error instanceof Error && error.name === "AbortError") {
    return new GodwitError("INTERRUPTED", "interrupted; run the same command to resume", { cause: error });
  }
  return new GodwitError(
    "INTERNAL",
    error instanceof Error ? (error.stack ?? error.message) : String(error),
    {
      cause: error,
    },
  );
}

/**
 * The result of an outcome.
 *
 * @throws GodwitError with the outcome's code when the transfer failed as a whole.
 */
export function transferResult(
  outcome: TransferOutcome,
  facts: Pick<TransferResult, "seconds" | "peer" | "path" | "receipt">,
): TransferResult {
  const { code } = outcome;
  if (code !== undefined && code !== "PARTIAL") throw outcomeError(code, outcome, facts.peer.address);
  return {
    ...facts,
    root: outcome.root,
    result: code === undefined ? "complete" : "partial",
    exit: code === undefined ? 0 : ERRORS.PARTIAL.exit,
    files: outcome.files,
    directories: outcome.directories,
    links: outcome.links,
    unchangedFiles: outcome.unchangedFiles,
    plannedEntries: outcome.plannedEntries,
    bytes: outcome.bytes,
    resumedBytes: outcome.resumedBytes,
    failures: outcome.failures,
  };
}

function outcomeError(code: ErrorCode, outcome: TransferOutcome, peer: string): GodwitError {
  const path = outcome.failures[0]?.path;
  return new GodwitError(code, outcome.text, path === undefined ? { peer } : { peer, path });
}
