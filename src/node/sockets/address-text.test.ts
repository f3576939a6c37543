import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { formatAddress, formatHost, parseAddress, sendableHost, splitHostPort } from "./address-text.ts";

const words = (...values: number[]): Int32Array => Int32Array.from(values);

describe("parseAddress", () => {
  test("IPv4 is carried as ::ffff:a.b.c.d", () => {
    expect(parseAddress("192.0.2.255", 4639)).toEqual(words(0, 0, 0xffff, 0xc00002ff, 4639, 0));
  });

  test("IPv6 groups land in network order", () => {
    expect(parseAddress("2001:db8:1:2:3:4:5:6", 1)).toEqual(
      words(0x20010db8, 0x00010002, 0x00030004, 0x00050006, 1, 0),
    );
    expect(parseAddress("2001:db8::5:6", 1)).toEqual(words(0x20010db8, 0, 0, 0x00050006, 1, 0));
    expect(parseAddress("::1", 1)).toEqual(words(0, 0, 0, 1, 1, 0));
    expect(parseAddress("::", 1)).toEqual(words(0, 0, 0, 0, 1, 0));
    expect(parseAddress("fe80::", 1)).toEqual(words(0xfe800000, 0, 0, 0, 1, 0));
    expect(parseAddress("::ffff:10.1.2.3", 1)).toEqual(words(0, 0, 0xffff, 0x0a010203, 1, 0));
  });

  test("a scope becomes an interface index", () => {
    expect(parseAddress("fe80::1%7", 1)?.[5]).toBe(7);
    expect(parseAddress("fe80::1%no-such-interface", 1)?.[5]).toBe(0);
    expect(parseAddress("fe80::1%..", 1)?.[5]).toBe(0);
    expect(parseAddress("fe80::1%../../../etc/hostname", 1)).toBeUndefined();
  });

  test("names, nonsense and half addresses are no addresses", () => {
    for (const text of [
      "localhost",
      "",
      "1.2.3",
      "1.2.3.4.5",
      "256.1.1.1",
      ":::",
      "1::2::3",
      "[::1]",
      "g::1",
    ]) {
      expect(parseAddress(text, 1)).toBeUndefined();
    }
  });
});

describe("formatHost, RFC 5952", () => {
  test("shortest form, lower case, the first longest run of zeros", () => {
    expect(formatHost(words(0x20010db8, 0, 0, 1, 9, 0))).toBe("2001:db8::1");
    expect(formatHost(words(0x20010db8, 0, 0x00010000, 0x00000001, 9, 0))).toBe("2001:db8::1:0:0:1");
    expect(formatHost(words(0x20010db8, 0x00000001, 0x00010001, 0x00010001, 9, 0))).toBe(
      "2001:db8:0:1:1:1:1:1",
    );
    expect(formatHost(words(0, 0, 0, 0, 9, 0))).toBe("::");
    expect(formatHost(words(0xfe800000, 0, 0, 0, 9, 0))).toBe("fe80::");
    expect(formatHost(words(0, 0, 0xffff, 0x7f000001, 9, 0))).toBe("127.0.0.1");
  });

  test("text and words agree both ways", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer({ min: 1, max: 65_535 }), (host, port) => {
        const address = parseAddress(host, port);
        expect(address).toBeDefined();
        expect(parseAddress(formatHost(address!), port)).toEqual(address);
      }),
    );
  });
});

test("formatAddress brackets IPv6 only", () => {
  expect(formatAddress(words(0, 0, 0xffff, 0x7f000001, 9, 0))).toBe("127.0.0.1:9");
  expect(formatAddress(words(0, 0, 0, 1, 9, 0))).toBe("[::1]:9");
});

test("splitHostPort takes the forms a user types", () => {
  expect(splitHostPort("1.2.3.4:5")).toEqual({ host: "1.2.3.4", port: 5 });
  expect(splitHostPort("[::1]:5")).toEqual({ host: "::1", port: 5 });
  expect(splitHostPort("[::1]")).toEqual({ host: "::1", port: undefined });
  expect(splitHostPort("::1")).toEqual({ host: "::1", port: undefined });
  expect(splitHostPort("host.example")).toEqual({ host: "host.example", port: undefined });
  expect(splitHostPort("host.example:80")).toEqual({ host: "host.example", port: 80 });
  expect(splitHostPort(":80")).toEqual({ host: "", port: 80 });
  for (const text of ["host:0", "host:65536", "host:", "host:x", "[::1", "[host]:5", "a:b:c"]) {
    expect(splitHostPort(text)).toBeUndefined();
  }
});

test("sendableHost fits the socket's family", () => {
  const ipv4 = words(0, 0, 0xffff, 0x7f000001, 9, 0);
  const ipv6 = words(0, 0, 0, 1, 9, 0);
  expect(sendableHost(ipv4, 0, true)).toBe("::ffff:127.0.0.1");
  expect(sendableHost(ipv4, 0, false)).toBe("127.0.0.1");
  expect(sendableHost(ipv6, 0, true)).toBe("::1");
  expect(sendableHost(ipv6, 0, false)).toBeUndefined();
});
