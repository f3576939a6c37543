/** Streams into and out of a transfer, with bounded memory on both sides. */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import type {
  ReadableStream as WebReadableStream,
  WritableStream as WebWritableStream,
} from "node:stream/web";
import type { ErrorCode } from "../base/errors.ts";
import { destinationErrorCode, errnoText, isOutOfSpace } from "../files/disk-errors.ts";
import { monotonicNowUs } from "../node/clock.ts";
import type { Host } from "../node/host.ts";
import type { Connection } from "../transport/connection.ts";
import type { ClientSession } from "../transfer/client-session.ts";

/** Any source of bytes. */
export type ByteStream = Readable | WebReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Feeds a stream into a session: reads the next block only when the one before was taken. When the
 * stream fails the transfer is cancelled. Returns a function that stops and closes the stream.
 */
export function feedPipe(
  stream: ByteStream,
  session: ClientSession,
  host: Host,
  connection: Connection,
): () => void {
  const iterator = (stream as AsyncIterable<Uint8Array | string>)[Symbol.asyncIterator]();
  let block = new Uint8Array(0);
  let isReading = false;
  let isEnded = false;

  const read = async (): Promise<void> => {
    const next = await iterator.next();
    isReading = false;
    if (isEnded) return;
    if (next.done === true) {
      isEnded = true;
      session.endPipe(monotonicNowUs());
    } else {
      block =
        typeof next.value === "string" ? new TextEncoder().encode(next.value) : new Uint8Array(next.value);
    }
    host.wake();
  };

  host.eachTurn(connection, (nowUs) => {
    if (isEnded || session.outcome !== undefined) return;
    if (block.length > 0) block = block.subarray(session.offerPipeBytes(block));
    if (block.length > 0 || isReading) return;
    isReading = true;
    read().catch((error: unknown) => {
      isEnded = true;
      const text = error instanceof Error ? error.message : String(error);
      // What the stream says may name places of this machine.
      session.cancel(
        "SOURCE_UNREADABLE",
        `the stream to send failed: ${text}`,
        nowUs,
        "the sender's stream failed",
      );
      host.wake();
    });
  });
  return () => {
    isEnded = true;
    void iterator.return?.(undefined);
  };
}

/** Where bytes may go. */
export type ByteSink = Writable | WebWritableStream<Uint8Array>;

/**
 * Drains a session's verified bytes into a stream, in order, no faster than it takes them. When the
 * stream fails the transfer is cancelled. Returns a function that stops.
 */
export function drainPipe(
  sink: ByteSink,
  session: ClientSession,
  host: Host,
  connection: Connection,
): () => void {
  const write = writerOf(sink);
  let isWriting = false;
  let isStopped = false;
  const pump = async (): Promise<void> => {
    for (;;) {
      const bytes = isStopped ? undefined : session.takePipeBytes(monotonicNowUs());
      if (bytes === undefined) break;
      host.wake();
      await write(bytes);
    }
    isWriting = false;
  };
  host.eachTurn(connection, (nowUs) => {
    if (isWriting || isStopped) return;
    isWriting = true;
    pump().catch((error: unknown) => {
      isStopped = true;
      const { code, text } = sinkFailure(error);
      session.cancel(
        code,
        `the stream to write to failed: ${text}`,
        nowUs,
        "the stream that the receiver writes to failed",
      );
      host.wake();
    });
  });
  return () => {
    isStopped = true;
  };
}

/** What an error of a sink means: a full disk behind it is one here too. */
function sinkFailure(error: unknown): { readonly code: ErrorCode; readonly text: string } {
  const errno = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (errno === "EPIPE") return { code: "DESTINATION_UNWRITABLE", text: "its reader has closed it" };
  if (errno !== undefined && (isOutOfSpace(errno) || errno === "EFBIG"))
    return { code: destinationErrorCode(errno), text: errnoText(errno) };
  return { code: "DESTINATION_UNWRITABLE", text: error instanceof Error ? error.message : String(error) };
}

/** Resolves when a stream wants more, or is closed. */
async function drained(sink: Writable): Promise<void> {
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    await Promise.race([once(sink, "drain", { signal }), once(sink, "close", { signal })]);
  } finally {
    // The one that did not come would stay on the stream, one for each chunk.
    waiting.abort();
  }
}

/** A function that writes bytes and resolves when the stream wants more. */
function writerOf(sink: ByteSink): (bytes: Uint8Array) => Promise<void> {
  if (!("getWriter" in sink)) {
    let failure: Error | undefined;
    sink.on("error", (error: Error) => {
      failure = error;
    });
    return async (bytes) => {
      if (failure !== undefined) throw failure;
      if (!sink.write(bytes)) await drained(sink);
      if (failure !== undefined) throw failure;
    };
  }
  const writer = sink.getWriter();
  return async (bytes) => {
    await writer.ready;
    await writer.write(bytes);
  };
}
