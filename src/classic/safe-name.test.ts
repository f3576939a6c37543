import { expect, test } from "vitest";
import * as fc from "fast-check";
import { encodeUtf8 } from "../base/utf8.ts";
import { UNPRINTABLE } from "../base/unprintable.ts";
import { safeName } from "./safe-name.ts";

test.each([
  ["report.pdf", "report.pdf"],
  ["../x", "x"],
  ["/etc/passwd", "passwd"],
  ["..\\..\\x.txt", "x.txt"],
  ["C:\\Windows\\x", "x"],
  ["C:x", "C_x"],
  ["a/", "unnamed"],
  ["..", "unnamed"],
  [".", "unnamed"],
  ["", "unnamed"],
  [".bashrc", "_.bashrc"],
  ["NUL", "_NUL"],
  ["com1.txt", "_com1.txt"],
  ["name. . ", "name"],
  ["a\u0000b\nc", "a_b_c"],
  ["\u202egpj.exe", "_gpj.exe"],
  ["a | b", "a _ b"],
  ["e\u0301.txt", "\u00e9.txt"],
  ["\u0424\u0430\u0439\u043b 1.jpg", "\u0424\u0430\u0439\u043b 1.jpg"],
])("%j becomes %j", (untrusted, name) => expect(safeName(untrusted)).toBe(name));

test("a long name keeps its ending", () => {
  const name = safeName("\u00e9".repeat(300) + ".tar");
  expect(name).toBe("\u00e9".repeat(109) + ".tar"); // 223 - 4 = 219 bytes: 109 characters of 2
});

test("whatever comes in, one plain component comes out", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 400 }), (untrusted) => {
      const name = safeName(untrusted);
      expect(encodeUtf8(name).length).toBeLessThanOrEqual(223);
      expect(name).not.toBe("");
      expect(name.startsWith(".")).toBe(false);
      expect(name.split(/[/\\]/)).toHaveLength(1);
      expect(name.match(UNPRINTABLE)).toBeNull();
    }),
  );
});
