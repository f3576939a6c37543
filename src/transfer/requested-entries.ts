/** What a peer may offer in answer to a pull: what was asked for, and nothing beside it. */
import type { EntryFilter } from "../files/scan.ts";
import { compileRules } from "./path-rules.ts";
import type { PathRule } from "./path-rules.ts";

/**
 * Whether an offered entry is one of those requested. A path asked for arrives under its last name, `""`
 * as its contents; the rules apply to what lies below, and to every directory on the way.
 *
 * @throws GodwitError USAGE for an empty or too long rule.
 */
export function requestedEntries(paths: readonly string[], rules: readonly PathRule[]): EntryFilter {
  const filter = compileRules(rules);
  const tops = new Set(paths.map((path) => path.slice(path.lastIndexOf("/") + 1)));
  const passes = (name: readonly string[], isDirectory: boolean, from: number): boolean => {
    if (filter === undefined) return true;
    for (let depth = from; depth <= name.length; depth++)
      if (!filter(name.slice(0, depth), depth < name.length || isDirectory)) return false;
    return true;
  };
  return (name, isDirectory) =>
    (tops.has(name[0]) && passes(name, isDirectory, 2)) || (tops.has("") && passes(name, isDirectory, 1));
}
