/** Text from a peer or a disk made fit for a terminal, a log or a window title. */

/** Longest result in characters; a name of 255 bytes with every character escaped still fits. */
const PRINTABLE_CHARACTERS = 2_048;

/**
 * C0, DEL and C1 controls, bidirectional marks and overrides, line separators, zero-width and invisible
 * format characters, tag characters, unpaired surrogates: all that can move a cursor or hide text.
 */
const UNPRINTABLE =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;

/** `text` with everything that is not plainly visible escaped as `\u{hex}`; cut after 2 048 characters. */
export function printable(text: string): string {
  const escaped = text
    .slice(0, PRINTABLE_CHARACTERS)
    .replace(UNPRINTABLE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
  return escaped.length > PRINTABLE_CHARACTERS || text.length > PRINTABLE_CHARACTERS
    ? `${escaped.slice(0, PRINTABLE_CHARACTERS)}...`
    : escaped;
}
