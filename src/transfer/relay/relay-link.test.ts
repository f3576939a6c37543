import { describe, expect, test } from "vitest";
import { CHUNK_BYTES, RELAY_HAVE_RANGES } from "../../base/limits.ts";
import { MessageDecoder, MessageQueue } from "../control-stream.ts";
import type { IncomingFile } from "../incoming-file.ts";
import type { LinkOwner } from "./relay-link.ts";
import { RelayLink } from "./relay-link.ts";

function setUp() {
  const told: string[] = [];
  const owner: LinkOwner = {
    handleComplete: (_, { index, bytes }) => told.push(`complete ${index} ${bytes[0]} ${bytes[9]}`),
    handleCannot: (_, { index }) => told.push(`cannot ${index}`),
    handleChange: () => undefined,
    handleAsk: (_, object, index) => told.push(`ask ${object}:${index}`),
    handleServed: (bytes) => told.push(`served ${bytes.length}`),
    isReading: false,
    handleLinkOver: () => told.push("over"),
  };
  const messages = new MessageQueue();
  const link = new RelayLink(owner, { messages, peerFingerprint: "peer", end: () => undefined }, 1, 0);
  const said = (): unknown[] => new MessageDecoder().handleBytes(messages.take(100_000));
  return { link, told, said };
}

/** All that a link looks at. */
const FILE = { object: 7 } as IncomingFile;

describe("what is asked for", () => {
  test("a chunk is put together from pieces in any order; what was not asked for counts nothing", () => {
    const { link, told, said } = setUp();
    link.ask(FILE, 2, 10, new Uint8Array(16), 0);
    expect(said()).toEqual([{ type: "relay-ask", object: 7, chunk: 2 }]);
    const bytes = Uint8Array.of(1, 2, 3, 4, 5);
    const at = 2 * CHUNK_BYTES;
    expect(link.handlePiece(7, at + 5, bytes, 0, 5, 10)).toBe(5);
    // Another object, another chunk, the same piece again.
    expect(link.handlePiece(8, at, bytes, 0, 5, 11)).toBe(0);
    expect(link.handlePiece(7, 0, bytes, 0, 5, 11)).toBe(0);
    expect(link.handlePiece(7, at + 5, bytes, 0, 5, 11)).toBe(0);
    expect([link.progressAtUs, link.takeConsumedBytes(), told]).toEqual([10, 0, []]);
    expect(link.handlePiece(7, at, bytes, 0, 5, 12)).toBe(5);
    expect(told).toEqual(["complete 2 1 5"]);
    expect([link.takeConsumedBytes(), link.takeConsumedBytes()]).toEqual([10, 0]);
    expect(link.handlePiece(7, at, bytes, 0, 5, 13)).toBe(0);
  });

  test("data beyond the end of a chunk breaks the protocol; a chunk that cannot come is forgotten", () => {
    const { link, told } = setUp();
    link.ask(FILE, 0, 10, new Uint8Array(16), 0);
    expect(() => link.handlePiece(7, 6, new Uint8Array(5), 0, 5, 1)).toThrow(/beyond the end of a chunk/);
    link.handleMessage({ type: "relay-cannot", object: 7, chunk: 0 }, 2);
    expect([told, link.asked]).toEqual([["cannot 0"], []]);
  });

  test("the word of a helper about more ranges than are remembered is forgotten", () => {
    const { link } = setUp();
    for (let at = 0; at < RELAY_HAVE_RANGES + 10; at++)
      link.handleMessage({ type: "relay-have", object: 1, ranges: [[2 * at, 2 * at + 1]] }, 0);
    expect(link.has.of(1)?.rangeCount).toBe(RELAY_HAVE_RANGES);
    link.has.remove(1);
    link.handleMessage({ type: "relay-have", object: 2, ranges: [[0, 5]] }, 0);
    expect(link.has.of(2)?.toArray()).toEqual([[0, 5]]);
  });
});

describe("what is served", () => {
  test("three chunks at once and none twice", () => {
    const { link, told } = setUp();
    const ask = (chunk: number): void => link.handleMessage({ type: "relay-ask", object: 7, chunk }, 5);
    ask(0);
    expect(() => ask(0)).toThrow(/more chunks asked for/);
    ask(1);
    ask(2);
    expect(() => ask(3)).toThrow(/more chunks asked for/);
    expect(told).toEqual(["ask 7:0", "ask 7:1", "ask 7:2"]);
    link.decline(7, 1);
    ask(3);
    expect(link.askAtUs).toBe(5);
  });

  test("buffers come back when a chunk arrived, and when the link is over", () => {
    const { link, told } = setUp();
    for (const chunk of [0, 1]) {
      link.handleMessage({ type: "relay-ask", object: 7, chunk }, 0);
      link.serve(7, chunk, 10 + chunk, new Uint8Array(10 + chunk));
    }
    told.length = 0;
    const piece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
    expect(link.pieces.peekPiece(piece, false)).toBe(true);
    link.pieces.takePiece(piece, 10, new Uint8Array(10), 0);
    link.pieces.handlePieceAcked(7, 0, 10);
    expect(told).toEqual(["served 10"]);
    link.stop();
    link.stop();
    expect(told).toEqual(["served 10", "served 11", "over"]);
    // A chunk that was read too late.
    link.serve(7, 2, 12, new Uint8Array(12));
    expect(told.at(-1)).toBe("served 12");
  });

  test("nobody but a receiver's messages", () => {
    const { link } = setUp();
    expect(() => link.handleMessage({ type: "finished" }, 0)).toThrow(/a finished message between receivers/);
  });
});
