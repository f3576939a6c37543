/** What the documents say about the command line, held against the command line. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { describe, expect, test } from "vitest";

const documents = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.md"], { encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "" && existsSync(file));
const text = (file: string): string => readFileSync(file, "utf8");

/** The heading's anchor as code hosts make it: lower case, without punctuation, hyphens for blanks. */
function anchorOf(heading: string): string {
  return heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");
}

interface CommandLine {
  readonly words: readonly string[];
  /** In a block of its own, where nothing but a command line starts with `godwit`. */
  readonly isFenced: boolean;
}

/** Everything that looks like a command line of `godwit`, in blocks and in back quotes. */
function commandLines(document: string): CommandLine[] {
  const fenced = [...document.matchAll(/^```(\w*)\n([^]*?)^```/gm)]
    .filter(([, language]) => language === "" || language === "sh")
    .flatMap(([, , block]) => block.split("\n"));
  const quoted = [...document.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code);
  const linesOf = (texts: readonly string[], isFenced: boolean): CommandLine[] =>
    texts
      .flatMap((line) => line.replace(/\s#.*$/, "").split(/\||\s{6,}/))
      .map((line) => ({ words: line.trim().replace(/^\$ /, "").split(/\s+/), isFenced }))
      .filter(({ words }) => words[0] === "godwit" && /^[a-z]/.test(words[1] ?? ""));
  return [...linesOf(fenced, true), ...linesOf(quoted, false)];
}

/** The commands that the words go through, `undefined` when there is no such command. */
async function commandOf(words: readonly string[]): Promise<Command | undefined> {
  const file = `../../src/cli/commands/${words[1]}.ts`;
  if (!/^[a-z]+$/.test(words[1]) || !existsSync(join(import.meta.dirname, file))) return undefined;
  const { command } = (await import(file)) as { command: () => Command };
  let found = command();
  for (const word of words.slice(2)) found = found.commands.find((sub) => sub.name() === word) ?? found;
  return found;
}

describe("documents", () => {
  test("links to headings lead to one", () => {
    const broken = documents.flatMap((file) =>
      [...text(file).matchAll(/\]\(([^)#\s:]*)#([^)\s]+)\)/g)]
        .filter(([, path, anchor]) => {
          const target = path === "" ? file : join(dirname(file), path);
          const headings = [...text(target).matchAll(/^#+ (.*)$/gm)].map((heading) => anchorOf(heading[1]));
          return !headings.includes(anchor);
        })
        .map(([link]) => `${file} ${link}`),
    );
    expect(broken).toEqual([]);
  });

  test("every godwit command line names a command and options that there are", async () => {
    const wrong: string[] = [];
    let checked = 0;
    for (const file of documents) {
      for (const { words, isFenced } of commandLines(text(file))) {
        const command = await commandOf(words);
        if (command === undefined && !isFenced) continue;
        const known = ["--help", ...(command?.options ?? []).flatMap(({ long, short }) => [long, short])];
        const options = words.filter((word) => /^--?[a-z]/.test(word));
        checked++;
        if (
          command === undefined ||
          !options.every((option) => known.includes(option.replace(/[=,].*$/, "")))
        )
          wrong.push(`${file}: ${words.join(" ")}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(checked).toBeGreaterThan(50);
  });
});
