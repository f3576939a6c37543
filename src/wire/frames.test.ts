import { expect, test } from "vitest";
import * as fc from "fast-check";
import { DecodeError } from "../base/errors.ts";
import { RangeSet } from "../base/range-set.ts";
import { connectionIdKey, newConnectionId, sameConnectionId } from "./connection-id.ts";
import { FrameReader, NO_FRAME } from "./frame-reader.ts";
import { FRAME, isAckEliciting, isProbing, writeAck, writeDataHeader } from "./frames.ts";
import { fromHex } from "../base/bytes.ts";

/** Every second packet from 0 on: `count` ranges of one packet each. */
function alternating(count: number): RangeSet {
  const received = new RangeSet();
  for (let i = 0; i < count; i++) received.add(2 * i, 2 * i + 1);
  return received;
}

function ackOf(received: RangeSet, room: number): FrameReader | undefined {
  const bytes = new Uint8Array(room + 1).fill(0xff);
  const end = writeAck(bytes, 0, room, received, 0, undefined);
  expect(bytes[room]).toBe(0xff);
  if (end === 0) return undefined;
  const reader = new FrameReader();
  reader.reset(bytes, 0, end);
  expect(reader.next()).toBe(FRAME.ack);
  expect(reader.next()).toBe(NO_FRAME);
  return reader;
}

test("an ACK carries the newest 64 ranges", () => {
  const reader = ackOf(alternating(100), 1_000);
  expect(reader?.rangeCount).toBe(64);
  expect(reader?.rangeStarts[0]).toBe(198);
  expect(reader?.rangeStarts[63]).toBe(72);
});

test("an ACK takes the ranges that fit, two bytes for each after the first five", () => {
  // Largest 18, delay 0, one-packet ranges: all numbers below 64 take one byte.
  expect(ackOf(alternating(10), 4)).toBeUndefined();
  expect(ackOf(alternating(10), 5)?.rangeCount).toBe(1);
  expect(ackOf(alternating(10), 6)?.rangeCount).toBe(1);
  expect(ackOf(alternating(10), 7)?.rangeCount).toBe(2);
  expect(ackOf(alternating(10), 22)?.rangeCount).toBe(9);
  expect(ackOf(alternating(10), 23)?.rangeCount).toBe(10);
  expect(ackOf(alternating(10), 100)?.rangeCount).toBe(10);
});

test("ACK ranges read back as they were written", () => {
  const ranges = fc.uniqueArray(fc.nat(5_000), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(ranges, fc.nat(2 ** 40), (numbers, base) => {
      const received = new RangeSet();
      for (const number of numbers) received.add(base + number, base + number + 1);
      const reader = ackOf(received, 1_000);
      const read: [number, number][] = [];
      for (let i = 0; i < (reader?.rangeCount ?? 0); i++)
        read.unshift([reader?.rangeStarts[i] ?? -1, reader?.rangeEnds[i] ?? -1]);
      expect(read).toEqual(received.toArray());
    }),
  );
});

test("whatever bytes come, the reader ends or refuses, and stays inside the packet", () => {
  const reader = new FrameReader();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(8), (bytes, margin) => {
      const to = Math.max(0, bytes.length - margin);
      reader.reset(bytes, 0, to);
      let count = 0;
      try {
        for (let type = reader.next(); type !== NO_FRAME; type = reader.next()) {
          expect(++count).toBeLessThanOrEqual(to);
          if (type === FRAME.data || type === FRAME.stream)
            expect(reader.dataStart + reader.dataLength).toBeLessThanOrEqual(to);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("several frames in one packet", () => {
  const bytes = new Uint8Array(64);
  let at = writeAck(bytes, 0, 64, alternating(1), 0, undefined);
  at = writeDataHeader(bytes, at, 1, 2, 3) + 3;
  const reader = new FrameReader();
  reader.reset(bytes, 0, at + 4);
  expect([reader.next(), reader.next(), reader.next(), reader.next()]).toEqual([
    FRAME.ack,
    FRAME.data,
    FRAME.padding,
    NO_FRAME,
  ]);
});

test("what asks for an acknowledgement, and what may probe a path", () => {
  const all = Object.values(FRAME);
  expect(all.filter((type) => !isAckEliciting(type))).toEqual([0x00, 0x02, 0x03, 0x1c]);
  expect(all.filter((type) => isProbing(type))).toEqual([0x00, 0x18, 0x1a, 0x1b]);
});

test("connection ids: the key is the first 30 bits, equality takes all 64", () => {
  const id = fromHex("ff8000010203040506");
  expect(connectionIdKey(id, 0)).toBe(0x3fe0_0000);
  expect(connectionIdKey(fromHex("ffffffff"), 0)).toBe(0x3fff_ffff);
  expect(sameConnectionId(id, 1, fromHex("8000010203040507"), 0)).toBe(false);
  expect(sameConnectionId(id, 1, fromHex("8000010203040506"), 0)).toBe(true);
  expect(newConnectionId((target) => target.fill(7))).toEqual(new Uint8Array(8).fill(7));
});
