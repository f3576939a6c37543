import { expect, test } from "vitest";
import { addressText } from "./address.ts";

test.each([
  [[0, 0, 0xffff, 0xc000_0201, 4_639, 0], "192.0.2.1:4639"],
  [[0x2001_0db8, 0, 0, 1, 80, 0], "[2001:db8::1]:80"],
  [[0, 0, 0, 1, 1, 0], "[::1]:1"],
  [[0, 0, 0, 0, 1, 0], "[::]:1"],
  // RFC 5952 §4.2.2 and §4.2.3: no run of one, the first of two equal ones.
  [[0x2001_0db8, 0x0000_0001, 0x0001_0001, 0x0001_0001, 1, 0], "[2001:db8:0:1:1:1:1:1]:1"],
  [[0x2001_0db8, 0, 0x0001_0000, 0x0000_0001, 1, 0], "[2001:db8::1:0:0:1]:1"],
])("%j is %s", (words, text) => {
  expect(addressText(Int32Array.from(words))).toBe(text);
});
