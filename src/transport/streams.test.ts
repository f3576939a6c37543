import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { ReceiveStream } from "./receive-stream.ts";
import { SendStream } from "./send-stream.ts";
import type { StreamPiece } from "./send-stream.ts";
import { Streams } from "./streams.ts";

const newPiece = (): StreamPiece => ({ offset: 0, lengthBytes: 0, isFinal: false, isRetransmission: false });
const letters = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** Takes the next piece, at most `most` bytes, as text with its offset. */
function takeNext(stream: SendStream, most = 1_000): [number, string, boolean] | undefined {
  const piece = newPiece();
  if (!stream.peek(piece)) return undefined;
  const length = Math.min(most, piece.lengthBytes);
  const target = new Uint8Array(length);
  stream.take(piece, length, target, 0);
  return [piece.offset, text(target), piece.isFinal && length === piece.lengthBytes];
}

describe("the sending half", () => {
  test("sends new bytes within the limit, lost ones first, never acknowledged ones", () => {
    const stream = new SendStream(0, 6);
    expect(stream.write(letters("abcdefgh"), true)).toBe(8);
    expect(takeNext(stream, 4)).toEqual([0, "abcd", false]);
    expect(takeNext(stream)).toEqual([4, "ef", false]);
    expect(takeNext(stream)).toBeUndefined();
    expect(stream.isBlocked).toBe(true);
    stream.handleAcked(1, 2, false);
    stream.handleLost(0, 4, false);
    stream.raiseLimit(8);
    stream.raiseLimit(3); // RFC 9000 §4.1: a lower limit than before is ignored
    expect(takeNext(stream)).toEqual([0, "a", false]);
    expect(takeNext(stream)).toEqual([3, "d", false]);
    expect(takeNext(stream)).toEqual([6, "gh", true]);
    expect(stream.isDone).toBe(false);
    stream.handleAcked(6, 2, true);
    stream.handleAcked(0, 6, false);
    expect(stream.isDone).toBe(true);
  });

  test("an end that was lost is sent again, alone", () => {
    const stream = new SendStream(0, 10);
    stream.write(letters("ab"), false);
    expect(takeNext(stream)).toEqual([0, "ab", false]);
    stream.write(new Uint8Array(0), true);
    expect(takeNext(stream)).toEqual([2, "", true]);
    stream.handleLost(2, 0, true);
    expect(takeNext(stream)).toEqual([2, "", true]);
    stream.handleAcked(2, 0, true);
    stream.handleLost(2, 0, true); // the first copy, declared lost late
    expect(takeNext(stream)).toBeUndefined();
  });

  test("takes no more than its buffer holds, and goes on when bytes were acknowledged", () => {
    const stream = new SendStream(0, 1e9);
    expect(stream.write(new Uint8Array(300_000), true)).toBe(262_144);
    expect(stream.write(new Uint8Array(1), false)).toBe(0);
    takeNext(stream, 300_000);
    stream.handleAcked(0, 1_000, false);
    expect(stream.write(new Uint8Array(37_856), true)).toBe(1_000);
  });

  test("after a reset nothing is sent but RESET_STREAM", () => {
    const stream = new SendStream(0, 100);
    stream.write(letters("abc"), false);
    takeNext(stream, 2);
    stream.reset(7);
    stream.handleLost(0, 2, false);
    expect(takeNext(stream)).toBeUndefined();
    expect([stream.resetWith, stream.sentBytes, stream.isDone]).toEqual([7, 2, false]);
    stream.handleResetAcked();
    expect(stream.isDone).toBe(true);
  });
});

describe("the receiving half", () => {
  test("the final size cannot change, RFC 9000 §4.5", () => {
    const stream = new ReceiveStream(0, 100);
    stream.handlePiece(0, letters("abc"), 0, 3, true);
    const code = (act: () => void): string | undefined => {
      try {
        act();
      } catch (error) {
        return (error as { code: string }).code;
      }
      return undefined;
    };
    expect(code(() => stream.handlePiece(2, letters("c"), 0, 1, true))).toBeUndefined();
    expect(code(() => stream.handlePiece(3, letters("d"), 0, 1, false))).toBe("PROTOCOL_VIOLATION");
    expect(code(() => stream.handlePiece(0, letters("ab"), 0, 2, true))).toBe("PROTOCOL_VIOLATION");
    expect(code(() => stream.handleReset(1, 4))).toBe("PROTOCOL_VIOLATION");
    expect(code(() => stream.handlePiece(99, letters("xy"), 0, 2, false))).toBe("FLOW_CONTROL");
  });

  test("more is granted once half of the window was read", () => {
    const stream = new ReceiveStream(0, 10);
    stream.handlePiece(0, letters("abcd"), 0, 4, false);
    stream.read();
    expect([stream.raiseLimit(), stream.limit]).toEqual([false, 10]);
    stream.handlePiece(4, letters("e"), 0, 1, false);
    stream.read();
    expect([stream.raiseLimit(), stream.limit]).toEqual([true, 15]);
  });

  test("a reset ends reading, unless everything was read", () => {
    const stream = new ReceiveStream(0, 10);
    stream.handlePiece(0, letters("ab"), 0, 2, false);
    stream.handleReset(9, 5);
    expect([stream.read(), stream.isFinished, stream.resetWith]).toEqual([undefined, true, 9]);
    const whole = new ReceiveStream(0, 10);
    whole.handlePiece(0, letters("ab"), 0, 2, true);
    whole.read();
    whole.handleReset(9, 2);
    expect([whole.isFinished, whole.resetWith]).toEqual([true, undefined]);
  });
});

test("whatever is lost, late or doubled on the way, what is written is what is read", () => {
  const step = fc.record({
    write: fc.nat(3_000),
    take: fc.integer({ min: 1, max: 2_000 }),
    fate: fc.constantFrom("arrives", "lost", "late", "doubled"),
    read: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
      const send = new SendStream(0, 5_000);
      const receive = new ReceiveStream(0, 5_000);
      const written: number[] = [];
      const read: number[] = [];
      const late: (() => void)[] = [];
      let next = 0;
      const read1 = (): void => {
        read.push(...(receive.read() ?? []));
        receive.raiseLimit();
        send.raiseLimit(receive.limit);
      };
      const transmit = (most: number, fate: string): boolean => {
        const piece = newPiece();
        if (!send.peek(piece)) return false;
        const length = Math.min(most, piece.lengthBytes);
        const isFinal = piece.isFinal && length === piece.lengthBytes;
        const { offset } = piece;
        const bytes = new Uint8Array(length + 3);
        send.take(piece, length, bytes, 3);
        const arrive = (): void => {
          receive.handlePiece(offset, bytes, 3, length, isFinal);
          send.handleAcked(offset, length, isFinal);
        };
        if (fate !== "lost" && fate !== "late") arrive();
        if (fate === "doubled") late.push(arrive);
        if (fate === "lost" || fate === "late") send.handleLost(offset, length, isFinal);
        if (fate === "late") late.push(arrive);
        return true;
      };
      for (const { write, take, fate, read } of steps) {
        const bytes = Uint8Array.from({ length: write }, () => next++ & 0xff);
        const taken = send.write(bytes, false);
        written.push(...bytes.subarray(0, taken));
        next -= write - taken;
        transmit(take, fate);
        if (read) read1();
        if (take % 3 === 0) late.shift()?.();
      }
      send.write(new Uint8Array(0), true);
      for (const arrive of late) arrive();
      for (let i = 0; i < 10_000 && !receive.isFinished; i++) {
        transmit(1_000, "arrives");
        read1();
      }
      expect(receive.isFinished).toBe(true);
      expect(send.isDone).toBe(true);
      expect(read.length).toBe(written.length);
      expect(read).toEqual(written);
    }),
    { numRuns: 150 },
  );
});

describe("all streams of a connection", () => {
  test("ids: the initiator's are even, the responder's odd; a peer's stream opens all below it", () => {
    const initiator = new Streams("initiator");
    expect([initiator.open(), initiator.open()]).toEqual([0, 2]);
    const responder = new Streams("responder");
    expect(responder.open()).toBe(1);
    responder.handlePiece(4, 0, letters("x"), 0, 1, true);
    expect(responder.isFinished(6)).toBe(false);
    expect(responder.write(2, letters("y"), true)).toBe(1);
    expect(responder.takeReadable()).toEqual([4]);
    expect(responder.takeReadable()).toEqual([]);
  });

  test("one stream after the other: a finished one makes room for a new one", () => {
    const streams = new Streams("responder", { windowBytes: 10, peerStreams: 2 });
    const use = (id: number): void => {
      streams.handlePiece(id, 0, letters("x"), 0, 1, true);
      streams.write(id, letters("y"), true);
      streams.read(id);
    };
    use(0);
    use(2);
    expect(() => use(4)).toThrow(expect.objectContaining({ code: "PROTOCOL_VIOLATION" }));
    streams.handleAcked(0, 0, 1, true);
    expect([streams.needsMaxStreams, streams.maxStreams]).toEqual([true, 3]);
    use(4);
    // A late frame for a stream that is over changes nothing.
    streams.handlePiece(0, 0, letters("x"), 0, 1, true);
    expect([streams.isFinished(0), streams.isDelivered(0)]).toEqual([true, true]);
  });

  test("streams take turns, and wait for the peer's limits", () => {
    const streams = new Streams("initiator");
    const ids = [streams.open(), streams.open()];
    for (const id of ids) streams.write(id, letters("abcd"), false);
    expect(streams.hasSendable).toBe(false);
    streams.handlePeerLimits(1, 3);
    const piece = newPiece();
    expect(streams.peek(piece)?.id).toBe(0);
    streams.handleMaxStreams(2);
    streams.rotate();
    expect(streams.peek(piece)?.id).toBe(2);
    expect(piece.lengthBytes).toBe(3);
  });

  test("STOP_SENDING is answered with RESET_STREAM", () => {
    const streams = new Streams("initiator");
    streams.handlePeerLimits(1, 3);
    const id = streams.open();
    streams.write(id, letters("abc"), false);
    streams.handleStop(id, 5);
    expect([...streams.resets]).toEqual([id]);
    expect(streams.resetFacts(id)).toEqual({ code: 5, finalSize: 0 });
  });

  test("a write that was cut short is told when there is room", () => {
    const streams = new Streams("initiator");
    streams.handlePeerLimits(1, 1e9);
    const id = streams.open();
    expect(streams.write(id, new Uint8Array(300_000), false)).toBe(262_144);
    const piece = newPiece();
    streams.peek(piece)?.take(piece, 100_000, new Uint8Array(100_000), 0);
    streams.handleAcked(id, 0, 60_000, false);
    expect(streams.takeWritable()).toEqual([]);
    streams.handleAcked(id, 60_000, 40_000, false);
    expect(streams.takeWritable()).toEqual([id]);
  });
});
