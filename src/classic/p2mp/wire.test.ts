import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { fromHex, toHex } from "../../base/bytes.ts";
import { asciiChecksum, binaryChecksum, ENCODINGS, printedSequence } from "./wire.ts";

const { ascii, binary } = ENCODINGS;
const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const NOTHING = new Uint8Array(0);

describe("the original's bits", () => {
  test("the worked example: packet 1 with the payload `Hello from`", () => {
    expect(Buffer.from(ascii.data(1, bytes("Hello from"))).toString()).toBe(
      "00000000000000000000000000000001" +
        "1011000011010111" +
        "0101010101010101" +
        "01001000011001010110110001101100011011110010000001100110011100100110111101101101",
    );
  });

  test.each([
    [0, 0x5555],
    [1, 0x5554],
    [2, 0x5553],
  ])("acknowledgement of %d has the checksum %d", (sequence, checksum) => {
    expect(asciiChecksum(sequence, 0xaaaa, NOTHING)).toBe(checksum);
    expect(Buffer.from(ascii.ack(sequence)).toString().slice(32, 48)).toBe(
      checksum.toString(2).padStart(16, "0"),
    );
  });

  test("an odd last byte is outside the checksum: that is the wire, not a choice", () => {
    expect(asciiChecksum(1, 0x5555, bytes("hello"))).toBe(asciiChecksum(1, 0x5555, bytes("helln")));
    expect(asciiChecksum(1, 0x5555, bytes("hello!"))).not.toBe(asciiChecksum(1, 0x5555, bytes("helln!")));
  });

  test("a sum that carries: 0xffff + 0x0001 + 0x5555 + 0xffff folds to 0x5556", () => {
    // ffff + 0001 = 10000 -> 0001; + 5555 = 5556; + ffff = 15555 -> 5556. Complement: aaa9.
    expect(asciiChecksum(0xffff_0001, 0x5555, fromHex("ffff"))).toBe(0xaaa9);
  });

  test("a flipped bit anywhere the checksum reaches is seen", () => {
    const packet = ascii.data(7, bytes("even"));
    for (let at = 0; at < packet.length; at++) {
      const damaged = packet.slice();
      damaged[at] ^= 1;
      const message = ascii.parse(damaged);
      expect(message === undefined || (message.type === "data" && !message.isIntact)).toBe(true);
    }
  });

  test("what is not 0 or 1, too short, or of another type is no message; loose bits at the end are ignored", () => {
    expect(ascii.parse(bytes("0".repeat(63)))).toBeUndefined();
    expect(ascii.parse(bytes("2".repeat(80)))).toBeUndefined();
    expect(ascii.parse(bytes("0".repeat(80)))).toBeUndefined();
    expect(ascii.parse(Buffer.concat([ascii.data(1, bytes("ab")), bytes("101")]))).toMatchObject({
      type: "data",
      isIntact: true,
      payload: { length: 2 },
    });
    expect(ascii.parse(Buffer.concat([ascii.data(1, bytes("ab")), bytes("1010101x")]))).toBeUndefined();
    const ack = ascii.ack(3);
    expect(ascii.parse(ack)).toEqual({ type: "ack", sequence: 3 });
    ack[40] ^= 1;
    expect(ascii.parse(ack)).toBeUndefined();
  });
});

describe("the course text's binary header", () => {
  test("as recorded", () => {
    const file = fromHex("48656c6c6f2066726f6d2074686520746578742066696c652e0a5365636f6e64206c696e652e0a");
    expect(toHex(binary.data(0, file).subarray(0, 8))).toBe("000000006e225555");
    expect(toHex(binary.ack(0))).toBe("000000000000aaaa");
    expect(toHex(binary.end(0))).toBe("000000000000ffff");
  });

  test("RFC 1071 §3, and an odd last byte as a word by itself", () => {
    expect(binaryChecksum(fromHex("01"))).toBe(0xfffe);
    expect(binaryChecksum(fromHex("0001f203f4f5f6f7"))).toBe(0x220d); // RFC 1071 §3: the sum is ddf2
  });
});

test.each(["ascii", "binary"] as const)("%s: what is written is read, any bytes never throw", (name) => {
  const encoding = ENCODINGS[name];
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.uint8Array({ maxLength: 60 }),
      (sequence, payload) => {
        const message = encoding.parse(encoding.data(sequence, payload));
        expect(message).toMatchObject({ type: "data", sequence, isIntact: true });
        expect(message?.type === "data" && toHex(message.payload)).toBe(toHex(payload));
        expect(encoding.parse(encoding.ack(sequence))).toEqual({ type: "ack", sequence });
      },
    ),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (any) => void encoding.parse(any)));
});

test("sequence numbers are printed with five digits", () => {
  expect(printedSequence(5)).toBe("00005");
  expect(printedSequence(123_456)).toBe("123456");
});
