/** Where this package is, and which: found by its own name, because this file may be part of a bundle. */
import { createRequire } from "node:module";
import { dirname } from "node:path";

const requireFromHere = createRequire(import.meta.url);

/** The `version` of `package.json`. */
export function packageVersion(): string {
  return (requireFromHere("godwit/package.json") as { version: string }).version;
}

/** The directory that `package.json` is in. */
export function packageDirectory(): string {
  return dirname(requireFromHere.resolve("godwit/package.json"));
}
