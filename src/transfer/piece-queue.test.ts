import { expect, test } from "vitest";
import { CHUNK_BYTES } from "../base/limits.ts";
import type { LoadedChunk } from "./chunk-supply.ts";
import { PieceQueue } from "./piece-queue.ts";

/** Two whole chunks of one object, sent and waiting for acknowledgement; the indexes of those delivered. */
function sentPair(): { queue: PieceQueue; delivered: number[] } {
  const delivered: number[] = [];
  const queue = new PieceQueue({
    isReading: false,
    handleChunkSent: () => undefined,
    handleChunkAcked: (chunk) => void delivered.push(chunk.index),
    handleReloadNeeded: () => undefined,
  });
  const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
  for (const index of [0, 1]) {
    const bytes = new Uint8Array(CHUNK_BYTES);
    queue.add(1, { index, lengthBytes: CHUNK_BYTES, bytes, source: {} } as unknown as LoadedChunk);
  }
  while (queue.peekPiece(piece, false)) {
    queue.takePiece(piece, piece.availableBytes, new Uint8Array(CHUNK_BYTES), 0);
  }
  return { queue, delivered };
}

test("an acknowledged range may reach into the next chunk and counts there", () => {
  const { queue, delivered } = sentPair();
  queue.handlePieceAcked(1, 0, CHUNK_BYTES - 100);
  // 94 of the last 100 bytes, and 6 of the next chunk: the first chunk still has a hole of 6.
  queue.handlePieceAcked(1, CHUNK_BYTES - 94, 100);
  expect(delivered).toEqual([]);
  queue.handlePieceAcked(1, CHUNK_BYTES - 100, 6);
  expect(delivered).toEqual([0]);
  queue.handlePieceAcked(1, CHUNK_BYTES + 6, CHUNK_BYTES - 6);
  expect(delivered).toEqual([0, 1]);
});

test("a lost range that reaches into the next chunk is sent again in both", () => {
  const { queue } = sentPair();
  queue.handlePieceLost(1, CHUNK_BYTES - 10, 30);
  const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
  const again: [number, number][] = [];
  while (queue.peekPiece(piece, true)) {
    again.push([piece.offset, piece.availableBytes]);
    queue.takePiece(piece, piece.availableBytes, new Uint8Array(100), 0);
  }
  expect(again).toEqual([
    [CHUNK_BYTES - 10, 10],
    [CHUNK_BYTES, 20],
  ]);
});
