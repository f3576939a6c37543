import { describe, expect, test } from "vitest";
import { toHex } from "../base/bytes.ts";
import { nativeBlake3, wasmBlake3 } from "./hash.ts";

/** Input and hashes from the BLAKE3 project's test_vectors.json: input byte i is i mod 251. */
const VECTORS: readonly [length: number, hash: string][] = [
  [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
  [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
  [1_024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
  [102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"],
];

describe.each([
  ["native", async () => nativeBlake3()],
  ["wasm", wasmBlake3],
])("BLAKE3, %s", (_, load) => {
  test.each(VECTORS)("%i bytes", async (length, hash) => {
    const blake3 = await load();
    const input = Uint8Array.from({ length: length + 3 }, (_, i) => (i - 3) % 251).subarray(3);
    expect(blake3 && toHex(blake3(input))).toBe(hash);
  });
});
