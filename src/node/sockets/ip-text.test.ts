import { isIP, isIPv6 } from "node:net";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isIpText, isIpv6Text } from "./ip-text.ts";

describe("IP addresses in text", () => {
  test.each(["::", "::1", "fe80::1%eth0", "2001:db8:0:0:0:0:0:1", "1:2:3:4:5:6:7::", "::ffff:192.0.2.1"])(
    "%s is an IPv6 address",
    (text) => expect(isIpv6Text(text)).toBe(true),
  );

  test.each([
    "",
    ":",
    "192.0.2.1",
    "host",
    "host:4639",
    "192.0.2.1:4639",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "::10000",
    "::256.0.2.1",
    "[::1]",
    "::1]:80/[",
    "::1%",
    "::1%a%b",
    "::1\n",
  ])("%j is none", (text) => expect(isIpv6Text(text)).toBe(false));

  test("IPv4 addresses are IP addresses, names are not", () => {
    expect(isIpText("192.0.2.1")).toBe(true);
    expect(isIpText("::1")).toBe(true);
    expect(isIpText("example.org")).toBe(false);
  });

  test("node:net says the same", () => {
    const group = fc.oneof(
      { weight: 8, arbitrary: fc.nat(0x1_2fff).map((value) => value.toString(16)) },
      { weight: 2, arbitrary: fc.constant("") },
      { weight: 1, arbitrary: fc.ipV4() },
      { weight: 1, arbitrary: fc.string({ maxLength: 4 }) },
    );
    const text = fc.oneof(
      fc.ipV6(),
      fc.array(group, { maxLength: 10 }).map((groups) => groups.join(":")),
      fc.string({ unit: fc.constantFrom("0", "1", "09", "a", "F", ":", "::", ".", "%", "[", "]", "/", "-") }),
    );
    fc.assert(
      fc.property(text, (text) => {
        expect(isIpv6Text(text)).toBe(isIPv6(text));
        expect(isIpText(text)).toBe(isIP(text) !== 0);
      }),
      { numRuns: 20_000 },
    );
  });
});
