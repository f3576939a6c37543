/**
 * The one door for names that come from a peer. What passes is safe on every platform godwit runs
 * on, and the verdict is the same on all of them. Rules: docs/spec/files.md §2.
 */
import { NAME_BYTES, PATH_BYTES, PATH_DEPTH } from "../base/limits.ts";
import { GodwitError } from "../base/errors.ts";
import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";
import { printable } from "./printable.ts";

/** A relative path that stays inside its root on every platform. Only this module makes one. */
export interface SafePath {
  /** Safe names, outermost first; at least one. */
  readonly components: readonly string[];
  /** The components joined by `/`. */
  readonly text: string;
}

/** Names that Windows gives to devices, with or without an extension, in any case. */
const DEVICE_NAME = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*)?$/iu;

/** C0, DEL, C1; line separators; bidirectional embeddings, overrides and isolates; unpaired surrogates. */
const FORBIDDEN_CHARACTER =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]|\p{Surrogate}/u;

/** Dots, plain or percent-encoded: `..` in disguise for whatever decodes once too often. */
const DISGUISED_DOTS = /^(\.|%2e){1,2}$/iu;

/** Beginning of the names of godwit's own files beside a destination, in any case. */
const RESERVED_PREFIX = /^\.godwit-/iu;

/** Why `name` is no safe name for one component, or `undefined` if it is safe. */
export function unsafeNameReason(name: string): string | undefined {
  if (name === "") return "an empty name";
  if (DISGUISED_DOTS.test(name)) return "a name for a directory above";
  if (name === "~") return "a name for the home directory";
  if (name.includes("/") || name.includes("\\")) return "a path separator in a name";
  if (name.includes(":")) return "a colon, which selects a drive or a stream on some systems";
  if (FORBIDDEN_CHARACTER.test(name)) return "a control or direction character";
  if (name.endsWith(".") || name.endsWith(" ")) return "a dot or space at the end, which some systems drop";
  if (DEVICE_NAME.test(name)) return "the name of a device on some systems";
  if (RESERVED_PREFIX.test(name)) return "a name reserved for godwit's own files";
  // A character takes at most four bytes, so that short names need no encoding to be measured.
  if (name.length * 4 > NAME_BYTES && encodeUtf8(name).length > NAME_BYTES)
    return `a name longer than ${NAME_BYTES} bytes`;
  return undefined;
}

function unsafe(text: string, reason: string): GodwitError {
  return new GodwitError("UNSAFE_NAME", `refused the name "${printable(text)}": ${reason}`, { path: text });
}

/**
 * The path that `text` names, with `/` between components.
 *
 * @throws GodwitError UNSAFE_NAME with the reason, for anything that is not a plain relative path.
 */
export function parseSafePath(text: string | Uint8Array): SafePath {
  if (typeof text !== "string") {
    if (text.length > PATH_BYTES) throw unsafe("", `a path longer than ${PATH_BYTES} bytes`);
    const decoded = decodeUtf8(text);
    if (decoded === undefined) throw unsafe("", "not valid UTF-8");
    return parseSafePath(decoded);
  }
  if (text.length > PATH_BYTES) throw unsafe(text.slice(0, 100), `a path longer than ${PATH_BYTES} bytes`);
  if (text.startsWith("/")) throw unsafe(text, "an absolute path");
  const components = text.split("/");
  if (components.length > PATH_DEPTH) throw unsafe(text, `deeper than ${PATH_DEPTH} directories`);
  for (const component of components) {
    const reason = unsafeNameReason(component);
    if (reason !== undefined) throw unsafe(text, reason);
  }
  if (text.length * 4 > PATH_BYTES && encodeUtf8(text).length > PATH_BYTES)
    throw unsafe(text.slice(0, 100), `a path longer than ${PATH_BYTES} bytes`);
  return { components, text };
}

/** What two names share that a case-insensitive or normalising file system may take for one. */
export function collisionKey(text: string): string {
  // Upper-casing first maps letters with several lower-case forms (Greek sigma, long s) to one.
  return text.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFC");
}

/**
 * Whether a target leaves the root. `..` may only come first: the directories above a link are real
 * ones, but `..` behind a name climbs from wherever another link of the same tree leads.
 */
function climbs(linkDepth: number, parts: readonly string[]): boolean {
  let depth = linkDepth;
  let hasName = false;
  for (const part of parts) {
    if (part === "" || part === ".") continue;
    if (part !== "..") hasName = true;
    else if (hasName || --depth < 0) return true;
  }
  return false;
}

/**
 * Whether a symbolic link at `link` may have the target `target`: relative, without control characters,
 * drive letters or backslashes, and never above the root, whatever other links the tree has.
 */
export function isSafeLinkTarget(link: SafePath, target: string): boolean {
  if (target === "" || target.startsWith("/") || target.includes("\\") || target.includes(":")) return false;
  if (FORBIDDEN_CHARACTER.test(target) || encodeUtf8(target).length > PATH_BYTES) return false;
  return !climbs(link.components.length - 1, target.split("/"));
}
