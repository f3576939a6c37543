/** Text from a peer or a disk made fit for a terminal, a log or a window title. */
import { escapeUnprintable } from "../base/unprintable.ts";

/** Longest result in characters; a name of 255 bytes with every character escaped still fits. */
const PRINTABLE_CHARACTERS = 2_048;

/** `text` with everything that is not plainly visible escaped as `\u{hex}`; cut after 2 048 characters. */
export function printable(text: string): string {
  const escaped = escapeUnprintable(text.slice(0, PRINTABLE_CHARACTERS));
  return escaped.length > PRINTABLE_CHARACTERS || text.length > PRINTABLE_CHARACTERS
    ? `${escaped.slice(0, PRINTABLE_CHARACTERS)}...`
    : escaped;
}
