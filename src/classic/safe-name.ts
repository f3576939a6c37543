/** Untrusted file names of the classic systems, reduced to something that stays in its directory. */
import { UNPRINTABLE } from "../base/unprintable.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import { NAME_BYTES } from "../base/limits.ts";

/** Bytes kept free for the staging file's own ending, so that it fits beside the name. */
const STAGING_BYTES = 32;

/** Device names of Windows, with or without an ending. Microsoft, "Naming Files, Paths, and Namespaces". */
const DEVICE =
  /^(con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3]|conin\$|conout\$)(\.|$)/i;

/** What Windows forbids, and what stands for bytes that are no UTF-8. */
const FORBIDDEN = /[<>:"|?*\ufffd]/g;

/**
 * A file name without directories that is safe to create on any system and to print on a terminal:
 * the last component of `untrusted`, forbidden characters as `_`, hidden and device names with `_`
 * in front, at most 223 bytes of UTF-8. `fallback` when nothing is left.
 */
export function safeName(untrusted: string, fallback = "unnamed"): string {
  const last = untrusted.normalize("NFC").split(/[/\\]/).at(-1) ?? "";
  let name = last
    .replace(UNPRINTABLE, "_")
    .replace(FORBIDDEN, "_")
    .replace(/[. ]+$/, "")
    .trimStart();
  if (name === "") return fallback;
  if (name.startsWith(".") || DEVICE.test(name)) name = `_${name}`;
  return shorten(name, NAME_BYTES - STAGING_BYTES);
}

/** Cuts the stem, not the ending, so that the file keeps its type. */
function shorten(name: string, limitBytes: number): string {
  if (encodeUtf8(name).length <= limitBytes) return name;
  const dot = name.lastIndexOf(".");
  const ending = dot > 0 && encodeUtf8(name.slice(dot)).length <= 32 ? name.slice(dot) : "";
  const stem = Array.from(ending === "" ? name : name.slice(0, dot));
  let room = limitBytes - encodeUtf8(ending).length;
  let kept = "";
  for (const character of stem) {
    room -= encodeUtf8(character).length;
    if (room < 0) break;
    kept += character;
  }
  return kept + ending;
}
