/** Where this package is, and which: the nearest `package.json` above, because this file may be part of a bundle. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The directory that `package.json` is in. */
export function packageDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json")) && directory !== dirname(directory))
    directory = dirname(directory);
  return directory;
}

/** The `version` of `package.json`. */
export function packageVersion(): string {
  const text = readFileSync(join(packageDirectory(), "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
