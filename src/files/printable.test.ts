import { expect, test } from "vitest";
import { printable } from "./printable.ts";

test("what can move a cursor or hide text is escaped, everything else stays", () => {
  expect(printable("plain ünïcode 日本")).toBe("plain ünïcode 日本");
  expect(printable("a\u001b]0;title\u0007\n\r\tb")).toBe("a\\u{1b}]0;title\\u{7}\\u{a}\\u{d}\\u{9}b");
  expect(printable("\u009b31m\u007f\u0000")).toBe("\\u{9b}31m\\u{7f}\\u{0}");
  expect(printable("x\u202ecod.exe\u2066\u200b\ufeff\u2028")).toBe(
    "x\\u{202e}cod.exe\\u{2066}\\u{200b}\\u{feff}\\u{2028}",
  );
  expect(printable("\ud800x\udc00")).toBe("\\u{d800}x\\u{dc00}");
  expect(printable("\u{e0041}")).toBe("\\u{e0041}");
});

test("the result is bounded", () => {
  expect(printable("x".repeat(100_000))).toHaveLength(2_051);
  expect(printable("\u0000".repeat(100_000)).length).toBeLessThanOrEqual(2_051);
});

test("no code point below 0x20, no C1 control and no direction override gets through", () => {
  const isRaw = (point: number): boolean =>
    point < 0x20 ||
    (point >= 0x7f && point < 0xa0) ||
    (point >= 0x202a && point < 0x202f) ||
    (point >= 0x2066 && point < 0x206a);
  for (let point = 0; point < 0x3000; point++) {
    const shown = printable(String.fromCodePoint(point));
    expect(
      Array.from(shown).some((character) => isRaw(character.codePointAt(0) ?? 0)),
      point.toString(16),
    ).toBe(false);
  }
});
