/** Names that no receiver may take, for every platform at once. Fault 116 and docs/spec/files.md §2. */

/** Components that are unsafe wherever they stand in a path. */
const UNSAFE_COMPONENTS: readonly string[] = [
  ".", "..", "%2e", "%2e%2e", "%2E.", ".%2e", "~", "..\\x", "a\\b", "\\", "\\\\server\\share",
  "C:", "C:x", "C:\\x", "x:stream", ":", "x:$DATA", "\u0000", "a\u0000b", "a\u0001", "\u001b[2J", "a\nb", "a\rb",
  "\t", "\u007f", "\u0080", "\u009b31m", "\u2028", "\u2029", "a\u202eb", "\u202a", "\u2066x", "\u2069", "\ufffe",
  "\uffff", "x.", "x..", "x ", " ", "...", ". ", "x. .", "CON", "con", "Con.txt", "PRN", "aux", "AUX.tar.gz", "nul",
  "NUL.", "COM1", "com9.log", "COM\u00b9", "LPT1", "lpt\u00b3.x", "CONIN$", "conout$", ".godwit-x", ".GODWIT-0",
  ".godwit-0123456789abcdef.journal", ".godwit-0123456789abcdef.lock", "x".repeat(256), "\u00e9".repeat(128),
  "\u{1f600}".repeat(64),
]; // prettier-ignore

/** Whole paths that are unsafe although each name in them may be fine. */
const UNSAFE_PATHS: readonly string[] = [
  "", "/", "/abs", "//abs", "/etc/cron.d/x", "a//b", "a/", "a/./b", "a/../b", "a/../../b", "../x", "../../x",
  "a/b/../../../x", "./x", "x/.", "x/..", `${"a/".repeat(128)}x`, `${"a/".repeat(2_047)}x`,
  `${`${"y".repeat(250)}/`.repeat(16)}${"z".repeat(81)}`, "C:/x", "C:\\..\\x", "file:///etc/passwd", "\\\\?\\C:\\x",
]; // prettier-ignore

/** At least 60 names, each of them unsafe. */
export const HOSTILE_NAMES: readonly string[] = [...UNSAFE_COMPONENTS, ...UNSAFE_PATHS];

/** `count` different unsafe paths: the ones above alone, and unsafe names in all places of longer paths. */
export function hostileNames(count: number): string[] {
  const names = new Set(HOSTILE_NAMES);
  for (let i = 0; names.size < count; i++) {
    const name = UNSAFE_COMPONENTS[i % UNSAFE_COMPONENTS.length];
    const around = [`d${i}/${name}`, `${name}/f${i}`, `d${i}/${name}/f`, `a/b/c/${i}/${name}`][i % 4];
    names.add(around);
  }
  return [...names].slice(0, count);
}

/** Link targets that leave the tree, or might on some system. */
export const HOSTILE_TARGETS: readonly string[] = [
  "", "/", "/etc/passwd", "..", "../x", "../../x", "a/../../x", "a/..", "./../x", "C:\\x", "..\\x", "x:stream",
  "a\u0000b", "\u001b[2J", "a\u202eb", "\\\\server\\share", "//x", "x".repeat(4_097),
]; // prettier-ignore
