import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { expect, test } from "vitest";
import { openServedFile } from "./served-file.ts";

test("plain names of regular files, nothing else", () => {
  const root = mkdtempSync(path.join(tmpdir(), "godwit-served-"));
  const directory = path.join(root, "public");
  mkdirSync(path.join(directory, "sub"), { recursive: true });
  for (const name of ["../secret", "a", ".hidden", "sub/b"]) writeFileSync(path.join(directory, name), "x");
  symlinkSync("../secret", path.join(directory, "link"));
  const source = openServedFile(directory, "a");
  expect(source.sizeBytes).toBe(1);
  source.close();
  const refused: Record<string, string> = {
    "../secret": "UNSAFE_NAME",
    "sub/b": "UNSAFE_NAME",
    "sub\\b": "UNSAFE_NAME",
    [path.join(root, "secret")]: "UNSAFE_NAME",
    "..": "UNSAFE_NAME",
    ".hidden": "UNSAFE_NAME",
    "a\0": "UNSAFE_NAME",
    "C:a": "UNSAFE_NAME",
    link: "SOURCE_SPECIAL",
    sub: "SOURCE_SPECIAL",
    none: "SOURCE_MISSING",
  };
  for (const [name, code] of Object.entries(refused))
    expect(() => openServedFile(directory, name), name).toThrow(expect.objectContaining({ code }));
  rmSync(root, { recursive: true });
});
