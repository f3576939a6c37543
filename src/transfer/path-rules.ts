/**
 * Include and exclude rules: which entries of a tree are sent. A small, documented language; the
 * first rule that matches decides, and what no rule matches is included. docs/spec/files.md §3.
 */
import { assert } from "../base/assert.ts";
import { GodwitError } from "../base/errors.ts";
import { REQUEST_RULES, RULE_BYTES } from "../base/limits.ts";
import { printable } from "../files/printable.ts";
import type { EntryFilter } from "../files/scan.ts";

/** One include or exclude rule; the first that matches decides. */
export interface PathRule {
  readonly include: boolean;
  readonly pattern: string;
}

/**
 * `*` matches within a name, `**` any number of whole names, `?` one character. A pattern with a slash before its end is
 * matched against the whole path, otherwise against the name alone; a slash at the end matches directories only.
 *
 * Matching takes time in proportion to pattern times text, whatever the pattern: peers send patterns too.
 */
interface CompiledRule {
  readonly include: boolean;
  readonly onlyDirectories: boolean;
  readonly isAnchored: boolean;
  readonly segments: readonly string[];
}

/** The filter of `rules`, or `undefined` if there are none. @throws GodwitError USAGE for an empty or too long rule. */
export function compileRules(rules: readonly PathRule[]): EntryFilter | undefined {
  if (rules.length === 0) return undefined;
  if (rules.length > REQUEST_RULES)
    throw new GodwitError("USAGE", `more than ${REQUEST_RULES} include and exclude rules`);
  const compiled = rules.map(compileRule);
  // With an include rule and nothing that excludes, only what is included is wanted.
  const defaultInclude = rules.some(({ include }) => !include) || !rules.some(({ include }) => include);
  return (name, isDirectory) => {
    for (const rule of compiled) {
      if (rule.onlyDirectories && !isDirectory) continue;
      const segments = rule.isAnchored ? name : name.slice(-1);
      if (matchSegments(rule.segments, 0, segments, 0)) return rule.include;
    }
    // A directory that is not named is entered: what is in it may be included.
    return defaultInclude || isDirectory;
  };
}

function compileRule(rule: PathRule): CompiledRule {
  let { pattern } = rule;
  if (pattern.length > RULE_BYTES)
    throw new GodwitError("USAGE", `a rule longer than ${RULE_BYTES} characters`);
  const onlyDirectories = pattern.endsWith("/");
  if (onlyDirectories) pattern = pattern.slice(0, -1);
  const isAnchored = pattern.includes("/");
  if (pattern.startsWith("/")) pattern = pattern.slice(1);
  const segments = pattern.split("/");
  if (segments.some((segment) => segment === ""))
    throw new GodwitError("USAGE", `the rule "${printable(rule.pattern)}" has an empty part`);
  return { include: rule.include, onlyDirectories, isAnchored, segments };
}

/** Whether the pattern's segments from `p` match the path's from `n`. Linear: only the last `**` is tried again. */
function matchSegments(pattern: readonly string[], p: number, names: readonly string[], n: number): boolean {
  let starAt = -1;
  let starName = 0;
  let at = p;
  let name = n;
  while (name < names.length) {
    if (at < pattern.length && pattern[at] === "**") {
      starAt = at++;
      starName = name;
    } else if (at < pattern.length && matchName(pattern[at], names[name])) {
      at++;
      name++;
    } else if (starAt >= 0) {
      at = starAt + 1;
      name = ++starName;
    } else return false;
  }
  while (at < pattern.length && pattern[at] === "**") at++;
  return at === pattern.length;
}

/** Whether one name matches one segment with `*` and `?`. Linear: only the last `*` is tried again. */
function matchName(pattern: string, text: string): boolean {
  assert(pattern.length > 0, "an empty segment was refused before");
  let at = 0;
  let p = 0;
  let starAt = -1;
  let starText = 0;
  while (at < text.length) {
    if (p < pattern.length && pattern[p] === "*") {
      starAt = p++;
      starText = at;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === text[at])) {
      p++;
      at++;
    } else if (starAt >= 0) {
      p = starAt + 1;
      at = ++starText;
    } else return false;
  }
  while (p < pattern.length && pattern[p] === "*") p++;
  return p === pattern.length;
}
