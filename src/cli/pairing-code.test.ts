import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pairingCode } from "./pairing-code.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "godwit-code-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("where a code comes from", () => {
  test("GODWIT_CODE, which no child inherits after it was read", () => {
    const environment = { GODWIT_CODE: "acid-acorn-acre-acts", HOME: "/" };
    expect(pairingCode(undefined, environment)).toBe("acid-acorn-acre-acts");
    expect(environment).toEqual({ HOME: "/" });
    expect(pairingCode(undefined, environment)).toBeUndefined();
  });

  test("a file comes first, and the environment is cleaned all the same", () => {
    const file = join(directory, "code");
    writeFileSync(file, "acid-acid-acid-acid\n");
    const environment = { GODWIT_CODE: "acid-acorn-acre-acts" };
    expect(pairingCode(file, environment)).toBe("acid-acid-acid-acid\n");
    expect(environment).toEqual({});
  });

  test("a file that is missing or no code file is said", () => {
    expect(() => pairingCode(join(directory, "none"), {})).toThrow(
      /cannot read the code file .*: no such file or directory/,
    );
    writeFileSync(join(directory, "big"), new Uint8Array(2_000));
    expect(() => pairingCode(join(directory, "big"), {})).toThrow(/2000 bytes/);
  });
});
