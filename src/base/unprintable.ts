/** Characters that do something to a terminal, or hide in a text, instead of being seen. */

/**
 * C0, DEL and C1 controls, bidirectional marks and overrides, line separators, zero-width and invisible
 * format characters, tag characters, unpaired surrogates: all that can move a cursor or hide text.
 */
export const UNPRINTABLE: RegExp =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;

/** `text` with everything that is not plainly visible escaped as `\u{hex}`. */
export function escapeUnprintable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
