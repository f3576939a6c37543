import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { expandTargets, parseTargetList } from "./targets.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "godwit-targets-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("a list: one target a line, comments and blank lines left out", () => {
  expect(parseTargetList("# all\r\nlab1\n\n  lab2:4640/in  # the slow one\n@name\nhost#1\n")).toEqual([
    "lab1",
    "lab2:4640/in",
    "@name",
    "host#1",
  ]);
});

test("@TEXT is a list when such a file exists, otherwise a known peer", () => {
  const path = join(directory, "fleet");
  writeFileSync(path, "lab1\nlab2\n");
  expect(expandTargets(["lab0", `@${path}`])).toEqual({ targets: ["lab0", "lab1", "lab2"], usesList: true });
  expect(expandTargets(["@nobody-has-this-name/in"])).toEqual({
    targets: ["@nobody-has-this-name/in"],
    usesList: false,
  });
});

test("a list that is missing or names nobody is a usage error", () => {
  const path = join(directory, "empty.txt");
  writeFileSync(path, "# nobody\n");
  expect(() => expandTargets([`@${path}`])).toThrow("names no receivers");
  expect(() => expandTargets(["@missing.txt"])).toThrow("there is no list of receivers missing.txt");
  expect(() => expandTargets(["@./missing"])).toThrow("there is no list of receivers");
});
