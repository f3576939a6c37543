// The command line of a script: its options, and `--help`, which prints the comment its script begins with.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

/** The comment at the top of a script, without its marks. */
function leadingComment(file) {
  const lines = readFileSync(file, "utf8").split("\n");
  const end = lines.findIndex((line) => !/^(\/\*\*|\/\/| \*)/.test(line));
  return lines
    .slice(0, end)
    .filter((line) => line !== "/**" && line !== " */")
    .map((line) => line.replace(/^(\/\*\*|\/\/| \*) ?/, "").replace(/ \*\/$/, ""))
    .join("\n");
}

/**
 * Ends the program when `--help` was asked for or an option does not exist; otherwise what parseArgs returns.
 *
 * @returns {{ values: Record<string, any>, positionals: string[] }} The options by name, and the rest.
 */
export function commandLine(file, options = {}, allowPositionals = false) {
  const help = { type: "boolean", short: "h", default: false };
  let parsed;
  try {
    parsed = parseArgs({ options: { ...options, help }, allowPositionals });
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${leadingComment(file)}\n`);
    process.exit(2);
  }
  if (parsed.values.help) {
    process.stdout.write(`${leadingComment(file)}\n`);
    process.exit(0);
  }
  return parsed;
}
