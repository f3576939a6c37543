/** BLAKE3 from the fastest library that loads here: a native package, else WebAssembly. */
import { createRequire } from "node:module";

/** The 32-byte BLAKE3 hash of `bytes`. */
export type Blake3 = (bytes: Uint8Array) => Uint8Array;

interface NativeBlake {
  blake3UrlSafeBase64(input: Uint8Array): string;
}

const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Value of each digit of base64url (RFC 4648 §5), by its character code. */
const DIGITS = new Uint8Array(128);
for (let value = 0; value < BASE64URL.length; value++) DIGITS[BASE64URL.charCodeAt(value)] = value;

/** The 32 bytes that `text` stands for. */
function hashBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(32);
  let at = 0;
  for (let i = 0; i < 32; i += 3, at += 4) {
    const bits =
      (DIGITS[text.charCodeAt(at)] << 18) |
      (DIGITS[text.charCodeAt(at + 1)] << 12) |
      (DIGITS[text.charCodeAt(at + 2)] << 6) |
      DIGITS[text.charCodeAt(at + 3)];
    bytes[i] = bits >> 16;
    bytes[i + 1] = bits >> 8;
    // The last group has two bytes; what is written behind the end is lost.
    bytes[i + 2] = bits;
  }
  return bytes;
}

/**
 * The package, or on Linux its binary itself: the package asks for a whole diagnostic report to learn which libc there
 * is, 3 to 7 ms.
 */
function requireNative(): NativeBlake {
  const require = createRequire(import.meta.url);
  const name = "@napi-rs/blake-hash";
  if (process.platform === "linux") {
    try {
      return createRequire(require.resolve(name))(`${name}-linux-${process.arch}-gnu`) as NativeBlake;
    } catch {
      // Another libc, or no binary for this processor: the package knows.
    }
  }
  return require(name) as NativeBlake;
}

/** BLAKE3 by `@napi-rs/blake-hash`, or `undefined` where the package has no binary for this platform. */
export function nativeBlake3(): Blake3 | undefined {
  try {
    const native = requireNative();
    // As text, although bytes are wanted: a buffer made by an addon costs four times as much, most of it to be
    // collected again. docs/design/small-files.md
    return (bytes) => hashBytes(native.blake3UrlSafeBase64(bytes));
  } catch {
    return undefined;
  }
}

/** BLAKE3 by WebAssembly: a tenth of the speed, everywhere. */
export async function wasmBlake3(): Promise<Blake3> {
  const { createBLAKE3 } = await import("hash-wasm");
  const hasher = await createBLAKE3();
  return (bytes) => {
    hasher.init();
    hasher.update(bytes);
    return hasher.digest("binary");
  };
}

let loaded: Promise<Blake3> | undefined;

/** The fastest BLAKE3 of this machine, loaded once. */
export function loadBlake3(): Promise<Blake3> {
  if (loaded === undefined) {
    const native = nativeBlake3();
    loaded = native === undefined ? wasmBlake3() : Promise.resolve(native);
  }
  return loaded;
}
