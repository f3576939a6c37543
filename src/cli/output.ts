/**
 * Where a command says things: people read standard error, scripts read JSON lines on standard
 * output, data goes to standard output. One place decides, so that no two kinds ever mix.
 */
import { createRequire } from "node:module";
import type * as Progress from "cli-progress";
import { UNPRINTABLE } from "../base/unprintable.ts";
import { printable } from "../files/printable.ts";
import type { CommonOptions } from "./options.ts";
import { progressLine, type ProgressView } from "./render/progress-line.ts";

/** Redraws per second in a terminal. */
const REDRAWS_PER_SECOND = 10;

/** Seconds between progress lines where there is no terminal. */
const PLAIN_LINE_SECONDS = 10;

/** Characters of JSON lines that are held back, at most, to be written together. */
const HELD_CHARACTERS = 64 * 1_024;

/** Least time between two writes of JSON lines, in milliseconds: a server with a hundred transfers has some each turn. */
const LINES_EVERY_MS = 20;

/** Output of one command. */
export class Output {
  private readonly isJson: boolean;
  private readonly isQuiet: boolean;
  private readonly isTerminal: boolean;
  private bar: Progress.SingleBar | undefined;
  private diverted: ((line: string) => void) | undefined;
  private lastPlainAt = performance.now();
  /** JSON lines of this turn, or of some: a system call for each of thirty thousand is time that files could have. */
  private heldLines = "";
  private linesWrittenAt = -Infinity;

  constructor(options: CommonOptions) {
    this.isJson = options.json === true;
    this.isQuiet = options.quiet === true;
    this.isTerminal = process.stderr.isTTY && process.env["TERM"] !== "dumb";
    if (this.isJson) process.on("exit", () => this.writeLines());
  }

  /** Whether JSON lines were asked for. */
  get wantsJson(): boolean {
    return this.isJson;
  }

  /** Whether progress is to be shown to a person. */
  get wantsProgress(): boolean {
    return !this.isQuiet && !this.isJson;
  }

  /** Whether standard error is a terminal. */
  get hasTerminal(): boolean {
    return this.isTerminal;
  }

  /** Lines for people go through `write` from now on, or straight to standard error again. */
  divert(write: ((line: string) => void) | undefined): void {
    this.diverted = write;
  }

  /** A JSON line, when asked for. It is written at the end of the turn, or soon when others were just written. */
  json(event: Readonly<Record<string, unknown>> & { readonly event: string }): void {
    if (!this.isJson) return;
    if (this.heldLines === "") {
      const waitMs = this.linesWrittenAt + LINES_EVERY_MS - performance.now();
      if (waitMs > 0) setTimeout(() => this.writeLines(), waitMs);
      else setImmediate(() => this.writeLines());
    }
    this.heldLines += `${jsonLine(event)}\n`;
    if (this.heldLines.length > HELD_CHARACTERS) this.writeLines();
  }

  private writeLines(): void {
    if (this.heldLines === "") return;
    process.stdout.write(this.heldLines);
    this.heldLines = "";
    this.linesWrittenAt = performance.now();
  }

  /** A line for a person, unless quiet. */
  say(line: string): void {
    if (this.isQuiet) return;
    this.error(line);
  }

  /** A line for a person, quiet or not. What a terminal would act on is escaped. */
  error(text: string): void {
    const line = text.split("\n").map(printable).join("\n");
    if (this.diverted !== undefined) {
      this.diverted(line);
      return;
    }
    // A bar goes back to where it began when it ends, so it must not move down: the next update begins another.
    this.endProgress();
    process.stderr.write(`${line}\n`);
  }

  /** Shows or renews the progress line. */
  progress(view: ProgressView): void {
    if (this.isQuiet || this.isJson) return;
    if (!this.isTerminal) {
      const now = performance.now();
      if (now - this.lastPlainAt < PLAIN_LINE_SECONDS * 1_000) return;
      this.lastPlainAt = now;
      process.stderr.write(`${progressLine(view, 200)}\n`);
      return;
    }
    if (this.bar === undefined) {
      // Loaded when it is drawn: without a terminal it never is.
      const progress = createRequire(import.meta.url)("cli-progress") as typeof Progress;
      this.bar = new progress.SingleBar({
        format: (_options, _params, payload: { view: ProgressView }) =>
          progressLine(payload.view, (process.stderr.columns ?? 80) - 1),
        stream: process.stderr,
        fps: REDRAWS_PER_SECOND,
        clearOnComplete: true,
        hideCursor: true,
        gracefulExit: false,
      });
      this.bar.start(1, 0, { view });
    } else this.bar.update(0, { view });
  }

  /** Takes the progress line away. */
  endProgress(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}

/**
 * JSON that is safe on a terminal too: what `JSON.stringify` leaves raw of the characters that `printable`
 * escapes is written as `\uXXXX`, which reads back as the same string.
 */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNPRINTABLE, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

/** A peer's or a file's text, safe for a terminal. */
export function shown(text: string): string {
  return printable(text);
}
