import { describe, expect, test } from "vitest";
import { GodwitError } from "../../base/errors.ts";
import { CODE_WORDS } from "./code-words.ts";
import { newPairingCode, parsePairingCode } from "./pairing-code.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

describe("the list of words", () => {
  test("has 6^4 different words of small letters", () => {
    expect(CODE_WORDS).toHaveLength(1_296);
    expect(new Set(CODE_WORDS).size).toBe(1_296);
    expect(CODE_WORDS.filter((word) => !/^[a-z]{3,5}$/.test(word))).toEqual([]);
  });
});

describe("a pairing code", () => {
  test("a new one is read back as it is", () => {
    const code = newPairingCode();
    expect(text(parsePairingCode(code))).toBe(code);
  });

  test("case, blanks and line ends do not matter", () => {
    expect(text(parsePairingCode(" Acid ACORN\tacre - acts\n"))).toBe("acid-acorn-acre-acts");
  });

  test("a wrong number of words and a word of no list are refused before anything is sent", () => {
    for (const wrong of [
      "",
      "acid",
      "acid-acorn-acre",
      "acid-acorn-acre-acts-afar",
      "acid-acorn-acre-zzzz",
    ]) {
      let code: string | undefined;
      let message = "";
      try {
        parsePairingCode(wrong);
      } catch (error) {
        code = error instanceof GodwitError ? error.code : "other";
        message = String(error);
      }
      expect(code, wrong).toBe("WRONG_CODE");
      expect(message).not.toContain("zzzz");
    }
  });
});
