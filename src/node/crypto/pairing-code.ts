/** Pairing codes: made of four words, read back forgivingly. docs/spec/pairing.md §2. */
import { randomInt } from "node:crypto";
import { GodwitError } from "../../base/errors.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { CODE_WORDS } from "./code-words.ts";

/** Words in a code: 4 of 1 296 are 41 bits, one chance in 2.8 million million for each guess. */
export const CODE_LENGTH_WORDS = 4;

/** A new code, such as `tidal-acorn-move-jazz`. */
export function newPairingCode(): string {
  return Array.from({ length: CODE_LENGTH_WORDS }, () => CODE_WORDS[randomInt(CODE_WORDS.length)]).join("-");
}

/**
 * The code as a password of the key exchange: any case, words apart by hyphens or blanks.
 *
 * @throws GodwitError WRONG_CODE for anything that cannot be a code: it costs no guess.
 */
export function parsePairingCode(text: string): Uint8Array {
  const words = text
    .trim()
    .toLowerCase()
    .split(/[\s-]+/);
  if (words.length !== CODE_LENGTH_WORDS) {
    throw new GodwitError(
      "WRONG_CODE",
      `a pairing code has ${CODE_LENGTH_WORDS} words with hyphens between them; type the one that godwit serve shows`,
    );
  }
  const unknown = words.findIndex((word) => !CODE_WORDS.includes(word));
  if (unknown >= 0) {
    throw new GodwitError(
      "WRONG_CODE",
      // The word itself stays out of logs: it is close to a secret, or from a file that was named by mistake.
      `word ${unknown + 1} of the pairing code is in no code; look at it again, no guess was spent`,
    );
  }
  return encodeUtf8(words.join("-"));
}
