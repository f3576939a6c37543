/** BLAKE3 from the fastest library that loads here: a native package, else WebAssembly. */
import { createRequire } from "node:module";

/** The 32-byte BLAKE3 hash of `bytes`. */
export type Blake3 = (bytes: Uint8Array) => Uint8Array;

interface NativeBlake {
  blake3(input: Buffer): Buffer;
}

/** BLAKE3 by `@napi-rs/blake-hash`, or `undefined` where the package has no binary for this platform. */
export function nativeBlake3(): Blake3 | undefined {
  try {
    const native = createRequire(import.meta.url)("@napi-rs/blake-hash") as NativeBlake;
    return (bytes) => native.blake3(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
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
