import { describe, expect, test } from "vitest";
import { collisionKey, isSafeLinkTarget, parseSafePath, unsafeNameReason } from "./safe-path.ts";

const code = (text: string | Uint8Array): string => {
  try {
    return parseSafePath(text).text;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

/** Names that no platform may get. The catalogue of hostile names, one row each. */
const HOSTILE_NAMES: readonly string[] = [
  "",
  ".",
  "..",
  "../x",
  "/abs",
  "a/../../b",
  "a//b",
  "a/",
  "a/./b",
  "C:\\x",
  "C:x",
  "..\\x",
  "\\\\host\\share",
  "a\\b",
  "nul\u0000byte",
  "new\nline",
  "esc\u001b[31m",
  "del\u007f",
  "c1\u0085",
  "a".repeat(256),
  "é".repeat(128),
  `${"abcdefgh/".repeat(600)}x`,
  "d/".repeat(128) + "x",
  "dot.",
  "space ",
  "a/b. /c",
  "CON",
  "con.txt",
  "aux.tar.gz",
  "PRN",
  "nul",
  "COM1",
  "COM¹",
  "lpt9.log",
  "conin$",
  "x:stream",
  "file::$DATA",
  "\ud800",
  "a\udc00b",
  "~",
  "%2e%2e",
  "%2E.",
  ".%2e/x",
  "rtl\u202egpj.exe",
  "isolate\u2066x",
  "line\u2028sep",
  ".godwit-0123456789abcdef.journal",
  ".GODWIT-x",
  "\ufffe",
];

describe("names that are refused on every platform", () => {
  for (const name of HOSTILE_NAMES)
    test(JSON.stringify(name.slice(0, 40)), () => expect(code(name)).toBe("UNSAFE_NAME"));

  test("bytes that are not UTF-8: overlong, surrogate, cut off, Latin-1", () => {
    for (const bytes of [
      [0xc0, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xe2, 0x82],
      [0x66, 0xfc],
    ])
      expect(code(Uint8Array.from(bytes))).toBe("UNSAFE_NAME");
  });

  test("the reason says what is wrong, and control characters in it are escaped", () => {
    expect(() => parseSafePath("a\u001b[2Jb")).toThrow(
      'refused the name "a\\u{1b}[2Jb": a control or direction character',
    );
  });
});

describe("names that are taken", () => {
  for (const name of [
    "a",
    "a/b/c",
    ".hidden",
    "..a",
    "a..b",
    "...a",
    "-rf",
    "$(id)",
    "name with spaces",
    " leading",
    "a".repeat(255),
    "é".repeat(127),
    "שלום",
    "日本語",
    "😀",
    "nfd e\u0301",
    "com10",
    "console",
    "auxiliary.c",
    "100%",
    "~user",
    "back~",
    "a*?<>|\"'",
    "d/".repeat(127) + "x",
  ])
    test(JSON.stringify(name.slice(0, 40)), () => expect(code(name)).toBe(name));

  test("NFC and NFD are kept as they came", () => {
    expect(parseSafePath("e\u0301").text).not.toBe(parseSafePath("\u00e9").text);
  });
});

test("names that some file systems take for one have one key", () => {
  for (const [a, b] of [
    ["README", "readme"],
    ["\u00e9", "e\u0301"],
    ["ſ", "s"],
    ["ς", "σ"],
    ["ﬁ", "fi"],
    ["\u212b", "å"],
  ])
    expect(collisionKey(a), a).toBe(collisionKey(b));
  expect(collisionKey("a")).not.toBe(collisionKey("b"));
});

describe("link targets", () => {
  const link = parseSafePath("a/b/link");
  for (const target of ["x", "../x", "../../x", "./x", "../b/c", "..", "../.."])
    test(`${target} stays inside`, () => expect(isSafeLinkTarget(link, target)).toBe(true));
  for (const target of [
    "",
    "/etc/passwd",
    "../../../x",
    "x/../../../../y",
    "x/../y",
    "../b/../c/x",
    "../../..",
    "C:\\x",
    "..\\..\\x",
    "a\u0000b",
    "x".repeat(5_000),
  ])
    test(`${JSON.stringify(target.slice(0, 30))} is refused`, () =>
      expect(isSafeLinkTarget(link, target)).toBe(false));
});

test("a name of exactly 255 bytes is the longest", () => {
  expect(unsafeNameReason("é".repeat(127) + "x")).toBeUndefined();
  expect(unsafeNameReason("é".repeat(127) + "xy")).toContain("255");
});
