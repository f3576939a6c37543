/** Rules about the source tree that no linter has. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { ERRORS } from "../../src/base/errors.ts";

const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && existsSync(file));
const sources = files.filter((file) => /^src\/.*\.ts$/.test(file) && !file.endsWith(".test.ts"));
const text = (file: string): string => readFileSync(file, "utf8");

/** Lines that declare something for others, with the line before each. */
function exportedDeclarations(source: string): { line: string; before: string; number: number }[] {
  const lines = source.split("\n");
  return lines.flatMap((line, index) =>
    /^export (?:default |declare |abstract |async )*(?:function\*?|class|const|let|interface|type) (?!\{)/.test(
      line,
    )
      ? [{ line, before: lines[index - 1] ?? "", number: index + 1 }]
      : [],
  );
}

describe("source tree", () => {
  test("every export has a doc comment", () => {
    const bare = sources.flatMap((file) =>
      exportedDeclarations(text(file))
        .filter(({ before }) => !before.trimEnd().endsWith("*/"))
        .map(({ line, number }) => `${file}:${number} ${line}`),
    );
    expect(bare).toEqual([]);
  });

  test("no test is skipped, focused or left for later, and no work is left as a note", () => {
    const pattern = /\b(?:it|test|describe)\.(?:only|skip|todo)\b|\bexpect\(true\)|\b(?:TODO|FIXME|XXX)\b/;
    const found = files
      .filter((file) => /\.(?:ts|mjs|c|h)$/.test(file) && !file.startsWith("test/tidy/"))
      .filter((file) => pattern.test(text(file)));
    expect(found).toEqual([]);
  });

  test("pure layers import no host module", () => {
    const pure = /^src\/(?:base|events|wire|transport|files|transfer|group|classic|sim)\//;
    const found = sources
      .filter((file) => pure.test(file))
      .filter((file) => /from "(?:node:|@?[a-z][^."]*")/.test(text(file)));
    expect(found).toEqual([]);
  });

  test("secrets are compared in constant time only", () => {
    // What is secret until it is proven: MACs and cookies, codes and shared keys. Tags are checked by AES-GCM itself.
    const secret = String.raw`(?:psk|mac|code|secret|sharedKey|confirmation|privateKey|chainingKey)`;
    const comparison = new RegExp(
      String.raw`(?:equalBytes|Buffer\.compare)\([^;]*\b${secret}\b|\.equals\(\s*\w*\.?${secret}\)`,
    );
    const found = sources
      .filter((file) => /^src\/(?:transport|node\/crypto|node\/stores|wire)\//.test(file))
      .filter((file) => comparison.test(text(file)));
    expect(found).toEqual([]);
    const callers = sources.filter((file) => text(file).includes("timingSafeEqual("));
    expect(callers).toEqual(["src/node/crypto/provider.ts"]);
  });

  test("links between documents lead somewhere", () => {
    const broken = files
      .filter((file) => file.endsWith(".md"))
      .flatMap((file) =>
        [...text(file).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
          .map((match) => match[1])
          .filter((link) => !/^[a-z]+:/.test(link) && !existsSync(join(dirname(file), link)))
          .map((link) => `${file} -> ${link}`),
      );
    expect(broken).toEqual([]);
  });

  test("docs/errors.md lists the error table", () => {
    const rows = [...text("docs/errors.md").matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map((row) => [
      row[1],
      Number(row[2]),
    ]);
    expect(rows).toEqual(Object.entries(ERRORS).map(([code, { exit }]) => [code, exit]));
  });

  test("every limit is used, and stands in docs/spec/limits.md with a test that reaches it", () => {
    const limits = [...text("src/base/limits.ts").matchAll(/^export const ([A-Z0-9_]+)/gm)].map(
      ([, name]) => name,
    );
    const code = sources
      .filter((file) => file !== "src/base/limits.ts")
      .map(text)
      .join("\n")
      .replaceAll(/^import [^;]*;/gm, "");
    const rows = text("docs/spec/limits.md")
      .split("\n")
      .filter((line) => line.startsWith("| `"));
    const reached = rows.filter((row) => /`[^`|]*(?:\.test\.ts|\.suite\.ts)`|fuzz targets? `/.test(row));
    const isIn = (name: string, where: string): boolean => new RegExp(`\\b${name}\\b`).test(where);
    expect(limits.length).toBeGreaterThan(60);
    expect(limits.filter((name) => !isIn(name, code))).toEqual([]);
    expect(limits.filter((name) => !isIn(name, rows.join("\n")))).toEqual([]);
    const own = limits.filter((name) => !name.startsWith("CLASSIC_"));
    expect(own.filter((name) => !isIn(name, reached.join("\n")))).toEqual([]);
  });

  test("file names are kebab-case", () => {
    const odd = sources.filter(
      (file) => !/^[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/.test(file.split("/").at(-1) ?? ""),
    );
    expect(odd).toEqual([]);
  });
});

describe("scripts", () => {
  const scripts = files.filter((file) => /^(?:bench|scripts|test)\/.*\.mjs$/.test(file));

  test("each script that takes options reads them through scripts/command-line.mjs, which knows --help", () => {
    const found = scripts
      .filter((file) => file !== "scripts/command-line.mjs")
      .filter((file) => /\bparseArgs\b/.test(text(file)));
    expect(found).toEqual([]);
  });

  test("each option stands in the comment that --help prints", () => {
    const found = scripts.flatMap((file) => {
      const source = text(file);
      const [head] = source.split(/^import /m);
      const options = /commandLine\(\s*import\.meta\.filename,\s*\{([\s\S]*?)\}(?:,\s*true,?\s*)?\)/.exec(
        source,
      );
      const names = [...(options?.[1] ?? "").matchAll(/"?([a-z-]+)"?: \{ type:/g)].map(([, name]) => name);
      return names.filter((name) => !head.includes(`--${name}`)).map((name) => `${file} --${name}`);
    });
    expect(found).toEqual([]);
  });

  test("what npm runs as a benchmark, simulation or fuzzer says what it measures", () => {
    const { scripts: commands } = JSON.parse(text("package.json")) as { scripts: Record<string, string> };
    const bare = Object.entries(commands)
      .filter(([name]) => /^(?:bench|sim|fuzz|soak|hostile|classic:|demo)/.test(name))
      .map(([name, command]) => [name, / (\S+\.mjs)$/.exec(command)?.[1] ?? ""])
      .filter(([, file]) => !/commandLine\(/.test(file === "" ? "" : text(file)));
    expect(bare).toEqual([]);
  });
});
