/** Streams into and out of a transfer, with bounded memory on both sides. */
import type { Readable } from "node:stream";
import type { ReadableStream as WebReadableStream } from "node:stream/web";
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
      session.cancel("SOURCE_UNREADABLE", `the stream to send failed: ${text}`, nowUs);
      host.wake();
    });
  });
  return () => {
    isEnded = true;
    void iterator.return?.(undefined);
  };
}
