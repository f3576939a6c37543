import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { copyPieces, type CopyPieces } from "../../wire/batch.ts";
import { nativeBinding } from "./native-loader.ts";

const native = nativeBinding()?.copyPieces;
const ways: [string, CopyPieces][] = [["plain", copyPieces]];
if (native !== undefined) ways.push(["native", native]);

describe.each(ways)("pieces copied out of a batch, %s", (_, copy) => {
  const bytes = Uint8Array.of(10, 11, 12, 13, 14, 15, 16, 17);
  const starts = Int32Array.of(6, 0, 3);
  const lengths = Int32Array.of(2, 1, 3);

  test("lie one behind the other from the given place on", () => {
    const target = new Uint8Array(9);
    copy(bytes, starts, lengths, 0, 3, target, 2);
    expect([...target]).toEqual([0, 0, 16, 17, 10, 13, 14, 15, 0]);
  });

  test("are those of the range only", () => {
    const target = new Uint8Array(4);
    copy(bytes, starts, lengths, 1, 2, target, 3);
    copy(bytes, starts, lengths, 2, 2, target, 0);
    expect([...target]).toEqual([0, 0, 0, 10]);
  });

  test("without room for them are an error", () => {
    expect(() => copy(bytes, starts, lengths, 0, 3, new Uint8Array(7), 2)).toThrow();
  });
});

test.runIf(native !== undefined)("random pieces: both ways give the same", () => {
  const piece = fc.tuple(fc.nat(3_000), fc.nat(1_500));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 64 }), fc.nat(5_000), (pieces, at) => {
      const bytes = Uint8Array.from({ length: 4_500 }, (_, i) => i * 7);
      const starts = Int32Array.from(pieces, ([start]) => start);
      const lengths = Int32Array.from(pieces, ([, length]) => length);
      const [a, b] = [new Uint8Array(101_000), new Uint8Array(101_000)];
      copyPieces(bytes, starts, lengths, 0, pieces.length, a, at);
      native?.(bytes, starts, lengths, 0, pieces.length, b, at);
      expect(Buffer.from(a).equals(b)).toBe(true);
    }),
  );
});
