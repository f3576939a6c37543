/** Standard input, output and error as the classic systems use them. */
import * as fs from "node:fs";
import { GodwitError } from "../../base/errors.ts";
import type { ByteSink } from "../../classic/machine.ts";

/** Log lines kept for a reader that does not read, in bytes; more are dropped and counted. */
const LOG_HELD_BYTES = 1024 * 1024;

/** How long the end of a log waits for its reader, in milliseconds, and how often it looks. */
const LOG_CLOSE_MS = 2_000;
const LOG_LOOK_MS = 20;

/**
 * All of standard input.
 *
 * @throws GodwitError `OVER_LIMIT` beyond `limitBytes`, `SOURCE_UNREADABLE` if it cannot be read; the
 *   signal's reason if it is aborted.
 */
export async function readStandardInput(limitBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const stop = (): void => void process.stdin.destroy(signal.reason as Error);
  signal.addEventListener("abort", stop, { once: true });
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of process.stdin as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > limitBytes) break;
      parts.push(part);
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw new GodwitError("SOURCE_UNREADABLE", "cannot read standard input", { cause });
  } finally {
    signal.removeEventListener("abort", stop);
  }
  if (size > limitBytes) {
    throw new GodwitError("OVER_LIMIT", `standard input has more than ${limitBytes} bytes; use godwit send`);
  }
  return Buffer.concat(parts);
}

/** Standard output as a sink: bytes are out when they are written, and cannot be taken back. */
export function standardOutputSink(): ByteSink {
  let failure: Error | undefined;
  process.stdout.on("error", (error) => {
    failure = error;
  });
  const check = (): void => {
    if (failure !== undefined)
      throw new GodwitError("DISK_ERROR", "cannot write to standard output", { cause: failure });
  };
  return {
    write(bytes) {
      check();
      process.stdout.write(Buffer.from(bytes));
    },
    commit() {
      check();
      try {
        if (fs.fstatSync(1).isFile()) fs.fsyncSync(1);
      } catch (cause) {
        throw new GodwitError("DISK_ERROR", "cannot write to standard output", { cause });
      }
    },
    abort: () => undefined,
  };
}

/**
 * Lines to standard output or error that never stop the program: Node writes to pipes synchronously,
 * so a pipe that nobody reads would block a server after 64 kB of log, as it blocks the original.
 */
export class LineLog {
  private readonly stream: NodeJS.WriteStream;
  /** The pipe opened a second time, without blocking; `undefined` for terminals and files. */
  private readonly descriptor: number | undefined;
  private held: Buffer = Buffer.alloc(0);
  private droppedLines = 0;

  constructor(stream: "stdout" | "stderr") {
    this.stream = process[stream];
    this.descriptor = openPipe(stream === "stdout" ? 1 : 2);
  }

  /** Writes one line; it is dropped when the reader is too far behind. */
  write(line: string): void {
    if (this.descriptor === undefined) {
      this.stream.write(`${line}\n`);
      return;
    }
    if (this.held.length > LOG_HELD_BYTES) this.droppedLines++;
    else this.push(this.descriptor, Buffer.from(`${line}\n`));
  }

  /** Gives a slow reader a moment, then lets go of the rest. */
  async close(): Promise<void> {
    const { descriptor } = this;
    if (descriptor === undefined) return;
    for (let leftMs = LOG_CLOSE_MS; this.held.length > 0 && leftMs > 0; leftMs -= LOG_LOOK_MS) {
      await new Promise((resolve) => setTimeout(resolve, LOG_LOOK_MS));
      this.push(descriptor, Buffer.alloc(0));
    }
    if (this.droppedLines > 0 && this.held.length === 0)
      this.push(descriptor, Buffer.from(`(${this.droppedLines} lines dropped: nobody read them)\n`));
    fs.closeSync(descriptor);
  }

  private push(descriptor: number, bytes: Buffer): void {
    const all = this.held.length === 0 ? bytes : Buffer.concat([this.held, bytes]);
    let at = 0;
    try {
      while (at < all.length) at += fs.writeSync(descriptor, all, at);
    } catch (error) {
      // A reader that went away takes nothing any more; there is no one to tell.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") at = all.length;
    }
    this.held = all.subarray(at);
  }
}

/** A descriptor of its own for the pipe behind `descriptor`, so that not blocking stays a matter of this one. Linux. */
function openPipe(descriptor: number): number | undefined {
  try {
    if (!fs.fstatSync(descriptor).isFIFO()) return undefined;
    return fs.openSync(`/proc/self/fd/${descriptor}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}
