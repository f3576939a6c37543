import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { digestingSource, directoryStore, openByteSink, openByteSource } from "./file-bytes.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "godwit-classic-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const at = (name: string): string => path.join(directory, name);

test("a file appears whole at commit and not before", () => {
  const sink = openByteSink(at("out"), { overwrite: true });
  sink.write(Buffer.from("hello "));
  sink.write(Buffer.from("there"));
  expect(readdirSync(directory)).toEqual([expect.stringMatching(/^\.out\.[0-9a-f]{8}\.part$/)]);
  sink.commit();
  expect(readdirSync(directory)).toEqual(["out"]);
  expect(readFileSync(at("out"), "utf8")).toBe("hello there");
  expect(statSync(at("out")).mode & 0o111).toBe(0);
});

test("aborting leaves nothing, twice is harmless", () => {
  const sink = openByteSink(at("out"), { overwrite: true });
  sink.write(Buffer.from("x"));
  sink.abort();
  sink.abort();
  expect(readdirSync(directory)).toEqual([]);
});

test("without overwrite an existing file stays, also one that came meanwhile", () => {
  const sink = openByteSink(at("out"), { overwrite: false });
  sink.write(Buffer.from("new"));
  writeFileSync(at("out"), "old");
  expect(() => sink.commit()).toThrow(expect.objectContaining({ code: "EXISTS" }));
  expect(readFileSync(at("out"), "utf8")).toBe("old");
  expect(readdirSync(directory)).toEqual(["out"]);
  expect(() => openByteSink(at("out"), { overwrite: false })).toThrow(
    expect.objectContaining({ code: "EXISTS" }),
  );
});

test("a link is replaced, what it points to is not", () => {
  writeFileSync(at("target"), "kept");
  symlinkSync("target", at("link"));
  const sink = openByteSink(at("link"), { overwrite: true });
  sink.write(Buffer.from("new"));
  sink.commit();
  expect(readFileSync(at("target"), "utf8")).toBe("kept");
  expect(readFileSync(at("link"), "utf8")).toBe("new");
});

test("a directory of that name is refused", () => {
  const store = directoryStore(path.dirname(directory), { overwrite: true });
  expect(store.holdsData(path.basename(directory))).toBe(true);
  expect(() => store.create(path.basename(directory), 1)).toThrow(
    expect.objectContaining({ code: "DESTINATION_SPECIAL" }),
  );
});

// FIPS 180-2 §B.1: SHA-256 of "abc".
const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

test("a file with another digest than expected gets no name", () => {
  const write = (text: string): void => {
    const sink = openByteSink(at("out"), { overwrite: true, expectedSha256: ABC });
    sink.write(Buffer.from(text));
    sink.commit();
  };
  expect(() => write("abd")).toThrow(expect.objectContaining({ code: "VERIFICATION_FAILED" }));
  expect(readdirSync(directory)).toEqual([]);
  write("abc");
  expect(readdirSync(directory)).toEqual(["out"]);
});

test("digests are told at both ends", () => {
  const told: string[] = [];
  const sink = openByteSink(at("out"), {
    overwrite: true,
    onDigest: (file, sha256) => told.push(file, sha256),
  });
  sink.write(Buffer.from("ab"));
  sink.write(Buffer.from("c"));
  sink.commit();
  const source = digestingSource(openByteSource(at("out")), (sha256) => told.push(sha256));
  source.read(0, 2);
  source.read(0, 2);
  source.read(2, 2);
  source.close();
  source.close();
  expect(told).toEqual([at("out"), ABC, ABC]);
});

test("a source reads anywhere and notices a change", () => {
  const bytes = Buffer.alloc(700_000, 0);
  for (let i = 0; i < bytes.length; i += 1_000) bytes.writeUInt32BE(i, i);
  writeFileSync(at("in"), bytes);
  const source = openByteSource(at("in"));
  expect(source.sizeBytes).toBe(700_000);
  for (const offset of [0, 512, 262_140, 262_144, 699_990, 1_000])
    expect(Buffer.from(source.read(offset, 1_000))).toEqual(bytes.subarray(offset, offset + 1_000));
  expect(source.read(700_000, 10)).toHaveLength(0);
  source.checkUnchanged();
  writeFileSync(at("in"), "short");
  expect(() => source.checkUnchanged()).toThrow(expect.objectContaining({ code: "SOURCE_CHANGED" }));
  expect(() => source.read(600_000, 10)).toThrow(expect.objectContaining({ code: "SOURCE_CHANGED" }));
  source.close();
  source.close();
});

test("what is not a regular file is refused", () => {
  expect(() => openByteSource(directory)).toThrow(expect.objectContaining({ code: "SOURCE_SPECIAL" }));
  expect(() => openByteSource(at("none"))).toThrow(expect.objectContaining({ code: "SOURCE_MISSING" }));
});
