/** This package's version. */
import { readFileSync } from "node:fs";

function readVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** The version in `package.json`. */
export const VERSION: string = readVersion();
