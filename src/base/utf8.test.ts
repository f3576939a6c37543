import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { fromHex, toHex } from "./bytes.ts";
import { decodeUtf8, decodeUtf8Lossy, encodeUtf8 } from "./utf8.ts";

describe("examples of RFC 3629 §7", () => {
  test.each([
    ["A\u2262\u0391.", "41e289a2ce912e"],
    ["\ud55c\uad6d\uc5b4", "ed959ceab5adec96b4"],
    ["\u65e5\u672c\u8a9e", "e697a5e69cace8aa9e"],
    ["\u{233b4}", "f0a38eb4"],
  ])("%s", (text, hex) => {
    expect(toHex(encodeUtf8(text))).toBe(hex);
    expect(decodeUtf8(fromHex(hex))).toBe(text);
  });
});

test.each(["c080", "eda080", "f4908080", "80", "c3", "e282", "f8888080", "e08080", "f0808080", "e28228"])(
  "%s is not UTF-8",
  (hex) => expect(decodeUtf8(fromHex(hex))).toBeUndefined(),
);

test("the lossy form keeps what is valid", () => {
  expect(decodeUtf8Lossy(fromHex("61ff62e2"))).toBe("a\ufffdb\ufffd");
  expect(toHex(encodeUtf8("\ud800"))).toBe("efbfbd");
});

test("agrees with the platform's codec", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      let expected: string | undefined;
      try {
        expected = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch {
        expected = undefined;
      }
      expect(decodeUtf8(bytes)).toBe(expected);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(toHex(encodeUtf8(text))).toBe(toHex(new TextEncoder().encode(text)));
    }),
  );
});
