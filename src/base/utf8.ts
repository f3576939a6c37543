/** UTF-8 in layers that have no TextDecoder. RFC 3629. */

/** What stands for a byte that is not UTF-8, as in WHATWG decoders. */
const REPLACEMENT = 0xfffd;

/** The text as UTF-8. Unpaired surrogates become U+FFFD, as TextEncoder does. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    let point = character.codePointAt(0) ?? REPLACEMENT;
    if (point >= 0xd800 && point <= 0xdfff) point = REPLACEMENT;
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >>> 6), 0x80 | (point & 0x3f));
    else if (point < 0x1_0000)
      bytes.push(0xe0 | (point >>> 12), 0x80 | ((point >>> 6) & 0x3f), 0x80 | (point & 0x3f));
    else
      bytes.push(
        0xf0 | (point >>> 18),
        0x80 | ((point >>> 12) & 0x3f),
        0x80 | ((point >>> 6) & 0x3f),
        0x80 | (point & 0x3f),
      );
  }
  return Uint8Array.from(bytes);
}

/** The text of `bytes`, or `undefined` if they are not valid UTF-8 (RFC 3629 §3: no surrogates, no overlong forms). */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const size = utf8SequenceBytes(bytes, at);
    if (size === 0) return undefined;
    text += String.fromCodePoint(pointAt(bytes, at, size));
    at += size;
  }
  return text;
}

/** The text of `bytes` with U+FFFD for every byte that is not part of valid UTF-8. For showing, not for naming. */
export function decodeUtf8Lossy(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const size = utf8SequenceBytes(bytes, at);
    text += String.fromCodePoint(size === 0 ? REPLACEMENT : pointAt(bytes, at, size));
    at += Math.max(1, size);
  }
  return text;
}

/** Bytes of the valid sequence at `at`, or 0. RFC 3629 §4 gives the bounds of the second byte. */
export function utf8SequenceBytes(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first < 0x80) return 1;
  const size =
    first >= 0xc2 && first < 0xe0
      ? 2
      : first >= 0xe0 && first < 0xf0
        ? 3
        : first >= 0xf0 && first < 0xf5
          ? 4
          : 0;
  if (size === 0 || at + size > bytes.length) return 0;
  const second = bytes[at + 1];
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = 2; i < size; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 0;
  return size;
}

function pointAt(bytes: Uint8Array, at: number, size: number): number {
  if (size === 1) return bytes[at];
  let point = bytes[at] & (0xff >>> (size + 1));
  for (let i = 1; i < size; i++) point = (point << 6) | (bytes[at + i] & 0x3f);
  return point;
}
