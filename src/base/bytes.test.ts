import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { ByteReader, ByteWriter, fromHex, toHex, varintSize, VARINT_MAX, writeVarint } from "./bytes.ts";
import { DecodeError } from "./errors.ts";

describe("variable-length integers, RFC 9000 §A.1", () => {
  test.each([
    ["c2197c5eff14e88c", undefined], // 151288809941952652: above 2^53 - 1
    ["9d7f3e7d", 494_878_333],
    ["7bbd", 15_293],
    ["25", 37],
    ["4025", 37],
  ])("%s", (hex, value) => {
    const read = (): number => new ByteReader(fromHex(hex)).varint();
    if (value === undefined) expect(read).toThrow(DecodeError);
    else expect(read()).toBe(value);
  });

  test("what is written is read back, in the size announced", () => {
    fc.assert(
      fc.property(fc.oneof(fc.nat(), fc.nat(VARINT_MAX), fc.nat(20_000)), (value) => {
        const bytes = new Uint8Array(8);
        const end = writeVarint(bytes, 0, value);
        expect(end).toBe(varintSize(value));
        const reader = new ByteReader(bytes, 0, end);
        expect(reader.varint()).toBe(value);
        reader.finish();
      }),
    );
  });
});

test("a reader stops at its end and says where", () => {
  const reader = new ByteReader(fromHex("00010203"), 0, 3);
  expect(reader.uint16()).toBe(1);
  expect(() => reader.uint16()).toThrow(expect.objectContaining({ code: "DECODE", offset: 2 }));
});

test("a writer grows", () => {
  const bytes = new ByteWriter(1)
    .uint8(1)
    .uint16(0x0203)
    .uint32(0x0405_0607)
    .lengthPrefixed(fromHex("0809"))
    .finish();
  expect(toHex(bytes)).toBe("01020304050607" + "02" + "0809");
});
