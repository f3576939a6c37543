/**
 * What the commands of the classic systems have in common: common options, where lines and events
 * go, signals, the result line and the exit status.
 */
import { performance } from "node:perf_hooks";
import { InvalidArgumentError } from "commander";
import { ERRORS, GodwitError } from "../../base/errors.ts";
import type { ClassicEvent, ClassicOutcome } from "../../classic/machine.ts";
import { escapeUnprintable } from "../../base/unprintable.ts";
import type { CommonOptions } from "../options.ts";
import { jsonLine } from "../output.ts";

export { addCommonOptions } from "../options.ts";
export type { CommonOptions as ClassicCommonOptions } from "../options.ts";

/** Exit status of `probably-complete`: everything but a last confirmation that the wire lacks or that never came. */
const PROBABLY_COMPLETE_EXIT = 12;

/** Progress is drawn at most this often, in milliseconds. */
const PROGRESS_EVERY_MS = 100;

/** Numbers for the result line. */
interface ClassicTotals {
  files: number;
  bytes: number;
}

/** What a command's body works with. */
export interface ClassicRun {
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Hands an event on: its line to the user, the whole of it to `--json`, progress to a terminal. */
  readonly handleEvent: (event: ClassicEvent) => void;
  /** Text for people, on standard error; silent with `--quiet` and `--json`. */
  readonly note: (text: string) => void;
  readonly totals: ClassicTotals;
}

/** Where the lines of the original program go. Standard output unless data goes there. */
export type LineStream = "stdout" | "stderr";

/** Runs the body of a classic command and sets the process's exit status. Never rejects. */
export async function runClassic(
  options: CommonOptions,
  lines: LineStream,
  body: (run: ClassicRun) => Promise<ClassicOutcome>,
): Promise<void> {
  const startedMs = performance.now();
  const controller = new AbortController();
  let signalNumber = 0;
  const handleSignal = (name: string, number: number) => (): void => {
    // The second signal ends the process the hard way.
    if (signalNumber !== 0) process.exit(128 + number);
    signalNumber = number;
    controller.abort(new GodwitError("INTERRUPTED", `interrupted by ${name}`));
  };
  const onInterrupt = handleSignal("SIGINT", 2);
  const onTerminate = handleSignal("SIGTERM", 15);
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onTerminate);

  const printer = new Printer(options, lines);
  const tally = new Tally();
  const { totals } = tally;
  let outcome: ClassicOutcome;
  try {
    outcome = await body({
      signal: controller.signal,
      handleEvent: (event) => {
        tally.take(event);
        printer.event(event);
      },
      note: (text) => printer.note(text),
      totals,
    });
  } catch (error) {
    outcome = { result: "failed", error: toGodwitError(error) };
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onTerminate);
  }
  let exit = classicExit(outcome);
  if (outcome.result === "failed" && outcome.error.code === "INTERRUPTED" && signalNumber !== 0)
    exit = 128 + signalNumber;
  process.exitCode = exit;
  printer.result(outcome, exit, tally, (performance.now() - startedMs) / 1_000);
}

/** The exit status of an outcome: 0, 12, or the failure's own (docs/classic/README.md). */
function classicExit(outcome: ClassicOutcome): number {
  if (outcome.result === "complete") return 0;
  return outcome.result === "failed" ? outcome.error.exit : PROBABLY_COMPLETE_EXIT;
}

function toGodwitError(error: unknown): GodwitError {
  if (error instanceof GodwitError) return error;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new GodwitError("INTERNAL", `a bug in godwit: ${text}`, { cause: error });
}

/** What the result line tells beside the outcome. */
class Tally {
  readonly totals: ClassicTotals = { files: 0, bytes: 0 };
  readonly peers: { id: string; address: string; result: string; exit: number }[] = [];
  /** UDP payload bytes sent. */
  wireBytes = 0;

  take({ type, peer, doneBytes, facts }: ClassicEvent): void {
    if (type === "file-committed") {
      this.totals.files++;
      this.totals.bytes += doneBytes ?? 0;
    } else if (type === "socket-closed") this.wireBytes += Number(facts?.["sentBytes"] ?? 0);
    else if (type === "receiver-completed" || type === "receiver-failed")
      this.peers.push({
        // These systems know no identities.
        id: "",
        address: peer ?? "",
        result: type === "receiver-completed" ? "complete" : "failed",
        exit: type === "receiver-completed" ? 0 : Number(facts?.["exit"] ?? ERRORS.PEER_GONE.exit),
      });
  }
}

class Printer {
  private readonly isJson: boolean;
  private readonly isQuiet: boolean;
  private readonly lines: NodeJS.WriteStream;
  private readonly showsProgress: boolean;
  private progressAtMs = 0;
  private hasProgressLine = false;

  constructor(options: CommonOptions, lines: LineStream) {
    this.isJson = options.json === true;
    this.isQuiet = options.quiet === true;
    this.lines = lines === "stdout" ? process.stdout : process.stderr;
    this.showsProgress = process.stderr.isTTY && !this.isJson && !this.isQuiet;
  }

  event(event: ClassicEvent): void {
    if (this.isJson) {
      const { type, facts, ...rest } = event;
      process.stdout.write(`${jsonLine({ event: type, ...rest, ...facts })}\n`);
      return;
    }
    if (event.type === "progress") this.progress(event);
    if (event.line === undefined) {
      // The originals have no words for it; whoever runs a server wants to know why a file is missing.
      if (event.reason !== undefined && /-(failed|refused)$/.test(event.type))
        this.warn(
          `${[event.peer, event.name].filter((part) => part !== undefined).join(" ")}: ${event.reason}`,
        );
      return;
    }
    if (this.isQuiet) return;
    this.clearProgress();
    this.lines.write(`${escapeUnprintable(event.line)}\n`);
  }

  note(text: string): void {
    if (this.isJson || this.isQuiet) return;
    this.clearProgress();
    process.stderr.write(`${escapeUnprintable(text)}\n`);
  }

  private warn(text: string): void {
    this.clearProgress();
    process.stderr.write(`godwit: ${escapeUnprintable(text)}\n`);
  }

  private progress(event: ClassicEvent): void {
    if (!this.showsProgress) return;
    const nowMs = performance.now();
    if (nowMs - this.progressAtMs < PROGRESS_EVERY_MS) return;
    this.progressAtMs = nowMs;
    this.hasProgressLine = true;
    const done = event.doneBytes ?? 0;
    const share = event.totalBytes ? ` ${Math.floor((done / event.totalBytes) * 100)} %` : "";
    process.stderr.write(`\r\u001b[K${escapeUnprintable(event.name ?? "")} ${done} bytes${share}`);
  }

  private clearProgress(): void {
    if (this.hasProgressLine) process.stderr.write("\r\u001b[K");
    this.hasProgressLine = false;
  }

  result(outcome: ClassicOutcome, exit: number, tally: Tally, seconds: number): void {
    const error = outcome.result === "failed" ? outcome.error : undefined;
    if (this.isJson) {
      const line = {
        event: "result",
        result: outcome.result,
        exit,
        ...(outcome.result === "probably-complete" ? { reason: outcome.reason } : {}),
        files: tally.totals.files,
        bytes: tally.totals.bytes,
        wireBytes: tally.wireBytes,
        resumedBytes: 0,
        seconds: Math.round(seconds * 1_000) / 1_000,
        peers: tally.peers,
        errors:
          error === undefined ? [] : [{ path: error.path ?? "", code: error.code, text: error.message }],
      };
      process.stdout.write(`${jsonLine(line)}\n`);
      return;
    }
    this.clearProgress();
    if (error !== undefined) process.stderr.write(`godwit: ${escapeUnprintable(error.message)}\n`);
    else if (outcome.result === "probably-complete")
      process.stderr.write(`godwit: probably complete: ${escapeUnprintable(outcome.reason)}\n`);
    else if (!this.isQuiet)
      process.stderr.write(`complete: ${tally.totals.bytes} bytes in ${seconds.toFixed(2)} s\n`);
  }
}

/** Parses a port of a server, 0 for any free one. */
export function portArgument(text: string): number {
  return wholeNumber(text, 0, 65_535, "a port");
}

/** Parses a port of a client. */
export function remotePortArgument(text: string): number {
  return wholeNumber(text, 1, 65_535, "a port");
}

/** Parses a whole number in `[low, high]`. @throws InvalidArgumentError that names `what` and the range. */
export function wholeNumber(text: string, low: number, high: number, what: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= low && value <= high))
    throw new InvalidArgumentError(`${what} is a whole number from ${low} to ${high}, not "${text}"`);
  return value;
}

/** Parses a number of seconds above 0 into microseconds. */
export function secondsArgument(text: string): number {
  const seconds = /^\d{1,7}(\.\d{1,6})?$/.test(text) ? Number(text) : 0;
  if (seconds <= 0) throw new InvalidArgumentError(`"${text}" is not a number of seconds above 0`);
  return Math.round(seconds * 1_000_000);
}

/** Parses bytes: digits, or digits with `k`, `M`, `G`, `T` for powers of 1024. */
export function bytesArgument(text: string): number {
  const match = /^(\d{1,15})([kKmMgGtT])?(i?B)?$/.exec(text);
  const power = match?.[2] === undefined ? 0 : "kmgt".indexOf(match[2].toLowerCase()) + 1;
  const value = match === null ? Number.NaN : Number(match[1]) * 1024 ** power;
  if (!Number.isSafeInteger(value))
    throw new InvalidArgumentError(`"${text}" is not a size; write it like 1048576, 20M or 2G`);
  return value;
}

/** Parses `HOST:PORT` or `[IPV6]:PORT`. */
export function hostPortArgument(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  if (match === null) throw new InvalidArgumentError(`"${text}" is not HOST:PORT or [IPV6]:PORT`);
  return { host: match[1] ?? match[2], port: remotePortArgument(match[3]) };
}

/** Parses a probability in [0, 1]. */
export function probabilityArgument(text: string): number {
  const value = /^(0|1|0?\.\d{1,9}|1\.0+)$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError(`"${text}" is not a number from 0 to 1`);
  return value;
}
