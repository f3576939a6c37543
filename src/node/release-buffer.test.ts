import { describe, expect, test } from "vitest";
import { releaseBuffer } from "./release-buffer.ts";

const canTransfer = "transfer" in ArrayBuffer.prototype;

describe("releaseBuffer", () => {
  test("frees a buffer of its own, where this Node can", () => {
    const bytes = new Uint8Array(65_507);
    releaseBuffer(bytes);
    expect(bytes.buffer.byteLength).toBe(canTransfer ? 0 : 65_507);
  });

  test("leaves a part of a larger buffer as it is", () => {
    const whole = Uint8Array.of(1, 2, 3, 4);
    releaseBuffer(whole.subarray(1, 3));
    expect([...whole]).toEqual([1, 2, 3, 4]);
  });

  test("a buffer that is empty already", () => {
    expect(() => releaseBuffer(new Uint8Array(0))).not.toThrow();
  });
});
